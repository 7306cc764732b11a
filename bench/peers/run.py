"""Times one peer, or checks it, and prints one JSON object.

    run.py NAME --first-step FILE [--mode eager|channels_last|compile|bf16|onnxruntime] [--threads N] [--steps N] [--warm-up N]
    run.py NAME --first-step FILE --check [--threads N]

FILE comes from `espalier bench NAME --first-step FILE`: the peer starts from the same weights, choices and images. Its first
loss is printed, to be compared with ours; outputs of an inference that differ by more than 1e-3 make the exit status 1 (bf16
rounds to three digits and is not judged).

--check compares the gradients of the first step. A ReLU whose input is nearly zero is open in one program and shut in another:
one in a million of them moves a gradient by a thousandth, so in these networks PyTorch differs by up to a tenth from itself with
another layout. Judged is therefore the distance to the gradients in double precision: ours must be within 1e-3 of its norm, or
within twice the distance of PyTorch's own in single precision (the worse of its two layouts).
"""

import argparse
import contextlib
import importlib
import json
import os
import resource
import sys
import tempfile
import time

import torch

import common
import steps

TOLERANCE = 1e-3
MODES = ("eager", "channels_last", "compile", "bf16", "onnxruntime")


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=sorted(steps.KINDS))
    parser.add_argument("--first-step", required=True)
    parser.add_argument("--mode", choices=MODES, default="eager")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    return parser.parse_args()


def onnxruntime_forward(model, x):
    import onnxruntime

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "model.onnx")
        torch.onnx.export(model, (x,), path, input_names=["x"], output_names=["y"], dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["y"], {"x": image.numpy()})[0])


def forward_of(mode, model, x):
    if mode == "compile":
        return torch.compile(model)
    if mode == "onnxruntime":
        return onnxruntime_forward(model, x)
    return model


def relative(a, b):
    """Distance of two tensors as a part of the second one's norm."""
    a, b = a.double().flatten(), b.double().flatten()
    return float((a - b).norm() / b.norm().clamp_min(1e-30))


def group(arrays, prefix):
    """All arrays below a prefix as one vector, in the order of their names."""
    return torch.cat([arrays[name].flatten() for name in sorted(arrays) if name.startswith(prefix)])


def prepare(args, arrays, layout, dtype=torch.float32):
    """The step and its two batches."""
    model, alphas = importlib.import_module(steps.NETWORKS.get(args.name, args.name)).build()
    kind = steps.KINDS[args.name]
    model = model.to(dtype=dtype, memory_format=layout).train(kind is not steps.Inference)
    alphas = {key: torch.nn.Parameter(alpha.detach().to(dtype)) for key, alpha in alphas.items()}
    common.load(model, alphas, arrays)
    batches = [common.batch(arrays, part, layout, dtype) if part + ".x" in arrays else None for part in kind.parts]
    step = kind(model, forward_of(args.mode, model, batches[0][0]), common.native_names(model), alphas)
    step.given(arrays)
    return step, batches


def first_step(args, arrays, layout, dtype):
    """Loss and gradients (an inference: outputs) by name."""
    step, batches = prepare(args, arrays, layout, dtype)
    step.gradients = {}
    loss = step(*batches)
    return loss, step.gradients if step.output is None else {"output": step.output}


def check(args, arrays):
    exact_loss, exact = first_step(args, arrays, torch.contiguous_format, torch.float64)
    singles = [first_step(args, arrays, layout, torch.float32)[1] for layout in (torch.contiguous_format, torch.channels_last)]
    ours = {name: t for name, t in arrays.items() if name.startswith("grad.") or name == "output"}
    if set(ours) != set(exact):
        raise SystemExit(f"gradients of other tensors: {sorted(set(ours) ^ set(exact))[:4]}")
    differences = {}
    for kind in ("grad.model.", "grad.alpha.", "output"):
        if any(name.startswith(kind) for name in ours):
            truth = group(exact, kind)
            differences[kind.rstrip(".")] = {"ours": relative(group(ours, kind), truth),
                                             "peer": max(relative(group(single, kind), truth) for single in singles)}
    agrees = all(d["ours"] <= max(TOLERANCE, 2 * d["peer"]) for d in differences.values())
    return {"name": args.name, "loss": exact_loss, "differences": differences, "agrees": agrees}


def measure(args, arrays):
    step, batches = prepare(args, arrays, torch.channels_last if args.mode in ("channels_last", "bf16") else torch.contiguous_format)
    losses, seconds, difference = [], [], None
    for i in range(args.warm_up + args.steps):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if args.mode == "bf16" else contextlib.nullcontext():
            losses.append(step(*batches))
        seconds.append(time.perf_counter() - start)
        if i == 0 and step.output is not None:
            difference = relative(step.output, arrays["output"])
    timed = sorted(seconds[args.warm_up:])
    median = (timed[(len(timed) - 1) // 2] + timed[len(timed) // 2]) / 2
    return {
        "name": args.name,
        "mode": args.mode,
        "batch": len(batches[0][1]),
        "step_ms": 1e3 * median,
        "step_ms_min": 1e3 * timed[0],
        "images_per_s": len(batches[0][1]) / median,
        "first_loss": losses[0],
        "output_difference": difference,
        "agrees": None if args.mode == "bf16" or difference is None else difference <= TOLERANCE,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main():
    args = parse()
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    arrays = common.read_safetensors(args.first_step)
    result = check(args, arrays) if args.check else measure(args, arrays)
    print(json.dumps(result))
    return 1 if result["agrees"] is False else 0


if __name__ == "__main__":
    sys.exit(main())
