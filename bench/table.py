"""The table of `make bench` and `make bench-all`: our steps and PyTorch's, alternately, on one machine in one run.

    table.py ESPALIER [--all] [--rows W1,W3] [--modes eager,...] [--threads N] [--steps N] [--alternations N] [--store DIR] [--json]

By default rows W1, W3, W9 and W11 in three alternations of ours and the better of PyTorch's eager layouts. --all: all rows and
modes; what has been measured lies in the store, a file for each row and mode, and is not measured again (remove the file for
that). ESPALIER_PEER_PYTHON names a Python with PyTorch; without one, ours stands alone.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOLERANCE = 1e-3
# Compiling takes long, and bf16 may on processors without it: these modes have so many seconds.
COMPILE_SECONDS = float(os.environ.get("ESPALIER_COMPILE_SECONDS", "600"))
CHECK_BATCH = 8
# row, benchmark, batch
ROWS = (("W1", "darts", 64), ("W2", "darts-second", 64), ("W3", "nb201", 64), ("W4", "gdas", 64),
        ("W5", "proxyless", 64), ("W5", "proxyless-224", 16), ("W6", "fbnet", 64), ("W7", "spos", 64), ("W7", "spos-224", 16),
        ("W8", "enas", 64), ("W8b", "spos-evaluation", 64),
        ("W9", "darts-train", 64), ("W9", "darts-train", 96),
        ("W10", "darts-inference", 1), ("W10", "darts-inference", 64), ("W11", "resnet18", 64), ("W11", "mobilenetv2", 64))
# an evaluation is of another path every time: all that there are
STEPS = {"spos-evaluation": 20}
SHORT = (("W1", "darts", 64), ("W3", "nb201", 64), ("W9", "darts-train", 64), ("W11", "resnet18", 64), ("W11", "mobilenetv2", 64))
EAGER = ("eager", "channels_last")
MODES = EAGER + ("bf16", "compile")


def note(text):
    print(text, file=sys.stderr, flush=True)


# --- running one side ----------------------------------------------------------------------------------


def ours(args, name, batch, *more):
    command = [args.espalier, "bench", name, "--batch", str(batch), "--json", "--quiet", "--threads", str(args.threads), *more]
    output = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {**output["results"][0], "machine": output["machine"]}


def peer(args, name, first_step, *more, seconds=None):
    """The peer's object; {"timeout": seconds} when it took longer, {"error": text} when it failed without a result."""
    command = [args.python, os.path.join(HERE, "peers", "run.py"), name, "--threads", str(args.threads), "--first-step", first_step, *more]
    # a group of its own: a compiler has helpers, which must end with it
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": str(args.threads)})
    try:
        output = process.communicate(timeout=seconds)[0]
    except BaseException as problem:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(problem, subprocess.TimeoutExpired):
            return {"timeout": seconds}
        raise
    try:
        return json.loads(output)
    except ValueError:
        return {"error": f"{name}: the peer ended with status {process.returncode}"}


def find_peer():
    python = os.environ.get("ESPALIER_PEER_PYTHON", "python3")
    try:
        return python if subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0 else None
    except OSError:
        return None


# --- measuring -----------------------------------------------------------------------------------------


def check(args, name, directory):
    """Do both compute the same first step?"""
    path = os.path.join(directory, "check.safetensors")
    own = ours(args, name, CHECK_BATCH, "--steps", "1", "--first-step", path)
    result = peer(args, name, path, "--check")
    if "loss" in result and result["loss"] is not None:
        result["agrees"] = result["agrees"] and abs(result["loss"] - own["first_loss"]) <= TOLERANCE * abs(result["loss"])
    return result


def alternate(args, name, batch, mode, alternations, directory):
    path = os.path.join(directory, f"{name}.safetensors")
    own, other = [], []
    steps = str(STEPS.get(name, args.steps))
    for i in range(alternations):
        own.append(ours(args, name, batch, "--steps", steps, *(("--first-step", path) if i == 0 else ())))
        if mode:
            other.append(peer(args, name, path, "--mode", mode, "--steps", steps,
                              seconds=COMPILE_SECONDS if mode in ("compile", "bf16") else None))
            if "step_ms" not in other[-1]:
                break
    return {"name": name, "batch": batch, "mode": mode, "ours": own, "peer": other}


def better_layout(args, name, batch, directory):
    path = os.path.join(directory, f"{name}.safetensors")
    ours(args, name, batch, "--steps", "1", "--first-step", path)
    times = {mode: peer(args, name, path, "--mode", mode, "--steps", "1", "--warm-up", "1").get("step_ms", float("inf")) for mode in EAGER}
    return min(times, key=times.get)


def stored(args, key, measure):
    """What the store has under this key, or what measure() gives (kept in a file with --all)."""
    path = os.path.join(args.store, key + ".json") if args.all else None
    if key in args.known:
        return args.known[key]
    if path and os.path.exists(path):
        with open(path) as file:
            return json.load(file)
    note(f"{key}: measuring")
    result = args.known[key] = measure()
    if path:
        os.makedirs(args.store, exist_ok=True)
        with open(path + ".part", "w") as file:
            json.dump(result, file, indent=1)
        os.replace(path + ".part", path)
    return result


def modes_of(args, name, batch, directory):
    if not args.python:
        return [None]
    if args.modes:
        return args.modes.split(",")
    if args.all:
        return [*MODES, "onnxruntime"] if name == "darts-inference" else MODES
    return [better_layout(args, name, batch, directory)]


