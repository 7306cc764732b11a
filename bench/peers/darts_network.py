"""The network of DARTS that was published for CIFAR-10 as DARTS_V2 (Liu et al. 2019) in PyTorch: C=36, 20 cells."""

import torch
from torch import nn
from torch.nn import functional as F

from common import ConvBN, FactorizedReduce, Separable, bn

CELLS, CHANNELS = 20, 36
# (operation, input) pairs of the four nodes
NORMAL = ((("sep_conv_3x3", 0), ("sep_conv_3x3", 1)), (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
          (("sep_conv_3x3", 1), ("skip_connect", 0)), (("skip_connect", 0), ("dil_conv_3x3", 2)))
REDUCE = ((("max_pool_3x3", 0), ("max_pool_3x3", 1)), (("skip_connect", 2), ("max_pool_3x3", 1)),
          (("max_pool_3x3", 0), ("skip_connect", 2)), (("skip_connect", 2), ("max_pool_3x3", 1)))


class Edge(nn.Module):
    def __init__(self, name, channels, stride):
        super().__init__()
        self.name, self.stride = name, stride
        if name == "sep_conv_3x3":
            self.add_module(name, Separable(channels, 3, stride, 1, True, affine=True))
        elif name == "dil_conv_3x3":
            self.add_module(name, Separable(channels, 3, stride, 2, False, affine=True))

    def forward(self, x, rectified):
        if self.name == "max_pool_3x3":
            return F.max_pool2d(x, 3, self.stride, 1)
        return x if self.name == "skip_connect" else getattr(self, self.name)(rectified)


class Cell(nn.Module):
    def __init__(self, in0, in1, channels, reduction, after_reduction):
        super().__init__()
        self.genotype = REDUCE if reduction else NORMAL
        self.preprocess0 = (FactorizedReduce(in0, channels, affine=True) if after_reduction
                            else ConvBN(in0, channels, 1, affine=True))
        self.preprocess1 = ConvBN(in1, channels, 1, affine=True)
        for node, edges in enumerate(self.genotype):
            for name, source in edges:
                self.add_module(f"edge_{node + 2}_{source}", Edge(name, channels, 2 if reduction and source < 2 else 1))
        # the inputs that a convolution reads: only these go through a ReLU
        self.rectified = {source for edges in self.genotype for name, source in edges if "conv" in name}

    def forward(self, s0, s1):
        states = [self.preprocess0(F.relu(s0)), self.preprocess1(F.relu(s1))]
        rectified = {}
        for node, edges in enumerate(self.genotype):
            for _, source in edges:
                if source in self.rectified and source not in rectified:
                    rectified[source] = F.relu(states[source])
            a, b = (getattr(self, f"edge_{node + 2}_{source}")(states[source], rectified.get(source)) for _, source in edges)
            states.append(a + b)
        return torch.cat(states[2:], 1)


class Network(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        channels, stem = CHANNELS, 3 * CHANNELS
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), bn(stem, True))
        in0, in1, after = stem, stem, False
        for i in range(CELLS):
            reduction = i in (CELLS // 3, 2 * CELLS // 3)
            channels *= 2 if reduction else 1
            self.add_module(f"cell_{i}", Cell(in0, in1, channels, reduction, after))
            in0, in1, after = in1, 4 * channels, reduction
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Linear(in1, classes))

    def forward(self, x):
        s0 = s1 = self.stem(x)
        for i in range(CELLS):
            s0, s1 = s1, getattr(self, f"cell_{i}")(s0, s1)
        return self.head[1](self.head[0](s1).flatten(1))


def build():
    return Network(), {}
