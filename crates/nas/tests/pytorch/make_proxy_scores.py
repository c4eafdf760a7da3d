"""Writes `proxy_scores.json`: NASWOT and NetPerfProxy computed with PyTorch and NumPy in f64, for `../proxy_scores.rs`.

    python make_proxy_scores.py [WORKER]   (needs torch and numpy; a CPU build is enough)

WORKER: `crates/nas/examples/bench_worker.rs` where it is built already; else cargo builds it. Weights and images come from the
closed formulas of the engine's fixtures, so only scores are stored. Every ReLU and every operation output is read; `live` leaves
out the operations that lead into a node without a path to the output.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(ROOT / "bench"))
sys.path.insert(0, str(ROOT / "crates/engine/tests/pytorch"))
import pytorch_network as network  # noqa: E402
from make_fixtures import discrete, f32, uniform, values  # noqa: E402

EDGES, OPS = network.NAS_BENCH_201_EDGES, network.OPS
SAMPLES = 16
WORKER = sys.argv[1:] or network.WORKER


def agreement(tensor):
    code = (tensor > 0).reshape(len(tensor), -1).double().numpy()
    return code @ code.T + (1 - code) @ (1 - code).T, code.shape[1]


def codes(net, images, w):
    """Kernel and code length of the ReLU in front of each operation, of the others together, and of each output."""
    relus, outputs, outside = {}, {}, []
    made = {0: images}

    def add(store, at, x):
        (kernel, bits), old = agreement(x), store.get(at, (0, 0))
        store[at] = (old[0] + kernel, old[1] + bits)

    for block in net.blocks:
        local = [made[x] for x in block.reads]
        before = {}
        for step in block.steps:
            if isinstance(step, network.Unit) and step.relu:
                before[len(local)] = local[step.source]
            for x, at in step.terms if isinstance(step, network.Mix) else ():
                if at is not None:
                    add(outputs, at, local[x])
                    if x in before:
                        add(relus, at, before.pop(x))
            local.append(step(local, w))
        outside += [agreement(x)[0] for x in before.values()]
        made[block.made] = local[-1]
    return relus, outputs, sum(outside)


def score(kernel):
    sign, value = np.linalg.slogdet(kernel)
    return {"sign": int(sign), "value": value}


def make(case, spec, w):
    net = network.Network(spec.graph(WORKER))
    net.load_state_dict({k: values(case, k, v.shape) for k, v in net.tensors().items()}, strict=False)
    images = f32(1.5 * uniform(f"{case}/images", SAMPLES * 16 * 16 * 3)).reshape(SAMPLES, 16, 16, 3)
    with torch.no_grad():
        relus, outputs, outside = codes(net, images.permute(0, 3, 1, 2), w)
    alive = spec.alive or (True,) * w.numel()
    reaches = {3}
    for node in (2, 1, 0):
        leads = lambda e: any(alive[e * len(OPS) + 1 : (e + 1) * len(OPS)])  # noqa: E731
        if any(a == node and b in reaches and leads(e) for e, (a, b) in enumerate(EDGES)):
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
        "alive": list(alive),
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
