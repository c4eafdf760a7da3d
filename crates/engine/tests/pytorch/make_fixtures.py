"""Writes `fixtures/*.json`: what PyTorch computes, in f64, for the networks that `../suite/pytorch.rs` compares with.

    python make_fixtures.py            (needs torch; a CPU build is enough)

Inputs and weights come from a closed formula (the same as in `../suite/cases.rs`), so only results are stored: losses,
gradients, and the tensors after two SGD steps, each as norm, projection on a closed-form vector, and some entries.
"""

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3] / "bench"))
from darts_network import Darts, DartsNetwork  # noqa: E402
from pytorch_network import Network, Spec  # noqa: E402

MASK = 0xFFFFFFFF
# Of each tensor.
ENTRIES = 1


def uniform(key, count):
    """`[count]` in [-1, 1), multiples of 2^-23: FNV-1a of the key, then murmur3's finaliser."""
    seed = 0x811C9DC5
    for byte in key.encode():
        seed = (seed ^ byte) * 0x01000193 & MASK
    h = (torch.arange(count) * 0x9E3779B1 + seed) & MASK
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & MASK
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & MASK
    h = h ^ (h >> 16)
    return (h >> 8).double() / 2**23 - 1


def picks(key, count, length):
    return ((uniform(key, count) + 1) / 2 * length).long()


def f32(x):
    """Rounds to f32, kept as f64."""
    return x.float().double()


def values(case, name, shape):
    if len(shape) > 1:
        centre, spread = 0.0, 1 / math.sqrt(math.prod(shape[1:]))
    elif name.endswith("running_var"):
        centre, spread = 1.0, 0.5
    elif name.endswith("weight"):
        centre, spread = 1.0, 0.25
    else:
        centre, spread = 0.0, 0.25
    return f32(centre + spread * uniform(f"{case}/{name}", math.prod(shape))).reshape(shape)


def batch(case, spec, samples):
    h, w, c = spec.image
    images = f32(1.5 * uniform(f"{case}/images", samples * h * w * c)).reshape(samples, h, w, c)
    return images.permute(0, 3, 1, 2), picks(f"{case}/labels", samples, spec.classes)


def short(x):
    """Twelve digits: a thousandth of what the tests tolerate."""
    return float(f"{x:.12g}")


def summary(name, tensor):
    flat = tensor.detach().reshape(-1)
    at = picks(f"{name}/entries", ENTRIES, len(flat)).tolist()
    return {
        "norm": short(flat.norm().item()),
        "dot": short((flat * uniform(f"{name}/probe", len(flat))).sum().item()),
        "entries": [[i, short(flat[i].item())] for i in at],
    }


def summaries(named):
    return {name: summary(name, t) for name, t in sorted(named.items())}


def evaluation(net, w, case, spec, samples):
    images, labels = batch(f"{case}/eval", spec, samples)
    with torch.no_grad():
        logits = net(images, w)
    return {
        "loss": short(F.cross_entropy(logits, labels).item()),
        "correct": (logits.argmax(1) == labels).sum().item(),
    }


def make(case, net, samples, sgd):
    spec = net.spec
    net.load_state_dict({k: values(case, k, v.shape) for k, v in net.tensors().items()}, strict=False)
    rows, columns = len(spec.edges), len(spec.ops)
    w = f32(0.2 + 0.3 * uniform(f"{case}/mixing", rows * columns)).reshape(rows, columns).requires_grad_()
    parameters = dict(net.named_parameters())
    optimiser = torch.optim.SGD(
        parameters.values(),
        lr=sgd["lr"],
        momentum=sgd["momentum"],
        nesterov=sgd["nesterov"],
        weight_decay=sgd["weight_decay"],
    )
    steps = []
    for step in range(2):
        images, labels = batch(f"{case}/{step}", spec, samples)
        optimiser.zero_grad()
        w.grad = None
        logits = net(images, w)
        loss = F.cross_entropy(logits, labels)
        if getattr(spec, "auxiliary", None) is not None:
            loss = loss + spec.auxiliary * F.cross_entropy(net.auxiliary_logits, labels)
        loss.backward()
        result = {
            "loss": short(loss.item()),
            "correct": (logits.argmax(1) == labels).sum().item(),
            "mixing_grad": [short(g) for g in w.grad.reshape(-1).tolist()],
            "gradients": summaries({k: p.grad for k, p in parameters.items()}),
        }
        clip = math.inf if sgd["clip_norm"] is None else sgd["clip_norm"]
        result["grad_norm"] = short(torch.nn.utils.clip_grad_norm_(parameters.values(), clip).item())
        optimiser.step()
        steps.append(result)
    momentum = {f"momentum.{k}": optimiser.state[p]["momentum_buffer"] for k, p in parameters.items()}
    fixture = {
        "case": case,
        "pytorch": torch.__version__,
        "spec": asdict(spec),
        "samples": samples,
        "sgd": sgd,
        "steps": steps,
        "after": summaries(net.tensors() | momentum),
    }
    # The order matters: train mode moves the running statistics.
    net.eval()
    fixture["evaluate_running"] = evaluation(net, w, case, spec, samples)
    net.train()
    fixture["evaluate_batch"] = evaluation(net, w, case, spec, samples)
    path = HERE / "fixtures" / f"{case}.json"
    path.write_text(json.dumps(fixture, separators=(",", ":")).replace("},", "},\n") + "\n")
    norms = [s["grad_norm"] for s in steps]
    print(f"{path.name}: {path.stat().st_size} bytes, losses {[s['loss'] for s in steps]}, gradient norms {norms}")


def discrete(ops, chosen):
    return tuple(op == c for c in chosen for op in ops)


def main():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    ops = Spec.ops
    # Every constant is exact in f32, the engine's type for them.
    nesterov = {"lr": 2**-5, "momentum": 0.875, "nesterov": True, "weight_decay": 2**-10, "clip_norm": 0.5}
    plain = nesterov | {"nesterov": False, "clip_norm": None}
    make("supernet", Network(Spec(cells_per_stage=1)), 4, nesterov)
    pruned = tuple((3 * i) % 7 > 1 for i in range(30))
    odd = Spec(image=(7, 5, 1), channels=5, cells_per_stage=2, classes=3, alive=pruned)
    make("odd-size", Network(odd), 5, plain)
    chosen = ("conv3x3", "conv1x1", "avg_pool3x3", "skip", "none", "conv3x3")
    affine = Spec(image=(16, 16, 3), channels=8, cells_per_stage=1, affine=True, alive=discrete(ops, chosen))
    make("discrete", Network(affine), 6, nesterov)
    graph = Spec(
        image=(9, 6, 2),
        classes=7,
        channels=3,
        cells_per_stage=2,
        stages=2,
        nodes=5,
        edges=((3, 4), (0, 1), (0, 3), (1, 3), (0, 2), (2, 4)),
        ops=("avg_pool3x3", "conv3x3", "skip"),
        affine=True,
    )
    make("other-graph", Network(graph), 4, plain)
    make("darts-supernet", DartsNetwork(Darts()), 3, plain)
    alive = tuple((i % 8 + i // 8) % 3 == 0 for i in range(48))
    final = Darts(image=(8, 8, 3), alive=alive, affine=True, pools=False, auxiliary=0.375)
    make("darts-auxiliary", DartsNetwork(final), 6, nesterov)
    make("darts-partial", DartsNetwork(Darts(channels=8, partial=4)), 3, plain)
    make("darts-passing", DartsNetwork(Darts(auxiliary_skips=True, alive=alive, affine=True, pools=False)), 3, plain)


if __name__ == "__main__":
    main()
