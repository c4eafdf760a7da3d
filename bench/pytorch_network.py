"""A network in PyTorch, with the engine's parameter names (`state_dict()` of one loads into the other).

`Network` is built from the network's graph, the JSON that the engine prints (`hpe-darts describe ARCH --json`,
`bench_worker graph`), so nothing about a network is spelled out here but what each kind of layer computes.

    hpe-darts describe ARCH --json | python bench/pytorch_network.py

builds a described network and checks shapes, names and the number of parameters against the description.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

OPS = ("none", "skip", "conv1x1", "conv3x3", "avg_pool3x3")
NAS_BENCH_201_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
# `crates/nas/examples/bench_worker.rs`, built where it has to be.
WORKER = ("cargo", "run", "--quiet", "--manifest-path", str(Path(__file__).resolve().parent.parent / "Cargo.toml"))
WORKER += ("--package", "hpe-darts-nas", "--example", "bench_worker", "--")


@dataclass
class Spec:
    """What `Stages` is in the engine; the defaults are the NAS-Bench-201 supernet."""

    image: tuple = (32, 32, 3)  # H, W, C
    classes: int = 10
    channels: int = 16
    cells_per_stage: int = 5
    stages: int = 3
    nodes: int = 4
    edges: tuple = NAS_BENCH_201_EDGES  # (from, to)
    ops: tuple = OPS
    alive: tuple = None  # [E * O] row-major; None: all
    affine: bool = False  # scale and shift in the operations' BN
    # Of a space by name (`darts`) the supernet or, with a genotype in the field's notation, the derived network; nodes, edges,
    # ops, alive and affine are then the space's, and `cells_per_stage` are all cells.
    space: str = None
    genotype: str = None

    def graph(self, worker=WORKER):
        """The network's graph, as the engine's worker prints it."""
        spec = json.dumps(asdict(self))
        answer = subprocess.run([*worker, "graph"], input=spec, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(answer.stdout)


def place(root, name, module):
    """Makes `module` the one with this dotted name below `root`."""
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root._modules[part]
    root.add_module(last, module)
    return module


class Unit:
    """[ReLU] transform [BN] of one value. Its modules go below `root`, where the graph names them."""

    def __init__(self, root, layer, channels, source):
        self.source = source
        self.relu = layer["relu"]
        self.window = layer["transform"]
        self.kind = self.window["kind"]
        self.modules = [self.module(weight, channels) for weight in layer["weights"] if weight["name"].endswith("weight")]
        for weight, module in zip(layer["weights"], self.modules):
            place(root, weight["name"].removesuffix(".weight"), module)
        norm = layer["norm"]
        # Without scale and shift it keeps no running statistics either: a supernet's.
        self.norm = norm and place(
            root, norm["name"], nn.BatchNorm2d(norm["channels"], affine=norm["affine"], track_running_stats=norm["affine"])
        )

    def module(self, weight, channels):
        if self.kind == "linear":
            return nn.Linear(channels, weight["shape"][0])
        cout, per_group, size, _ = weight["shape"]
        stride, padding, dilation = 1, 0, 1
        if self.kind == "factorized_reduce":
            stride = 2
        elif not weight["name"].endswith("pointwise.weight"):
            stride, padding, dilation = (self.window[key] for key in ("stride", "padding", "dilation"))
        return nn.Conv2d(
            channels, cout, size, stride, padding, dilation, groups=channels // per_group, bias=False
        )

    def __call__(self, values, w):
        x = values[self.source]
        if self.relu:
            x = F.relu(x)
        x = self.transform(x)
        return self.norm(x) if self.norm else x

    def transform(self, x):
        t = self.window
        if self.kind == "identity":
            return x
        if self.kind in ("conv", "separable"):
            for module in self.modules:
                x = module(x)
            return x
        if self.kind == "factorized_reduce":
            first, second = self.modules
            # The shifted half reads zeros beyond the border of an odd side.
            shifted = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))[:, :, 1:, 1:]
            return torch.cat([first(x), second(shifted)], 1)
        if self.kind == "avg_pool":
            assert t["dilation"] == 1
            return F.avg_pool2d(
                x, t["kernel"], t["stride"], t["padding"], ceil_mode=t["partial"], count_include_pad=False
            )
        if self.kind == "max_pool":
            return F.max_pool2d(x, t["kernel"], t["stride"], t["padding"], t["dilation"], ceil_mode=t["partial"])
        if self.kind == "global_avg_pool":
            return x.mean((2, 3))
        assert self.kind == "linear", self.kind
        return self.modules[0](x.flatten(1))


class Mix:
    """Sum of values, each times its place in `w` or as it is."""

    def __init__(self, layer, shape, sources, zeros):
        self.shape = shape["channels"], shape["height"], shape["width"]
        places = [at and (at["row"], at["op"]) for at in layer["weights"]]
        self.terms = list(zip(sources, places))
        # Of which value, at which place, with which stride.
        self.zeros = zeros

    def __call__(self, values, w):
        terms = [values[x] if at is None else values[x] * w[at] for x, at in self.terms]
        for x, at, stride in self.zeros:
            x = values[x] if stride == 1 else values[x][:, :, ::stride, ::stride]
            terms.append(x.mul(0.0) * w[at])
        return sum(terms) if terms else values[0].new_zeros(len(values[0]), *self.shape)


class Concat:
    """Values one after the other along the channels."""

    def __init__(self, sources):
        self.sources = sources

    def __call__(self, values, w):
        return torch.cat([values[x] for x in self.sources], 1)


class Block(nn.Module):
    """A part of the network: from values that others made to its last one. Its values are numbered from those it reads on,
    so that blocks of one structure are one program to `torch.compile`."""

    def forward(self, w, *inputs):
        values = list(inputs)
        for step in self.steps:
            values.append(step(values, w))
        return values[-1]


class Network(nn.Module):
    """`spec`: a graph, or a `Spec`, whose graph cargo's worker prints. `compute_none`: multiply the input of `none` by
    zero, as the usual research code does, instead of leaving it out."""

    def __init__(self, spec, compute_none=False):
        super().__init__()
        self.spec = spec
        self.graph = graph = spec.graph() if isinstance(spec, Spec) else spec
        parts = {}
        for layer in graph["layers"]:
            parts.setdefault(json.dumps(layer["part"]), []).append(layer)
        self.blocks = [self.block(layers, compute_none) for layers in parts.values()]

    def block(self, layers, compute_none):
        part = layers[0]["part"]
        block = place(self, part if isinstance(part, str) else self.graph["blocks"][part["block"]], Block())
        made = [layer["output"] for layer in layers]
        block.made = made[-1]
        block.auxiliary = part == "auxiliary"
        block.is_cell = any(place for layer in layers if layer["kind"] == "mix" for place in layer["weights"])
        block.reads = sorted({x for layer in layers for x in layer["inputs"]} - set(made)) or [0]
        local = {x: i for i, x in enumerate(block.reads + made)}
        block.steps = [self.step(layer, local, compute_none) for layer in layers]
        return block

    def step(self, layer, local, compute_none):
        values = self.graph["values"]
        sources = [local[x] for x in layer["inputs"]]
        if layer["kind"] == "concat":
            return Concat(sources)
        if layer["kind"] == "unit":
            return Unit(self, layer, values[layer["inputs"][0]]["shape"]["channels"], *sources)
        shape, zeros = values[layer["output"]]["shape"], []
        for x, at in layer["zeros"] if compute_none else ():
            stride = -(-values[x]["shape"]["height"] // shape["height"])
            zeros.append((local[x], (at["row"], at["op"]), stride))
        return Mix(layer, shape, sources, zeros)

    def values(self, images, w, auxiliary=False):
        """The image and what each block makes, by the graph's numbers."""
        values = {0: images}
        for block in self.blocks:
            if auxiliary or not block.auxiliary:
                values[block.made] = block(w, *(values[x] for x in block.reads))
        return values

    def forward(self, images, w, auxiliary=False):
        """`images: [n, C, H, W]`, `w: [R, O]`; returns logits `[n, classes]`, with `auxiliary` those of both heads."""
        values = self.values(images, w, auxiliary)
        logits = values[self.graph["logits"]]
        return (logits, values[self.graph["auxiliary_logits"]]) if auxiliary else logits

    def compile_cells(self):
        for block in self.blocks:
            if block.is_cell:
                block.compile()

    def tensors(self):
        """Weights and running statistics by the engine's names."""
        return {k: v for k, v in self.state_dict().items() if not k.endswith("num_batches_tracked")}


