"""ResNet-18 for small images (He et al. 2016) in PyTorch."""

from torch import nn
from torch.nn import functional as F

from common import ConvBN, bn


class Block(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.first = ConvBN(c_in, c_out, 3, stride, affine=True)
        self.second = nn.Sequential(nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), bn(c_out, True))
        if stride > 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), bn(c_out, True))
        else:
            self.shortcut = nn.Identity()

    def forward(self, x):
        y = self.second(F.relu(self.first(x), inplace=True))
        return F.relu(y + self.shortcut(x), inplace=True)


class Network(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.stem = ConvBN(3, 64, 3, affine=True)
        widths = [64 << i // 2 for i in range(8)]
        self.blocks = nn.Sequential(*(Block(([64] + widths)[i], widths[i], 2 if i in (2, 4, 6) else 1) for i in range(8)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(512, classes)

    def forward(self, x):
        x = self.blocks(F.relu(self.stem(x), inplace=True))
        return self.classifier(self.pool(x).flatten(1))


def build():
    return Network(), {}
