"""The supernet of DARTS (Liu et al. 2019) in PyTorch: C=16, 8 cells, four nodes; mixed operations everywhere."""

import torch
from torch import nn
from torch.nn import functional as F

from common import ConvBN, FactorizedReduce, PoolBN, Separable, bn, mix

NODES, OPS = 4, 8


class Edge(nn.Module):
    def __init__(self, channels, stride):
        super().__init__()
        self.max_pool_3x3 = PoolBN("max", channels, stride)
        self.avg_pool_3x3 = PoolBN("avg", channels, stride)
        self.skip_connect = FactorizedReduce(channels, channels) if stride == 2 else nn.Identity()
        self.sep_conv_3x3 = Separable(channels, 3, stride, 1, True)
        self.sep_conv_5x5 = Separable(channels, 5, stride, 1, True)
        self.dil_conv_3x3 = Separable(channels, 3, stride, 2, False)
        self.dil_conv_5x5 = Separable(channels, 5, stride, 2, False)
        self.stride = stride

    def forward(self, x, rectified, weights):
        # candidate 0 is none: nothing to add
        outputs = [(1, self.max_pool_3x3(x)), (2, self.avg_pool_3x3(x)), (3, self.skip_connect(rectified if self.stride == 2 else x)),
                   (4, self.sep_conv_3x3(rectified)), (5, self.sep_conv_5x5(rectified)),
                   (6, self.dil_conv_3x3(rectified)), (7, self.dil_conv_5x5(rectified))]
        return mix(weights, outputs)


class Cell(nn.Module):
    def __init__(self, in0, in1, channels, reduction, after_reduction):
        super().__init__()
        self.kind = "reduce" if reduction else "normal"
        self.preprocess0 = FactorizedReduce(in0, channels) if after_reduction else ConvBN(in0, channels, 1)
        self.preprocess1 = ConvBN(in1, channels, 1)
        for node in range(NODES):
            for source in range(node + 2):
                setattr(self, f"edge_{node + 2}_{source}", Edge(channels, 2 if reduction and source < 2 else 1))

    def forward(self, s0, s1, weights):
        states = [self.preprocess0(F.relu(s0)), self.preprocess1(F.relu(s1))]
        rectified = [F.relu(s) for s in states]
        for node in range(NODES):
            total = None
            for source in range(node + 2):
                key = f"edge_{node + 2}_{source}"
                y = getattr(self, key)(states[source], rectified[source], weights[f"{self.kind}/{key}"])
                total = y if total is None else total + y
            states.append(total)
            if node + 1 < NODES:
                rectified.append(F.relu(total))
        return torch.cat(states[2:], 1)


class Network(nn.Module):
    def __init__(self, channels=16, layers=8, classes=10):
        super().__init__()
        stem = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), bn(stem, True))
        self.layers = layers
        in0, in1, after = stem, stem, False
        for i in range(layers):
            reduction = i in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduction else 1
            setattr(self, f"cell_{i}", Cell(in0, in1, channels, reduction, after))
            in0, in1, after = in1, NODES * channels, reduction
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Linear(in1, classes))

    def forward(self, x, weights):
        s0 = s1 = self.stem(x)
        for i in range(self.layers):
            s0, s1 = s1, getattr(self, f"cell_{i}")(s0, s1, weights)
        return self.head[1](self.head[0](s1).flatten(1))


def build():
    alphas = {f"{kind}/edge_{node + 2}_{source}": nn.Parameter(torch.zeros(OPS))
              for kind in ("normal", "reduce") for node in range(NODES) for source in range(node + 2)}
    return Network(), alphas