def main():
    described = json.load(sys.stdin)
    graph = described["graph"]
    network = Network(graph, compute_none=True)
    auxiliary = graph["auxiliary_logits"] is not None
    height, width, channels = (graph["values"][0]["shape"][side] for side in ("height", "width", "channels"))
    mixing = torch.ones(graph["rows"], len(graph["ops"]))
    with torch.no_grad():
        values = network.values(torch.zeros(2, channels, height, width), mixing, auxiliary)
    for x, value in values.items():
        sides = [graph["values"][x]["shape"][side] for side in ("channels", "height", "width")]
        assert list(value.shape[1:]) == sides[: value.dim() - 1], f"value {x} is {list(value.shape)}, described as {sides}"
    expected = {}
    for unit in (layer for layer in graph["layers"] if layer["kind"] == "unit"):
        expected |= {weight["name"]: weight["shape"] for weight in unit["weights"]}
        if unit["norm"] and unit["norm"]["affine"]:
            expected |= {f"{unit['norm']['name']}.{part}": [unit["norm"]["channels"]] for part in ("weight", "bias")}
    tensors = {name: list(p.shape) for name, p in network.named_parameters()}
    wrong = sorted(name for name in expected | tensors if expected.get(name) != tensors.get(name))
    assert not wrong, f"tensors of another name or shape: {wrong}"
    counted = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("auxiliary."))
    assert counted == described["parameters"], f"{counted} parameters, described as {described['parameters']}"
    print(f"{counted} parameters, {len(tensors)} tensors, {len(values) - 1} blocks: as described")


if __name__ == "__main__":
    main()
