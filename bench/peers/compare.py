"""Ours and the peer, alternately, in one run: times, ratios, and whether both compute the same first step.

    compare.py ESPALIER [--names darts,nb201] [--modes eager,channels_last] [--threads N] [--steps N] [--alternations N] [--json]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

TOLERANCE = 1e-3
HERE = os.path.dirname(os.path.abspath(__file__))


def ours(args, name, *more):
    command = [args.espalier, "bench", name, "--json", "--quiet", "--threads", str(args.threads), "--steps", str(args.steps), *more]
    output = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {**output["results"][0], "machine": output["machine"]}


def peer(args, name, mode, first_step, steps):
    command = [sys.executable, os.path.join(HERE, "run.py"), name, "--mode", mode, "--threads", str(args.threads), "--steps", str(steps),
               "--first-step", first_step]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def describe(results):
    times = [r["step_ms"] for r in results]
    return {"step_ms": statistics.median(times), "step_ms_min": min(r["step_ms_min"] for r in results), "runs_ms": times,
            "peak_bytes": max(r["peak_bytes"] for r in results), "first_loss": results[0]["first_loss"]}


def compare(args, name, directory):
    first_step = os.path.join(directory, name + ".safetensors")
    runs = {"espalier": []}
    for i in range(args.alternations):
        runs["espalier"].append(ours(args, name, *(("--first-step", first_step) if i == 0 else ())))
        for mode in args.modes.split(","):
            runs.setdefault(mode, []).append(peer(args, name, mode, first_step, args.steps))
        print(f"{name}: alternation {i + 1} of {args.alternations} done", file=sys.stderr)
    summary = {who: describe(results) for who, results in runs.items()}
    own = summary["espalier"]
    for mode in args.modes.split(","):
        entry = summary[mode]
        entry["ratio"] = entry["step_ms"] / own["step_ms"]
        entry["loss_agrees"] = abs(entry["first_loss"] - own["first_loss"]) <= TOLERANCE * abs(own["first_loss"])
    own.update({key: runs["espalier"][0][key] for key in ("reorders", "allocations", "step_gflop", "bound_ms")})
    return {"name": name, "machine": runs["espalier"][0]["machine"], "torch": runs[args.modes.split(",")[0]][0]["torch"], "results": summary}


def show(result):
    machine = result["machine"]
    print(f"{result['name']}: {machine['cpu']}, {machine['isa']}, {machine['threads']} threads, {machine['gemm_gflops']:.0f} GFLOP/s, "
          f"{machine['triad_gb_per_s']:.0f} GB/s; oneDNN {machine['onednn']}, PyTorch {result['torch']}")
    for who, entry in result["results"].items():
        line = f"  {who:14} {entry['step_ms']:8.0f} ms (fastest {entry['step_ms_min']:.0f})  {entry['peak_bytes'] / 1e9:5.2f} GB"
        if who != "espalier":
            agrees = "the same first step" if entry["loss_agrees"] else "ANOTHER FIRST STEP"
            line += f"  {entry['ratio']:5.2f}x our time  loss {entry['first_loss']:.5f}: {agrees}"
        else:
            line += f"  loss {entry['first_loss']:.5f}"
        print(line, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("espalier")
    parser.add_argument("--names", default="darts,nb201")
    parser.add_argument("--modes", default="eager,channels_last")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--alternations", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    failed, results = False, []
    with tempfile.TemporaryDirectory() as directory:
        for name in args.names.split(","):
            result = compare(args, name, directory)
            results.append(result)
            failed |= not all(entry.get("loss_agrees", True) for entry in result["results"].values())
            if not args.json:
                show(result)
    if args.json:
        print(json.dumps(results, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
