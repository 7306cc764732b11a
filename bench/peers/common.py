"""What the peers share: layers as the supernets have them, the step of first-order DARTS, and the file of the first step.

Modules carry the names of the native networks, so weights are loaded by path; only batch norm names its parameters
otherwise (gamma, beta).
"""

import json
import resource
import struct
import time

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
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.conv2 = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.bn = bn(c_out)

    def forward(self, rectified):
        return self.bn(torch.cat([self.conv1(rectified), self.conv2(rectified[:, :, 1:, 1:])], 1))


def mix(weights, outputs):
    """Sum of weight * output over (index, tensor) pairs, without a temporary for each product."""
    total = None
    for index, y in outputs:
        total = weights[index] * y if total is None else torch.addcmul(total, weights[index], y)
    return total


def load(model, alphas, arrays):
    """Fills model and alphas; every name of the file that belongs to them must have its place."""
    own = dict(model.named_parameters())
    own.update(model.named_buffers())
    filled = set()
    for name, values in arrays.items():
        if not name.startswith("model."):
            continue
        path = name[len("model."):]
        if path not in own:
            head, leaf = path.rsplit(".", 1)
            path = head + "." + {"gamma": "weight", "beta": "bias"}.get(leaf, leaf)
        with torch.no_grad():
            own[path].copy_(values.reshape(own[path].shape))
        filled.add(path)
    missing = [n for n in own if n not in filled and not n.endswith("num_batches_tracked")]
    if missing:
        raise SystemExit(f"{len(missing)} parameters are not in the file, the first of them {missing[0]}")
    for key, alpha in alphas.items():
        with torch.no_grad():
            alpha.copy_(arrays["alpha." + key])


class Search:
    """First-order DARTS: Adam on the alphas at the arch batch, then SGD with clipping on the weights."""

    def __init__(self, model, alphas, forward=None):
        self.model, self.forward = model, model if forward is None else forward
        self.alphas = alphas
        self.weights = list(model.parameters())
        self.sgd = torch.optim.SGD(self.weights, lr=0.025, momentum=0.9, weight_decay=3e-4, foreach=True)
        self.adam = torch.optim.Adam(list(alphas.values()), lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3, foreach=True)

    def loss(self, x, y):
        return F.cross_entropy(self.forward(x, {k: F.softmax(a, 0) for k, a in self.alphas.items()}), y)

    def step(self, train, arch):
        # Only the gradients that are asked for: no weight gradients in the first half, no alpha gradients in the second.
        alphas = list(self.alphas.values())
        for alpha, gradient in zip(alphas, torch.autograd.grad(self.loss(*arch), alphas)):
            alpha.grad = gradient
        self.adam.step()
        self.sgd.zero_grad(set_to_none=True)
        loss = self.loss(*train)
        loss.backward(inputs=self.weights)
        nn.utils.clip_grad_norm_(self.weights, 5.0, foreach=True)
        self.sgd.step()
        return float(loss.detach())


def batch(arrays, part, layout):
    x = arrays[part + ".x"].reshape(-1, 3, 32, 32).contiguous(memory_format=layout)
    return x, arrays[part + ".y"].long()


def run(build, arrays, mode, steps, warm_up=2):
    """Builds, loads, steps; the result as a dictionary."""
    layout = torch.channels_last if mode == "channels_last" else torch.contiguous_format
    model, alphas = build()
    model = model.to(memory_format=layout).train()
    load(model, alphas, arrays)
    search = Search(model, alphas, torch.compile(model) if mode == "compile" else None)
    train, arch = batch(arrays, "train", layout), batch(arrays, "arch", layout)
    losses, seconds = [], []
    for _ in range(warm_up + steps):
        start = time.perf_counter()
        losses.append(search.step(train, arch))
        seconds.append(time.perf_counter() - start)
    timed = sorted(seconds[warm_up:])
    median = (timed[(len(timed) - 1) // 2] + timed[len(timed) // 2]) / 2
    return {
        "mode": mode,
        "step_ms": 1e3 * median,
        "step_ms_min": 1e3 * timed[0],
        "images_per_s": len(train[1]) / median,
        "first_loss": losses[0],
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
