"""Inference of a found network in PyTorch and in onnxruntime: times batches, and compares the logits with ours.

    inference.py FILE [--engines onnxruntime,eager,channels_last] [--batches 1,64] [--threads N] [--seconds S]

FILE is a safetensors file with the trained network ("model.PATH"), images ("x", (N,3,32,32)) and our logits for them
("logits", (N,classes)). The network is the one that DARTS publishes (DARTS_V2: Liu et al. 2019, CIFAR-10): 20 cells, 36 channels.
Prints one JSON object; exit status 1 when the logits disagree by more than 1e-3 of the largest.
"""

import argparse
import json
import os
import sys
import tempfile
import time

TOLERANCE = 1e-3
CELLS, CHANNELS = 20, 36
# (operation, input) pairs of the four nodes
NORMAL = ((("sep_conv_3x3", 0), ("sep_conv_3x3", 1)), (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
          (("sep_conv_3x3", 1), ("skip_connect", 0)), (("skip_connect", 0), ("dil_conv_3x3", 2)))
REDUCE = ((("max_pool_3x3", 0), ("max_pool_3x3", 1)), (("skip_connect", 2), ("max_pool_3x3", 1)),
          (("max_pool_3x3", 0), ("skip_connect", 2)), (("skip_connect", 2), ("max_pool_3x3", 1)))


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--engines", default="onnxruntime,eager,channels_last")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing, for each engine and batch")
    return parser.parse_args()


ARGS = parse() if __name__ == "__main__" else None
if ARGS:
    os.environ["OMP_NUM_THREADS"] = str(ARGS.threads)

import torch
from torch import nn
from torch.nn import functional as F

from common import ConvBN, FactorizedReduce, read_safetensors


class Separable(nn.Module):
    """Depthwise, pointwise, batch norm, with a ReLU before each: twice for a separable convolution. The first ReLU is the node's."""

    def __init__(self, channels, stride, dilation, twice):
        super().__init__()
        self.twice = twice
        for i in ("1", "2") if twice else ("",):
            s = stride if i != "2" else 1
            setattr(self, "depthwise" + i, nn.Conv2d(channels, channels, 3, s, dilation, dilation, channels, bias=False))
            setattr(self, "pointwise" + i, nn.Conv2d(channels, channels, 1, bias=False))
            setattr(self, "bn" + i, nn.BatchNorm2d(channels))

    def forward(self, rectified):
        if not self.twice:
            return self.bn(self.pointwise(self.depthwise(rectified)))
        x = F.relu(self.bn1(self.pointwise1(self.depthwise1(rectified))))
        return self.bn2(self.pointwise2(self.depthwise2(x)))


class Edge(nn.Module):
    def __init__(self, name, channels, stride):
        super().__init__()
        self.name, self.stride = name, stride
        if name == "sep_conv_3x3":
            self.add_module(name, Separable(channels, stride, 1, True))
        elif name == "dil_conv_3x3":
            self.add_module(name, Separable(channels, stride, 2, False))

    def forward(self, x, rectified):
        if self.name == "max_pool_3x3":
            return F.max_pool2d(x, 3, self.stride, 1)
        return x if self.name == "skip_connect" else getattr(self, self.name)(rectified)


class Cell(nn.Module):
    def __init__(self, in0, in1, channels, reduction, after_reduction):
        super().__init__()
        self.genotype = REDUCE if reduction else NORMAL
        self.preprocess0 = FactorizedReduce(in0, channels) if after_reduction else ConvBN(in0, channels, 1)
        self.preprocess1 = ConvBN(in1, channels, 1)
        for module in self.preprocess0, self.preprocess1:
            module.bn = nn.BatchNorm2d(channels)
        for node, edges in enumerate(self.genotype):
            for name, source in edges:
                self.add_module(f"edge_{node + 2}_{source}", Edge(name, channels, 2 if reduction and source < 2 else 1))

    def forward(self, s0, s1):
        states = [self.preprocess0(F.relu(s0)), self.preprocess1(F.relu(s1))]
        rectified = [F.relu(s) for s in states]
        for node, edges in enumerate(self.genotype):
            a, b = (getattr(self, f"edge_{node + 2}_{source}")(states[source], rectified[source]) for _, source in edges)
            states.append(a + b)
            rectified.append(F.relu(states[-1]))
        return torch.cat(states[2:], 1)


class Network(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        channels, stem = CHANNELS, 3 * CHANNELS
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem))
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


def load(model, arrays):
    """Fills the model; every parameter and buffer must be in the file and have its place."""
    own = dict(model.named_parameters())
    own.update((name, t) for name, t in model.named_buffers() if not name.endswith("num_batches_tracked"))
    for name in list(own):
        head, leaf = name.rsplit(".", 1)
        if f"{head}.running_mean" in own and leaf in ("weight", "bias"):
            own[f"{head}.{'gamma' if leaf == 'weight' else 'beta'}"] = own.pop(name)
    given = {name[len("model."):] for name in arrays if name.startswith("model.")}
    if given != set(own):
        raise SystemExit(f"the file and the network differ in {sorted(given ^ set(own))[:4]} and more")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(arrays["model." + name].reshape(tensor.shape))


def onnxruntime_engine(model, x, threads):
    import onnxruntime

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "model.onnx")
        torch.onnx.export(model, (x,), path, input_names=["x"], output_names=["y"], dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image = x.numpy()
    return lambda: torch.from_numpy(session.run(["y"], {"x": image})[0])


def torch_engine(model, x, layout):
    model, x = model.to(memory_format=layout), x.contiguous(memory_format=layout)

    def run():
        with torch.inference_mode():
            return model(x)

    return run


def engine(name, model, x, threads):
    if name == "onnxruntime":
        return onnxruntime_engine(model, x, threads)
    return torch_engine(model, x, torch.channels_last if name == "channels_last" else torch.contiguous_format)


def measure(run, seconds):
    for _ in range(3):
        run()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    times.sort()
    return {"ms": 1e3 * times[len(times) // 2], "ms_min": 1e3 * times[0], "runs": len(times)}


def main():
    torch.set_num_threads(ARGS.threads)
    torch.set_flush_denormal(True)
    arrays = read_safetensors(ARGS.file)
    model = Network().eval()
    load(model, arrays)
    images, logits = arrays["x"].reshape(-1, 3, 32, 32), arrays["logits"]
    results, agree = [], True
    for name in ARGS.engines.split(","):
        for batch in map(int, ARGS.batches.split(",")):
            run = engine(name, model, images[:batch].clone(), ARGS.threads)
            difference = float((run() - logits.reshape(len(images), -1)[:batch]).abs().max() / logits.abs().max())
            agree &= difference <= TOLERANCE
            results.append({"engine": name, "batch": batch, **measure(run, ARGS.seconds), "difference": difference})
    print(json.dumps({"name": "darts-inference", "threads": ARGS.threads, "torch": torch.__version__, "results": results}, indent=2))
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
