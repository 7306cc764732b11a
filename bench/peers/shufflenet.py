"""ShuffleNetV2's space of SPOS (Guo et al. 2020), 20 blocks for 32x32: of every block only the candidate that was drawn runs."""

import torch
from torch import nn
from torch.nn import functional as F

from common import ConvBN, bn

CANDIDATES = (("shuffle_3", 3), ("shuffle_5", 5), ("shuffle_7", 7), ("xception", 3))
STAGES = ((64, 4), (160, 4), (320, 8), (640, 4))


def layout_of(x):
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


class Halves(torch.autograd.Function):
    """The even and the odd channels; backwards the two are laid side by side in one pass each."""

    @staticmethod
    def forward(ctx, x):
        return tuple(x[:, i::2].contiguous(memory_format=layout_of(x)) for i in range(2))

    @staticmethod
    def backward(ctx, even, odd):
        n, c, h, w = even.shape
        both = torch.empty((n, 2 * c, h, w), dtype=even.dtype, memory_format=layout_of(even))
        both[:, ::2], both[:, 1::2] = even, odd
        return both


def depthwise(channels, kernel, stride):
    return nn.Sequential(nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False), bn(channels))


class Pointwise(ConvBN):
    def __init__(self, c_in, c_out, kernel=1, stride=1):
        super().__init__(c_in, c_out, kernel, stride)

    def forward(self, x):
        return F.relu(super().forward(x), inplace=True)


class Candidate(nn.Module):
    """In the first block of a stage both branches have all channels, in the others the even ones pass."""

    def __init__(self, c_in, c_out, stride, first, name, kernel):
        super().__init__()
        given, wide = c_in if first else c_in // 2, c_out // 2
        rest = c_out - given
        self.projection = nn.Sequential(depthwise(given, kernel, stride), Pointwise(given, given)) if first else None
        if name == "xception":
            self.main = nn.Sequential(depthwise(given, kernel, stride), Pointwise(given, wide), depthwise(wide, kernel, 1),
                                      Pointwise(wide, wide), depthwise(wide, kernel, 1), Pointwise(wide, rest))
        else:
            self.main = nn.Sequential(Pointwise(given, wide), depthwise(wide, kernel, stride), Pointwise(wide, rest))

    def forward(self, x):
        if self.projection is not None:
            return torch.cat((self.projection(x), self.main(x)), 1)
        even, odd = Halves.apply(x)
        return torch.cat((even, self.main(odd)), 1)


class Network(nn.Module):
    def __init__(self, strides, classes=10):
        super().__init__()
        self.stem = Pointwise(3, 16, 3, strides[0])
        self.keys, c_in = [], 16
        for (width, blocks), stride in zip(STAGES, strides[1:]):
            for i in range(blocks):
                self.keys.append(f"block_{len(self.keys) + 1}")
                setattr(self, self.keys[-1], nn.ModuleDict({name: Candidate(c_in, width, 1 if i else stride, i == 0, name, kernel)
                                                            for name, kernel in CANDIDATES}))
                c_in = width
        self.last = Pointwise(c_in, 1024)
        self.head = nn.ModuleList([nn.AdaptiveAvgPool2d(1), nn.Dropout(0), nn.Linear(1024, classes, bias=False)])

    def forward(self, x, path):
        x = self.stem(x)
        for key in self.keys:
            x = getattr(self, key)[CANDIDATES[path[key]][0]](x)
        return self.head[2](self.head[0](self.last(x)).flatten(1))


def build(strides=(1, 1, 2, 2, 2)):
    return Network(strides), {}
