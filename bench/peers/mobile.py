"""What the peers made of MobileNets' blocks share: inverted residuals, and the row of blocks."""

from torch import nn
from torch.nn import functional as F


class Body(nn.Module):
    """Expansion (if any), depthwise convolution, projection; batch norm behind each, the activation behind the first two."""

    def __init__(self, c_in, c_out, kernel, stride, expansion, active, eps, groups=1):
        super().__init__()
        wide = c_in * expansion
        self.active = active
        self.expand = nn.Conv2d(c_in, wide, 1, bias=False) if expansion > 1 else None
        self.expand_bn = nn.BatchNorm2d(wide, eps) if expansion > 1 else None
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(wide, eps)
        self.project = nn.Conv2d(wide, c_out, 1, groups=groups, bias=False)
        self.project_bn = nn.BatchNorm2d(c_out, eps)

    def forward(self, x):
        if self.expand is not None:
            x = self.active(self.expand_bn(self.expand(x)), inplace=True)
        x = self.active(self.depthwise_bn(self.depthwise(x)), inplace=True)
        return self.project_bn(self.project(x))


class Candidate(nn.Module):
    def __init__(self, *args, **named):
        super().__init__()
        self.body = Body(*args, **named)

    def forward(self, x):
        return self.body(x)


class Network(nn.Module):
    """`stages`: width, blocks, stride of the first one; `block` makes one from (c_in, c_out, stride)."""

    def __init__(self, key, block, stages, stem, stem_stride, first, last, active, eps, classes=10):
        super().__init__()
        self.active = active
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(stem, eps))
        self.first = Candidate(stem, first, 3, 1, 1, active, eps) if first else None
        self.keys, c_in = [], first or stem
        for width, blocks, stride in stages:
            for i in range(blocks):
                self.keys.append(f"{key}_{len(self.keys) + 1}")
                setattr(self, self.keys[-1], block(c_in, width, 1 if i else stride))
                c_in = width
        self.last = nn.Sequential(nn.Conv2d(c_in, last, 1, bias=False), nn.BatchNorm2d(last, eps))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Linear(last, classes))

    def forward(self, x, choices):
        x = self.active(self.stem(x), inplace=True)
        x = x if self.first is None else self.first(x)
        for key in self.keys:
            x = getattr(self, key)(x, choices[key])
        x = self.active(self.last(x), inplace=True)
        return self.head[1](self.head[0](x).flatten(1))


relu, relu6 = F.relu, F.relu6
