"""Writes `proxy_scores.json`: NASWOT and NetPerfProxy computed with PyTorch and NumPy in f64, for `../proxy_scores.rs`.

    python make_proxy_scores.py            (needs torch and numpy; a CPU build is enough)

Weights and images come from the closed formulas of the engine's fixtures, so only scores are stored. Every ReLU and every
operation output is hooked; `live` leaves out the operations that lead into a node without a path to the output.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(ROOT / "bench"))
sys.path.insert(0, str(ROOT / "crates/engine/tests/pytorch"))
import pytorch_network as network  # noqa: E402
from make_fixtures import discrete, f32, uniform, values  # noqa: E402

EDGES, OPS = network.NAS_BENCH_201_EDGES, network.Spec.ops
SAMPLES = 16


def agreement(tensor):
    code = (tensor > 0).reshape(len(tensor), -1).double().numpy()
    return code @ code.T + (1 - code) @ (1 - code).T, code.shape[1]


def hooked(net, images, w):
    """Kernel and code length of the ReLU in front of each operation, of the others together, and of each output."""
    relus, outputs, outside, inside = {}, {}, [], []
    relu, op = F.relu, network.Cell.op

    def add(store, key, tensor):
        kernel, bits = agreement(tensor)
        old = store.get(key, (0, 0))
        store[key] = (old[0] + kernel, old[1] + bits)

    def hooked_relu(x):
        if inside:
            add(relus, inside[-1], x)
        else:
            outside.append(agreement(x)[0])
        return relu(x)

    def hooked_op(cell, e, name, x):
        inside.append((e, OPS.index(name)))
        y = op(cell, e, name, x)
        if name != "none":
            add(outputs, inside[-1], y)
        inside.pop()
        return y

    F.relu, network.Cell.op = hooked_relu, hooked_op
    with torch.no_grad():
        net(images, w)
    F.relu, network.Cell.op = relu, op
    return relus, outputs, sum(outside)


def score(kernel):
    sign, value = np.linalg.slogdet(kernel)
    return {"sign": int(sign), "value": value}


def make(case, spec, w):
    net = network.Network(spec)
    net.load_state_dict({k: values(case, k, v.shape) for k, v in net.tensors().items()}, strict=False)
    images = f32(1.5 * uniform(f"{case}/images", SAMPLES * 16 * 16 * 3)).reshape(SAMPLES, 16, 16, 3)
    relus, outputs, outside = hooked(net, images.permute(0, 3, 1, 2), w)
    reaches = {3}
    for node in (2, 1, 0):
        alive = lambda e: any(spec.is_alive(e, o) for o in range(1, len(OPS)))  # noqa: E731
        if any(a == node and b in reaches and alive(e) for e, (a, b) in enumerate(EDGES)):
            reaches.add(node)
    live = [(e, o) for e, (_, b) in enumerate(EDGES) for o in range(len(OPS)) if b in reaches]
    relu_kernel = lambda keys: outside + sum(k for at, (k, _) in relus.items() if at in keys)  # noqa: E731
    weight = lambda at: max(w[at].item(), 0.0)  # noqa: E731
    bits = sum(b for _, b in outputs.values())
    hamming = sum(weight(at) * (b - k) for at, (k, b) in outputs.items())
    np.fill_diagonal(hamming, bits)
    return {
        "case": case,
        "channels": spec.channels,
        "alive": [spec.is_alive(e, o) for e in range(len(EDGES)) for o in range(len(OPS))],
        "affine": spec.affine,
        "w": w.reshape(-1).tolist(),
        "live": [e * len(OPS) + o for e, o in live],
        "naswot_all": score(relu_kernel(set(relus))),
        "naswot_live": score(relu_kernel(live)),
        "agreement": score(sum(weight(at) * k for at, (k, _) in outputs.items())),
        "hamming": score(hamming),
    }


def main():
    torch.set_default_dtype(torch.float64)
    one = torch.ones(len(EDGES), len(OPS))
    cells = {
        "every-op": ("conv3x3", "conv1x1", "skip", "avg_pool3x3", "conv3x3", "conv1x1"),
        "dead-branch": ("conv3x3", "conv3x3", "conv1x1", "conv3x3", "avg_pool3x3", "none"),
        "fed-by-zeros": ("none", "conv3x3", "conv3x3", "skip", "conv1x1", "conv3x3"),
    }
    scores = []
    for case, chosen in cells.items():
        alive = discrete(OPS, chosen)
        spec = network.Spec(image=(16, 16, 3), channels=8, cells_per_stage=1, affine=True, alive=alive)
        scores.append(make(case, spec, one))
    spec = network.Spec(image=(16, 16, 3), channels=8, cells_per_stage=1)
    w = f32(0.2 + 0.3 * uniform("supernet/w", one.numel())).reshape(one.shape)
    assert (w < 0).any()
    scores.append(make("supernet", spec, w))
    (HERE / "proxy_scores.json").write_text(json.dumps(scores).replace("}, {", "},\n{") + "\n")
    for s in scores:
        print(s["case"], {k: v for k, v in s.items() if isinstance(v, dict)})


if __name__ == "__main__":
    main()
