"""Prints the numbers that the tests of relaxations and penalties (crates/nas/src/search/parts) hold, computed by PyTorch in f64.

    python make_relaxations.py            (needs torch; a CPU build is enough)
"""

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def show(name, tensor):
    print(f"{name}: [{', '.join(repr(float(v)) for v in tensor.flatten())}]")


ALPHA = [[0.2, -0.3, 0.5], [0.9, 0.1, -0.4]]
NOISE = torch.tensor([[0.3, 1.7, -0.4], [-0.8, 0.6, 2.1]])
# dL/dw of what is run, and the gradient of a number that is added to the output of an edge.
OF_W = torch.tensor([[0.7, -1.1, 0.4], [0.3, 0.9, 1.3]])
OF_EDGES = torch.tensor([[-0.6], [0.8]])


def beta_decay():
    alpha = torch.tensor(ALPHA, requires_grad=True)
    (25.0 * torch.logsumexp(alpha, dim=-1).mean()).backward()
    show("beta decay", alpha.grad)


def gumbel(temperature=0.7):
    alpha = torch.tensor(ALPHA, requires_grad=True)
    shares = F.softmax((F.log_softmax(alpha, dim=1) + NOISE) / temperature, dim=1)
    (shares * OF_W).sum().backward()
    show("gumbel soft weights", shares)
    show("gumbel soft gradient", alpha.grad)
    alpha = torch.tensor(ALPHA, requires_grad=True)
    shares = F.softmax((F.log_softmax(alpha, dim=1) + NOISE) / temperature, dim=1)
    one_hot = torch.zeros_like(shares).scatter_(1, shares.argmax(dim=1, keepdim=True), 1.0)
    weights = one_hot - shares.detach() + shares
    # As GDAS: w * op(x) of the chosen one, plus the bare weights of the others.
    (weights * torch.where(one_hot == 1, OF_W, OF_EDGES.expand_as(OF_W))).sum().backward()
    show("gumbel hard gradient", alpha.grad)


def zero_one(factor=10.0):
    alpha = torch.tensor(ALPHA, requires_grad=True)
    (-factor * F.mse_loss(torch.sigmoid(alpha), torch.full((2, 3), 0.5))).backward()
    show("zero-one loss", alpha.grad)
    alpha = torch.tensor(ALPHA, requires_grad=True)
    (torch.sigmoid(alpha) * OF_W).sum().backward()
    show("sigmoid gradient", alpha.grad)


def gamma():
    shapes = torch.tensor([0.05, 0.3, 1.0, 1.0, 2.5, 9.0, 1.3])
    samples = torch.tensor([1e-6, 0.2, 0.7, 8.0, 1.9, 14.0, 31.0])
    show("gamma derivative", torch._standard_gamma_grad(shapes, samples))
    show("log-gamma", torch.lgamma(shapes))
    show("digamma", torch.digamma(shapes))
    show("gamma distribution", torch.special.gammainc(shapes, samples))


def from_uniform(factor=0.7):
    alpha = torch.tensor(ALPHA, requires_grad=True)
    own = torch.distributions.Dirichlet(F.elu(alpha) + 1)
    uniform = torch.distributions.Dirichlet(torch.ones(2, 3))
    (factor * torch.distributions.kl_divergence(own, uniform).sum()).backward()
    show("divergence from uniform", alpha.grad)


def curvature():
    """Eigenvalues of the Hessian of a loss of softmax weights: of the largest size, and the largest (search/fake_engine.rs)."""
    quality = torch.tensor([0.0, 0.3, 0.6, 1.0, 0.1]).repeat(6)
    omega = 0.1 + 0.01 * torch.arange(30.0)
    alpha = 0.5 * torch.sin(torch.arange(30.0))

    def loss(alpha):
        w = F.softmax(alpha.reshape(6, 5), dim=1).flatten()
        return 2.3 * torch.exp(-(w * omega * quality).sum())

    values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, alpha))
    show("curvature", torch.stack([values[values.abs().argmax()], values.max()]))


beta_decay()
gumbel()
zero_one()
gamma()
curvature()
from_uniform()
