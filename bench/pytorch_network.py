"""The engine's network in PyTorch, with the engine's parameter names (`state_dict()` of one loads into the other).

Stem conv3x3 + BN; per stage `cells_per_stage` cells, a residual block of stride 2 between stages; BN, ReLU, global
average pooling, linear classifier. A cell's node is the sum over incoming edges and alive operations of w[e, o] * op(x).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

OPS = ("none", "skip", "conv1x1", "conv3x3", "avg_pool3x3")
NAS_BENCH_201_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


@dataclass
class Spec:
    """What `NetworkSpec` is in the engine; the defaults are the NAS-Bench-201 supernet."""

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

    def is_alive(self, edge, op):
        return self.alive is None or bool(self.alive[edge * len(self.ops) + op])


class ReluConvBn(nn.Conv2d):
    """ReLU, convolution without bias, BN. The supernet's BN has neither scale, shift nor running statistics."""

    def __init__(self, cin, cout, size, stride=1, affine=True):
        super().__init__(cin, cout, size, stride=stride, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(cout, affine=affine, track_running_stats=affine)

    def forward(self, x):
        return self.bn(super().forward(F.relu(x)))


class Cell(nn.Module):
    def __init__(self, spec, channels, compute_none):
        super().__init__()
        self.spec = spec
        self.compute_none = compute_none
        self.edges = nn.ModuleList()
        for e in range(len(spec.edges)):
            edge = nn.Module()
            for o, name in enumerate(spec.ops):
                if spec.is_alive(e, o) and name.startswith("conv"):
                    setattr(edge, name, ReluConvBn(channels, channels, int(name[-1]), affine=spec.affine))
            self.edges.append(edge)

    def op(self, e, name, x):
        if name == "none":
            return x.mul(0.0)
        if name == "skip":
            return x
        if name == "avg_pool3x3":
            return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return getattr(self.edges[e], name)(x)

    def forward(self, x, w):
        nodes = [x]
        for t in range(1, self.spec.nodes):
            terms = []
            for e, (source, target) in enumerate(self.spec.edges):
                if target != t:
                    continue
                for o, name in enumerate(self.spec.ops):
                    if self.spec.is_alive(e, o) and (self.compute_none or name != "none"):
                        terms.append(self.op(e, name, nodes[source]) * w[e, o])
            nodes.append(sum(terms) if terms else torch.zeros_like(x))
        return nodes[-1]


class Reduce(nn.Module):
    """Residual block of stride 2."""

    def __init__(self, cin, cout):
        super().__init__()
        self.conv_a = nn.Conv2d(cin, cout, 3, stride=2, padding=1, bias=False)
        self.bn_a = nn.BatchNorm2d(cout)
        self.conv_b = nn.Conv2d(cout, cout, 3, padding=1, bias=False)
        self.bn_b = nn.BatchNorm2d(cout)
        self.shortcut = nn.Conv2d(cin, cout, 1, bias=False)

    def forward(self, x):
        a = self.bn_a(self.conv_a(F.relu(x)))
        b = self.bn_b(self.conv_b(F.relu(a)))
        return b + self.shortcut(F.avg_pool2d(x, 2, 2, ceil_mode=True))


class Stage(nn.Module):
    def __init__(self, spec, stage, compute_none):
        super().__init__()
        c = spec.channels << stage
        self.reduce = Reduce(c // 2, c) if stage else nn.Identity()
        self.cells = nn.ModuleList(Cell(spec, c, compute_none) for _ in range(spec.cells_per_stage))

    def forward(self, x, w):
        x = self.reduce(x)
        for cell in self.cells:
            x = cell(x, w)
        return x


class Network(nn.Module):
    """`compute_none`: multiply the input of `none` by zero, as the usual research code does, instead of leaving it out."""

    def __init__(self, spec, compute_none=False):
        super().__init__()
        self.spec = spec
        self.stem = nn.Module()
        self.stem.conv = nn.Conv2d(spec.image[2], spec.channels, 3, padding=1, bias=False)
        self.stem.bn = nn.BatchNorm2d(spec.channels)
        self.stages = nn.ModuleList(Stage(spec, s, compute_none) for s in range(spec.stages))
        c = spec.channels << (spec.stages - 1)
        self.head = nn.Module()
        self.head.bn = nn.BatchNorm2d(c)
        self.head.linear = nn.Linear(c, spec.classes)

    def forward(self, images, w):
        """`images: [n, C, H, W]`, `w: [E, O]`; returns logits `[n, classes]`."""
        x = self.stem.bn(self.stem.conv(images))
        for stage in self.stages:
            x = stage(x, w)
        return self.head.linear(F.relu(self.head.bn(x)).mean((2, 3)))

    def compile_cells(self):
        for stage in self.stages:
            for cell in stage.cells:
                cell.compile()

    def tensors(self):
        """Weights and running statistics by the engine's names."""
        return {k: v for k, v in self.state_dict().items() if not k.endswith("num_batches_tracked")}
