"""What the peers share: layers as the networks have them, and the file of the first step.

Modules carry the names of the native networks, so weights are loaded by path; only batch norm names its parameters
otherwise (gamma, beta).
"""

import json
import struct

import torch
from torch import nn
from torch.nn import functional as F


def read_safetensors(path):
    """Name -> tensor of every F32 array in a safetensors file."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            if end > begin:
                count = (end - begin) // 4
                arrays[name] = torch.frombuffer(data, dtype=torch.float32, count=count, offset=begin).reshape(entry["shape"]).clone()
    return arrays


def bn(channels, affine=False):
    return nn.BatchNorm2d(channels, affine=affine)


class ConvBN(nn.Module):
    """Convolution and batch norm; its input has been through the ReLU already, which candidates of a node share."""

    def __init__(self, c_in, c_out, kernel, stride=1, affine=False):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.bn = bn(c_out, affine)

    def forward(self, x):
        return self.bn(self.conv(x))


class PoolBN(nn.Module):
    def __init__(self, kind, channels, stride):
        super().__init__()
        self.kind, self.stride = kind, stride
        self.bn = bn(channels)

    def forward(self, x):
        if self.kind == "max":
            return self.bn(F.max_pool2d(x, 3, self.stride, 1))
        return self.bn(F.avg_pool2d(x, 3, self.stride, 1, count_include_pad=False))


class FactorizedReduce(nn.Module):
    def __init__(self, c_in, c_out, affine=False):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.conv2 = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.bn = bn(c_out, affine)

    def forward(self, rectified):
        return self.bn(torch.cat([self.conv1(rectified), self.conv2(rectified[:, :, 1:, 1:])], 1))


class Separable(nn.Module):
    """ReLU, depthwise, pointwise, batch norm; twice for a separable convolution. The first ReLU is the node's."""

    def __init__(self, channels, kernel, stride, dilation, twice, affine=False):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.twice = twice
        for i in ("1", "2") if twice else ("",):
            s = stride if i != "2" else 1
            setattr(self, "depthwise" + i, nn.Conv2d(channels, channels, kernel, s, padding, dilation, channels, bias=False))
            setattr(self, "pointwise" + i, nn.Conv2d(channels, channels, 1, bias=False))
            setattr(self, "bn" + i, bn(channels, affine))

    def forward(self, rectified):
        if not self.twice:
            return self.bn(self.pointwise(self.depthwise(rectified)))
        x = self.bn1(self.pointwise1(self.depthwise1(rectified)))
        return self.bn2(self.pointwise2(self.depthwise2(F.relu(x, inplace=True))))


def mix(weights, outputs):
    """Sum of weight * output over (index, tensor) pairs, without a temporary for each product."""
    total = None
    for index, y in outputs:
        total = weights[index] * y if total is None else torch.addcmul(total, weights[index], y)
    return total


def native_names(model):
    """Our path -> tensor, for all parameters and buffers."""
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    own = dict(model.named_parameters())
    own.update((name, t) for name, t in model.named_buffers() if not name.endswith("num_batches_tracked"))

    def native(name):
        head, leaf = name.rsplit(".", 1)
        return f"{head}.{({'weight': 'gamma', 'bias': 'beta'}.get(leaf, leaf))}" if head in norms else name

    return {native(name): tensor for name, tensor in own.items()}


def load(model, alphas, arrays):
    """Fills model and alphas; file and network must have the same names."""
    own = native_names(model)
    given = {name[len("model."):] for name in arrays if name.startswith("model.")}
    if given != set(own):
        raise SystemExit(f"the file and the network differ in {sorted(given ^ set(own))[:4]}, {len(given ^ set(own))} in all")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(arrays["model." + name].reshape(tensor.shape))
        for key, alpha in alphas.items():
            alpha.copy_(arrays["alpha." + key])


def batch(arrays, part, layout, dtype):
    x = arrays[part + ".x"].to(dtype=dtype, memory_format=layout)
    return x, arrays[part + ".y"].long()
