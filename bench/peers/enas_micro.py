"""ENAS' micro space (Pham et al. 2018), C=20, 6 normal and 2 reduction cells: of every node only the two operations that were
drawn run. Each has weights of its own for every value that it may read."""

import torch
from torch import nn
from torch.nn import functional as F

from common import ConvBN, FactorizedReduce, Separable, bn

NODES, CELLS = 5, 8
SEPARABLE = (("sep_conv_3x3", 3), ("sep_conv_5x5", 5))
AVERAGE, MAXIMUM, IDENTITY = range(2, 5)


class ReluConvBN(ConvBN):
    def forward(self, x):
        return super().forward(F.relu(x))


class ReluReduce(FactorizedReduce):
    def forward(self, x):
        return super().forward(F.relu(x))


class Values:
    """The values of a cell, and what several operations make of them alike."""

    def __init__(self, values):
        self.values, self.made = values, {}

    def once(self, kind, index, make):
        if (kind, index) not in self.made:
            self.made[kind, index] = make(self.values[index])
        return self.made[kind, index]

    def rectified(self, index):
        return self.once("relu", index, F.relu)

    def pooled(self, op, index):
        if op == MAXIMUM:
            return self.once(op, index, lambda x: F.max_pool2d(x, 3, 1, 1))
        return self.once(op, index, lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


class Cell(nn.Module):
    def __init__(self, kind, channels, preprocess0, preprocess1):
        super().__init__()
        self.kind = kind
        self.preprocess0, self.preprocess1 = preprocess0, preprocess1
        for to in range(2, 2 + NODES):
            for slot in range(2):
                for index in range(to):
                    setattr(self, f"op_{to}_{slot}_of_{index}",
                            nn.ModuleDict({name: Separable(channels, kernel, 1, 1, True, True) for name, kernel in SEPARABLE}))

    def term(self, values, to, slot, path):
        index, op = path[f"{self.kind}/input_{to}_{slot}"], path[f"{self.kind}/op_{to}_{slot}"]
        if op == IDENTITY:
            return values.values[index]
        if op in (AVERAGE, MAXIMUM):
            return values.pooled(op, index)
        return getattr(self, f"op_{to}_{slot}_of_{index}")[SEPARABLE[op][0]](values.rectified(index))

    def forward(self, x0, x1, path):
        """The values that no node reads, by their indices."""
        values = Values([self.preprocess0(x0) if self.preprocess0 else x0, self.preprocess1(x1) if self.preprocess1 else x1])
        read = set()
        for to in range(2, 2 + NODES):
            values.values.append(self.term(values, to, 0, path) + self.term(values, to, 1, path))
            read.update(path[f"{self.kind}/input_{to}_{slot}"] for slot in range(2))
        return {i: x for i, x in enumerate(values.values) if i not in read}


class Out(nn.Module):
    """Reads what it is given of all values, with the weights of those."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.bn = nn.Conv2d((2 + NODES) * channels, channels, 1, bias=False), bn(channels, True)

    def forward(self, given):
        channels = len(self.conv.weight)
        weight = torch.cat([self.conv.weight[:, i * channels:(i + 1) * channels] for i in given], 1)
        return self.bn(F.conv2d(F.relu(torch.cat(list(given.values()), 1)), weight))


class Network(nn.Module):
    def __init__(self, channels=20, classes=10):
        super().__init__()
        stem = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), bn(stem, True))
        for i in range(CELLS):
            reduces = i in (CELLS // 3, 2 * CELLS // 3)
            before = None
            if reduces:
                before = ReluReduce(channels, 2 * channels)
                setattr(self, f"reduce_{i}", FactorizedReduce(channels, 2 * channels, True))
                channels *= 2
            elif i < 2:
                before = ReluConvBN(stem, channels, 1)
            setattr(self, f"cell_{i}", Cell("reduce" if reduces else "normal", channels, before,
                                            ReluConvBN(stem, channels, 1) if i == 0 else None))
            setattr(self, f"out_{i}", Out(channels))
        self.head = nn.ModuleList([nn.AdaptiveAvgPool2d(1), nn.Dropout(0), nn.Linear(channels, classes, bias=False)])

    def forward(self, x, path):
        x0 = x1 = self.stem(x)
        for i in range(CELLS):
            reduce = getattr(self, f"reduce_{i}", None)
            x0, x1 = (x1, reduce(x1)) if reduce else (x0, x1)
            x0, x1 = x1, getattr(self, f"out_{i}")(getattr(self, f"cell_{i}")(x0, x1, path))
        return self.head[2](self.head[0](x1).flatten(1))


def build():
    return Network(), {}