def measure_row(args, row, name, batch):
    with tempfile.TemporaryDirectory() as directory:
        base = f"{row}-{name}-{batch}"
        result = {"row": row, "name": name, "batch": batch, "measured": []}
        if args.python:
            result["check"] = stored(args, f"{row}-{name}-check", lambda: check(args, name, directory))
        for mode in modes_of(args, name, batch, directory):
            count = 1 if mode in ("compile", "bf16") else args.alternations
            result["measured"].append(stored(args, f"{base}-{mode or 'alone'}", lambda: alternate(args, name, batch, mode, count, directory)))
        if args.all:
            result["scaling"] = stored(args, f"{base}-scaling", lambda: ours(args, name, batch, "--scaling", "--steps", str(args.steps)))
        return result


# --- the table -----------------------------------------------------------------------------------------


def summary(runs):
    return statistics.median(r["step_ms"] for r in runs), min(r["step_ms_min"] for r in runs)


def line(label, runs, model, factor=None):
    """Of one side; `model` is our result, which knows what a step has to do."""
    median, best = summary(runs)
    text = f"  {label:15} {median:9.1f} {best:9.1f} {1e3 * model.get('images', model['batch']) / median:9.1f} {model['step_gflop'] / median * 1e3:8.0f}"
    text += f" {100 * model['bound_ms'] / median:5.0f}% {max(r['peak_bytes'] for r in runs) / 1e9:7.2f}"
    if "reorders" in runs[0]:
        return text + f" {max(r['reorders'] for r in runs):8.3g} {max(r['allocations'] for r in runs):6.3g}"
    return text + f" {'':15} {factor:6.2f}x"


def agreement(entry):
    own, other = entry["ours"][0], entry["peer"][0]
    if other.get("agrees") is False:
        return "  OTHER OUTPUTS"
    if other.get("first_loss") is None or other["mode"] == "bf16":
        return ""
    difference = abs(other["first_loss"] - own["first_loss"]) / abs(own["first_loss"])
    return "" if difference <= TOLERANCE else f"  ANOTHER FIRST LOSS ({difference:.1e})"


def describe_check(result):
    if "differences" not in result:
        return f"  not checked: {result.get('error', 'no result')}"
    parts = ", ".join(f"{kind} {d['ours']:.1e} from double precision, PyTorch's {d['peer']:.1e}" for kind, d in result["differences"].items())
    return f"  {'the same first step' if result['agrees'] else 'ANOTHER FIRST STEP'}: {parts}"


def show_machine(result):
    machine = result["measured"][0]["ours"][0]["machine"]
    torch = next((p["torch"] for e in result["measured"] for p in e["peer"] if "torch" in p), None)
    print(f"{machine['cpu']}, {machine['isa']}, {machine['threads']} threads: {machine['gemm_gflops']:.0f} GFLOP/s, "
          f"{machine['triad_gb_per_s']:.0f} GB/s; oneDNN {machine['onednn']}" + (f", PyTorch {torch}" if torch else ""))
    print(f"  {'':15} {'ms':>9} {'fastest':>9} {'images/s':>9} {'GFLOP/s':>8} {'bound':>6} {'GB':>7} {'reorders':>8} {'allocs':>6} {'ratio':>7}")


def show_row(result):
    print(f"{result['row']} {result['name']}, batch {result['batch']}")
    own = [r for entry in result["measured"] for r in entry["ours"]]
    print(line("espalier", own, {**own[0], "bound_ms": statistics.median(r["bound_ms"] for r in own)}))
    for entry in result["measured"]:
        done = [p for p in entry["peer"] if "step_ms" in p]
        if done:
            factor = summary(done)[0] / summary(entry["ours"])[0]
            print(line(entry["mode"], done, own[0], factor) + agreement(entry))
        for p in entry["peer"]:
            if "timeout" in p:
                print(f"  {entry['mode']:15} not done after {p['timeout']:.0f} s")
            elif "error" in p:
                print(f"  {entry['mode']:15} {p['error']}")
    if "check" in result:
        print(describe_check(result["check"]))
    if "scaling" in result:
        s = result["scaling"]["scaling"]
        print(f"  1 -> {s['threads']} threads: step {s['step']:.2f}x, products {s['gemm']:.2f}x, memory {s['triad']:.2f}x; {s['share']:.2f} of the smaller")
    sys.stdout.flush()


def wrong(result):
    """Does a peer compute something else?"""
    entries = [e for e in result["measured"] if e["peer"] and "step_ms" in e["peer"][0]]
    return result.get("check", {}).get("agrees") is False or any(agreement(e) for e in entries)


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("espalier")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--rows")
    parser.add_argument("--modes")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--alternations", type=int, default=3)
    parser.add_argument("--store", default="build/bench")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    known = list(dict.fromkeys(row for row, _, _ in ROWS))
    if args.rows and set(args.rows.split(",")) - set(known):
        parser.error(f"--rows: there are {', '.join(known)}, not {args.rows}")
    args.python = find_peer()
    args.known = {}
    return args


def main():
    args = parse()
    rows = [r for r in (ROWS if args.all or args.rows else SHORT) if not args.rows or r[0] in args.rows.split(",")]
    results = []
    for row in rows:
        results.append(measure_row(args, *row))
        if not args.json:
            if len(results) == 1:
                show_machine(results[0])
            show_row(results[-1])
    if args.json:
        print(json.dumps(results, indent=1))
    if not args.python:
        note("ours alone: no PyTorch here. python3 -m venv DIR && DIR/bin/pip install torch onnx onnxruntime, then set "
             "ESPALIER_PEER_PYTHON=DIR/bin/python")
    return 1 if any(wrong(r) for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
