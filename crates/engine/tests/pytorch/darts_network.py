"""A small network of the DARTS space in PyTorch, with the engine's parameter names: written after `operations.py`,
`model_search.py` and `model.py` of https://github.com/quark0/darts, without a look at the engine's graph.

Stem conv3x3 + BN; a normal cell, a reduction cell, a normal cell, each with two inputs, four nodes and three edges (as
`two_inputs` in `../suite/cases.rs`); global average pooling, linear classifier; an auxiliary head after the first cell.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

OPS = (
    "none",
    "skip",
    "avg_pool3x3",
    "max_pool3x3",
    "sep_conv3x3",
    "sep_conv5x5",
    "dil_conv3x3",
    "dil_conv5x5",
)
NORMAL = ((0, 2), (1, 3), (2, 3))
REDUCTION = ((0, 2), (1, 2), (2, 3))


@dataclass
class Darts:
    image: tuple = (7, 6, 3)  # H, W, C
    classes: int = 4
    channels: int = 2  # of the first cell
    ops: tuple = OPS
    alive: tuple = None  # [6 * O] row-major: the edges of the normal cell, then of the reduction cell; None: all
    affine: bool = False  # scale, shift and running statistics in the cells' BN
    pools: bool = True  # BN after pools
    partial: int = 1  # operations see the first of so many parts of the channels
    auxiliary: float = None  # weight of the auxiliary head's loss; None: no such head
    auxiliary_skips: bool = False  # beside the operations of every edge, as in the all-skip spaces of DARTS-Bench-Suite

    @property
    def edges(self):
        return NORMAL + REDUCTION

    def is_alive(self, row, op):
        return self.alive is None or bool(self.alive[row * len(self.ops) + op])


def norm(spec, channels):
    return nn.BatchNorm2d(channels, affine=spec.affine, track_running_stats=spec.affine)


class Convolution(nn.Conv2d):
    """ReLU, 1x1 convolution, BN."""

    def __init__(self, spec, cin, cout):
        super().__init__(cin, cout, 1, bias=False)
        self.bn = norm(spec, cout)

    def forward(self, x):
        return self.bn(super().forward(F.relu(x)))


class FactorizedReduce(nn.Module):
    def __init__(self, spec, cin, cout):
        super().__init__()
        self.first = nn.Conv2d(cin, cout // 2, 1, stride=2, bias=False)
        self.second = nn.Conv2d(cin, cout - cout // 2, 1, stride=2, bias=False)
        self.bn = norm(spec, cout)

    def forward(self, x):
        x = F.relu(x)
        # The original's `x[:, :, 1:, 1:]` but for odd sides, where that has a row and a column too few.
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.bn(torch.cat([self.first(x), self.second(shifted)], dim=1))


class Separable(nn.Module):
    """ReLU, depthwise convolution, 1x1 convolution, BN."""

    def __init__(self, spec, c, kernel, stride, dilation):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.depthwise = nn.Conv2d(c, c, kernel, stride, padding, dilation, groups=c, bias=False)
        self.pointwise = nn.Conv2d(c, c, 1, bias=False)
        self.bn = norm(spec, c)

    def forward(self, x):
        return self.bn(self.pointwise(self.depthwise(F.relu(x))))


class Twice(nn.Module):
    def __init__(self, spec, c, kernel, stride):
        super().__init__()
        self.first = Separable(spec, c, kernel, stride, 1)
        self.second = Separable(spec, c, kernel, 1, 1)

    def forward(self, x):
        return self.second(self.first(x))


class Pool(nn.Module):
    def __init__(self, spec, c, name, stride):
        super().__init__()
        self.name, self.stride = name, stride
        # Without scale and shift in the final network as well.
        self.bn = nn.BatchNorm2d(c, affine=False, track_running_stats=False) if spec.pools else nn.Identity()

    def forward(self, x):
        if self.name == "max_pool3x3":
            return self.bn(F.max_pool2d(x, 3, self.stride, 1))
        return self.bn(F.avg_pool2d(x, 3, self.stride, 1, count_include_pad=False))


def operation(spec, name, c, stride):
    kind, kernel = name[:-3], int(name[-1]) if name[-1].isdigit() else None
    if name == "skip":
        return nn.Identity() if stride == 1 else FactorizedReduce(spec, c, c)
    if kind.endswith("pool"):
        return Pool(spec, c, name, stride)
    if kind == "sep_conv":
        return Twice(spec, c, kernel, stride)
    return Separable(spec, c, kernel, stride, 2)


class Cell(nn.Module):
    def __init__(self, spec, inputs, c, preprocess, edges, first_row, stride):
        super().__init__()
        self.spec, self.ends, self.first_row, self.stride = spec, edges, first_row, stride
        self.preprocess = nn.ModuleList(p(spec, cin, c) for p, cin in zip(preprocess, inputs))
        self.edges = nn.ModuleList()
        for e, (source, _) in enumerate(edges):
            edge = nn.ModuleDict()
            for o, name in enumerate(spec.ops):
                if name != "none" and spec.is_alive(first_row + e, o):
                    edge[name] = operation(spec, name, c // spec.partial, stride if source < 2 else 1)
            if spec.auxiliary_skips:
                edge["auxiliary_skip"] = operation(spec, "skip", c, stride if source < 2 else 1)
            self.edges.append(edge)

    def forward(self, inputs, w):
        nodes = [p(x) for p, x in zip(self.preprocess, inputs)]
        for node in (2, 3):
            terms = []
            for e, (source, target) in enumerate(self.ends):
                if target == node and self.spec.partial > 1:
                    terms.append(self.partial_edge(e, nodes[source], self.stride if source < 2 else 1, w))
                elif target == node:
                    row = w[self.first_row + e]
                    # `OperationBlock` of https://github.com/automl/ConfigurableOptimizer adds that skip as it is.
                    weight = {name: row[o] for o, name in enumerate(self.spec.ops)} | {"auxiliary_skip": 1}
                    terms += [weight[name] * op(nodes[source]) for name, op in self.edges[e].items()]
            nodes.append(sum(terms))
        return torch.cat(nodes[2:], dim=1)

    def partial_edge(self, e, x, stride, w):
        """`MixedOp` of https://github.com/yuhuixu1993/PC-DARTS, `model_search.py`, with weights that stand for those of the
        operations times that of the edge."""
        spec, row = self.spec, w[self.first_row + e]
        seen, rest = x[:, : x.shape[1] // spec.partial], x[:, x.shape[1] // spec.partial :]
        mixed = sum(row[spec.ops.index(name)] * op(seen) for name, op in self.edges[e].items())
        alive = [weight for o, weight in enumerate(row) if spec.is_alive(self.first_row + e, o)]
        if stride == 2:
            # Of even sides the original's pooling; of odd ones it would not fit the operations.
            rest = F.max_pool2d(rest, 2, 2, ceil_mode=True)
        y = torch.cat([mixed, sum(alive) * rest], dim=1)
        n, c, height, width = y.shape
        return y.view(n, spec.partial, c // spec.partial, height, width).transpose(1, 2).reshape(n, c, height, width)


class Auxiliary(nn.Module):
    """`AuxiliaryHeadCIFAR`."""

    def __init__(self, c, classes):
        super().__init__()
        self.conv_a = nn.Conv2d(c, 128, 1, bias=False)
        self.bn_a = nn.BatchNorm2d(128)
        self.conv_b = nn.Conv2d(128, 768, 2, bias=False)
        self.bn_b = nn.BatchNorm2d(768)
        self.linear = nn.Linear(768, classes)

    def forward(self, x):
        x = F.avg_pool2d(F.relu(x), 5, stride=3, padding=0, count_include_pad=False)
        x = self.bn_a(self.conv_a(x))
        x = self.bn_b(self.conv_b(F.relu(x)))
        return self.linear(F.relu(x).flatten(1))


class DartsNetwork(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        c = spec.channels
        self.stem = nn.Module()
        self.stem.conv = nn.Conv2d(spec.image[2], 3 * c, 3, padding=1, bias=False)
        self.stem.bn = nn.BatchNorm2d(3 * c)
        conv, reduce = Convolution, FactorizedReduce
        self.cells = nn.ModuleList(
            [
                Cell(spec, (3 * c, 3 * c), c, (conv, conv), NORMAL, 0, 1),
                Cell(spec, (3 * c, 2 * c), 2 * c, (conv, conv), REDUCTION, 3, 2),
                Cell(spec, (2 * c, 4 * c), 2 * c, (reduce, conv), NORMAL, 0, 1),
            ]
        )
        if spec.auxiliary is not None:
            self.auxiliary = Auxiliary(2 * c, spec.classes)
        self.head = nn.Module()
        self.head.linear = nn.Linear(4 * c, spec.classes)

    def forward(self, images, w):
        """`images: [n, C, H, W]`, `w: [6, O]`; returns logits `[n, classes]`. In training `auxiliary_logits` are those of
        the auxiliary head, where there is one."""
        older = newer = self.stem.bn(self.stem.conv(images))
        for i, cell in enumerate(self.cells):
            older, newer = newer, cell((older, newer), w)
            if i == 0 and self.training and self.spec.auxiliary is not None:
                self.auxiliary_logits = self.auxiliary(newer)
        return self.head.linear(newer.mean((2, 3)))

    def tensors(self):
        """Weights and running statistics by the engine's names."""
        return {k: v for k, v in self.state_dict().items() if not k.endswith("num_batches_tracked")}
