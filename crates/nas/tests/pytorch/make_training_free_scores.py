"""Writes `training_free_scores.json`: scores that need gradients or patterns, computed with PyTorch and NumPy in f64, for
`../training_free_scores.rs`.

    python make_training_free_scores.py [WORKER]   (needs torch and numpy; a CPU build is enough)

WORKER: `crates/nas/examples/bench_worker.rs` where it is built already; else cargo builds it. Weights, images and labels come
from the closed formulas of the engine's fixtures, so only scores are stored. `dead` are the edges without a way to the output.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(ROOT / "bench"))
sys.path.insert(0, str(ROOT / "crates/engine/tests/pytorch"))
import pytorch_network as network  # noqa: E402
from make_fixtures import batch, uniform, values  # noqa: E402

SAMPLES = 16
WORKER = sys.argv[1:] or network.WORKER


def build(case, spec):
    net = network.Network(spec.graph(WORKER))
    net.load_state_dict({k: values(case, k, v.shape) for k, v in net.tensors().items()}, strict=False)
    net.train()
    return net


def layers(net):
    return [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


def of_loss(net, w, images, labels):
    F.cross_entropy(net(images, w), labels).backward()
    # A branch that leads nowhere has no gradient.
    weights = [m.weight for m in layers(net) if m.weight.grad is not None]
    return {
        "grad-norm": sum(p.grad.norm().item() for p in weights),
        "snip": sum((p * p.grad).abs().sum().item() for p in weights),
    }


def synflow(net, w, image):
    with torch.no_grad():
        for p in net.parameters():
            p.abs_()
    norms = [u for block in net.blocks for u in block.steps if isinstance(u, network.Unit)]
    for unit in norms:
        unit.norm = None
    net(torch.ones(1, *image), w).sum().backward()
    return sum((m.weight * m.weight.grad).sum().item() for m in layers(net) if m.weight.grad is not None)


def jacob_cov(net, w, images):
    images = images.clone().requires_grad_(True)
    net(images, w).sum().backward()
    v = np.linalg.eigvalsh(np.corrcoef(images.grad.reshape(len(images), -1).numpy()))
    return -np.sum(np.log(v + 1e-5) + 1 / (v + 1e-5))


def swap(net, w, images):
    relu, outputs = F.relu, []

    def hooked(x):
        y = relu(x)
        y.retain_grad()
        outputs.append(y)
        return y

    F.relu = hooked
    net(images, w).sum().backward()
    F.relu = relu
    signs = [y.detach().reshape(len(y), -1) > 0 for y in outputs if y.grad is not None]
    return len(torch.unique(torch.cat(signs, 1).T, dim=0))


def entropy(feature):
    feature = feature.detach().permute(0, 2, 3, 1).reshape(-1, feature.shape[1])
    feature = feature - feature.mean(0)
    s = torch.linalg.eigvalsh(feature.T @ feature / len(feature))
    s = s / s.sum()
    return -(s * torch.log(s + 1e-8)).sum().item()


def az_nas(case, net, w, images):
    made = net.values(images, w)
    features = [made[b.made] for b in net.blocks[:-1]]
    entropies = [entropy(f) for f in features]
    trainability, drawn = [], 0
    for i in reversed(range(1, len(features))):
        f_in, f_out = features[i - 1 : i + 1]
        n, c, h, side = f_out.shape
        drawn += f_out.numel()
        signs = torch.where(uniform(f"{case}/signs", drawn)[-f_out.numel() :] < 0, -1.0, 1.0)
        g_out = signs.reshape(n, h, side, c)
        g_in = torch.autograd.grad(f_out, f_in, g_out.permute(0, 3, 1, 2), retain_graph=True)[0]
        g_in = F.pixel_unshuffle(g_in, g_in.shape[2] // h).permute(0, 2, 3, 1)
        if g_in.shape == g_out.shape and (g_in == g_out).all():
            trainability.append(-np.inf)
            continue
        mean = g_in.reshape(-1, g_in.shape[3]).T @ g_out.reshape(-1, c) / (n * h * side)
        s = torch.linalg.svdvals(mean).max().item()
        trainability.append(-s - 1 / (s + 1e-6) + 2)
    return [sum(entropies), min(b - a for a, b in zip(entropies, entropies[1:])), np.mean(trainability)]


def make(case, spec):
    images, labels = batch(case, spec, SAMPLES)
    graph = spec.graph(WORKER)
    w = torch.ones(graph["rows"], len(graph["ops"]))
    fresh = lambda: build(case, spec)  # noqa: E731
    return {
        **of_loss(fresh(), w, images, labels),
        "synflow": synflow(fresh(), w, images.shape[1:]),
        "jacob-cov": jacob_cov(fresh(), w, images),
        "swap": swap(fresh(), w, images),
        "az-nas": az_nas(case, fresh(), w, images),
    }


def main():
    torch.set_default_dtype(torch.float64)
    cells = {
        "every-op": (("conv3x3", "conv1x1", "skip", "avg_pool3x3", "conv3x3", "conv1x1"), []),
        "dead-branch": (("conv3x3", "conv3x3", "conv1x1", "conv3x3", "avg_pool3x3", "none"), [1, 2]),
    }
    scores = []
    for case, (chosen, dead) in cells.items():
        alive = tuple(op == own for own in chosen for op in network.OPS)
        spec = network.Spec(image=(16, 16, 3), channels=8, cells_per_stage=1, affine=True, alive=alive)
        ops = [NAMES[op] + f"~{a}" for op, (a, _) in zip(chosen, network.NAS_BENCH_201_EDGES)]
        arch = "+".join("|" + "|".join(part) + "|" for part in (ops[:1], ops[1:3], ops[3:]))
        scores.append({"case": case, "arch": arch, "dead": dead, **make(case, spec)})
    spec = network.Spec(image=(16, 16, 3), channels=4, cells_per_stage=3, space="darts", genotype=GENOTYPE)
    scores.append({"case": "darts", "arch": GENOTYPE, "dead": [], **make("darts", spec)})
    (HERE / "training_free_scores.json").write_text(json.dumps(scores).replace("}, {", "},\n{") + "\n")


NAMES = {"none": "none", "skip": "skip_connect", "conv1x1": "nor_conv_1x1", "conv3x3": "nor_conv_3x3"}
NAMES["avg_pool3x3"] = "avg_pool_3x3"

# A cell with every operation of DARTS.
GENOTYPE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('dil_conv_5x5', 1), ('skip_connect', 0), ('max_pool_3x3', 2), "
    "('sep_conv_5x5', 1), ('avg_pool_3x3', 3), ('dil_conv_3x3', 2), ('sep_conv_3x3', 4)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 0), ('skip_connect', 1), ('sep_conv_5x5', 2), ('dil_conv_3x3', 0), ('avg_pool_3x3', 1), "
    "('sep_conv_3x3', 3), ('skip_connect', 4), ('dil_conv_5x5', 0)], reduce_concat=range(2, 6))"
)


if __name__ == "__main__":
    main()
