"""MobileNetV2 of width 1 for small images (Sandler et al. 2018) in PyTorch."""

from torch import nn

from common import bn

# expansion, channels, blocks, stride of the first
ROWS = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def conv_bn(c_in, c_out, kernel, stride=1, groups=1, relu=True):
    layers = [nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False), bn(c_out, True)]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if relu else nn.Sequential(*layers)


class Block(nn.Module):
    def __init__(self, c_in, c_out, stride, expansion):
        super().__init__()
        wide = c_in * expansion
        layers = [] if expansion == 1 else [conv_bn(c_in, wide, 1)]
        self.body = nn.Sequential(*layers, conv_bn(wide, wide, 3, stride, wide), conv_bn(wide, c_out, 1, relu=False))
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class Network(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.stem = conv_bn(3, 32, 3)
        blocks, c_in = [], 32
        for expansion, c_out, count, stride in ROWS:
            for i in range(count):
                blocks.append(Block(c_in, c_out, stride if i == 0 else 1, expansion))
                c_in = c_out
        self.blocks = nn.Sequential(*blocks)
        self.last = conv_bn(c_in, 1280, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(1280, classes)

    def forward(self, x):
        return self.classifier(self.pool(self.last(self.blocks(self.stem(x)))).flatten(1))


def build():
    return Network(), {}
