"""The supernet of NAS-Bench-201 (Dong and Yang 2020) in PyTorch: C=16, five cells per stage."""

import torch
from torch import nn
from torch.nn import functional as F

from common import ConvBN, bn, mix

KEYS = ("edge_1_0", "edge_2_0", "edge_2_1", "edge_3_0", "edge_3_1", "edge_3_2")
OPS = 5


class Edge(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.nor_conv_1x1 = ConvBN(channels, channels, 1)
        self.nor_conv_3x3 = ConvBN(channels, channels, 3)

    def forward(self, x, rectified, weights):
        # candidate 0 is none: nothing to add
        return mix(weights, [(1, x), (2, self.nor_conv_1x1(rectified)), (3, self.nor_conv_3x3(rectified)),
                             (4, F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))])


class Cell(nn.Module):
    def __init__(self, channels):
        super().__init__()
        for key in KEYS:
            setattr(self, key, Edge(channels))

    def forward(self, x, weights):
        nodes, rectified = [x], [F.relu(x)]
        for to in range(1, 4):
            total = None
            for source in range(to):
                key = f"edge_{to}_{source}"
                y = getattr(self, key)(nodes[source], rectified[source], weights[key])
                total = y if total is None else total + y
            nodes.append(total)
            if to < 3:
                rectified.append(F.relu(total))
        return nodes[3]


class Reduction(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.main = nn.Sequential(ConvBN(c_in, c_out, 3, 2, True), ConvBN(c_out, c_out, 3, 1, True))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x, weights):
        return self.main[1](F.relu(self.main[0](F.relu(x)), inplace=True)) + self.shortcut(x)


class Network(nn.Module):
    def __init__(self, channels=16, cells=5, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, 1, 1, bias=False), bn(channels, True))
        blocks = []
        for stage in range(3):
            if stage:
                blocks.append(Reduction(channels << (stage - 1), channels << stage))
            blocks += [Cell(channels << stage) for _ in range(cells)]
        self.body = nn.ModuleList(blocks)
        # batch norm with its ReLU, then (pool, linear)
        self.head = nn.ModuleList([bn(4 * channels, True), nn.ModuleList([nn.AdaptiveAvgPool2d(1), nn.Linear(4 * channels, classes)])])

    def forward(self, x, weights):
        x = self.stem(x)
        for block in self.body:
            x = block(x, weights)
        x = F.relu(self.head[0](x))
        return self.head[1][1](self.head[1][0](x).flatten(1))


def build():
    return Network(), {key: nn.Parameter(torch.zeros(OPS)) for key in KEYS}
