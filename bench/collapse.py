"""The table of `make results-collapse`: does differentiable search on nb201 collapse to skip connections, and what helps?

    collapse.py ESPALIER --data-dir DIR [--store DIR] [--out docs/results.md] [--rows darts,pc] [--epochs 30] [--retrain-epochs 12]
                [--random 10] [--threads N] [--limit-batches N] [--limit-images N] [--minutes 180]

A row for every variant of DARTS and every other strategy that there is: one search (16 channels, one cell per stage, CIFAR-10), and
its network trained from scratch and tested, like random cells of the space. What is done lies in the store and is not done again;
what was cut short goes on from its last epoch. No new work begins after --minutes: run it again to go on. The table replaces what
stands between the markers of --out when all rows are there.
"""

import argparse
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import time

SPACE = ("--space", "nb201", "--set", "channels=16", "--set", "cells=1")
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ("edge_1_0", "edge_2_0", "edge_2_1", "edge_3_0", "edge_3_1", "edge_3_2")
# row, strategy, its options
ROWS = (
    ("darts", "darts", ()),
    ("darts, second order", "darts", ("order=2",)),
    ("fair", "darts", ("variant=fair",)),
    ("minus", "darts", ("variant=minus",)),
    ("drnas", "darts", ("variant=drnas", "partial=4", "partial2=2")),
    ("pc", "darts", ("variant=pc",)),
    ("beta", "darts", ("variant=beta",)),
    ("progressive", "darts", ("variant=progressive",)),
    ("perturbation", "darts", ("variant=perturbation",)),
    ("early", "darts", ("variant=early",)),
    ("stop at skips", "darts", ("stop=skips",)),
    ("gdas", "gdas", ()),
    ("proxyless", "proxyless", ()),
    ("fbnet", "fbnet", ()),
    ("random", "random", ("evaluate=shared", "trials=100")),
)
BEGIN, END = "<!-- results: collapse -->", "<!-- end of results -->"


def note(text):
    print(text, file=sys.stderr, flush=True)


class OutOfTime(Exception):
    pass


def run(args, *command):
    if time.monotonic() > args.deadline:
        raise OutOfTime
    limits = [f"--{name.replace('_', '-')}={getattr(args, name)}" for name in ("threads", "limit_batches", "limit_images")
              if getattr(args, name)]
    full = [args.espalier, *command, "--data", "cifar10", "--data-dir", args.data_dir, "--seed", str(args.seed), "--json", "--quiet",
            *limits]
    done = subprocess.run(full, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"collapse.py: {' '.join(full)} ended with {done.returncode}")
    return json.loads(done.stdout)


def path_of(args, name):
    return os.path.join(args.store, name.replace(", ", "-").replace(" ", "-"))


def cached(args, name, make):
    """The JSON result of `make`, from the store when it is there."""
    path = path_of(args, name) + ".json"
    if os.path.exists(path):
        with open(path) as file:
            return json.load(file)
    start = time.monotonic()
    result = make()
    note(f"{name}: {time.monotonic() - start:.0f} s")
    with open(path + ".new", "w") as file:
        json.dump(result, file)
    os.replace(path + ".new", path)
    return result


# --- one row ---------------------------------------------------------------------------------------------


def read_log(directory):
    """Last epoch's skips, entropy and eigenvalue, the most skips of any, and whether the run says that it collapsed."""
    log = sqlite3.connect(os.path.join(directory, "run.sqlite"))
    epochs = log.execute("SELECT skip_share, entropy FROM epoch ORDER BY epoch").fetchall()
    values = log.execute("SELECT value FROM epoch_metric JOIN metric ON metric.id = metric_id WHERE name = 'eigenvalue' "
                         "ORDER BY epoch").fetchall()
    told = log.execute("SELECT count(*) FROM event WHERE kind = 'collapse' AND message LIKE 'the search collapses%'").fetchone()[0]
    log.close()
    return {"epochs": len(epochs), "skips": epochs[-1][0], "entropy": epochs[-1][1], "most": max(e[0] or 0 for e in epochs),
            "first_eigenvalue": values[0][0] if values else None, "eigenvalue": values[-1][0] if values else None,
            "collapsed": told > 0}


def search(args, name, strategy, options):
    directory = path_of(args, name)
    if strategy == "darts":
        options = (*options, "eigenvalue=1")
    settings = [part for option in options for part in ("--set", option)]
    result = run(args, "search", *SPACE, "--strategy", strategy, *settings, "--epochs", str(args.epochs), "--batch", "64", "--out",
                 directory, "--resume")
    return {"canonical": result["canonical"], "architecture": result["architecture"], "seconds": result["seconds"],
            **read_log(directory)}


def retrain(args, name, architecture):
    file = path_of(args, name) + ".architecture"
    with open(file, "w") as out:
        json.dump(architecture, out)
    result = run(args, "retrain", *SPACE, "--arch", file, "--epochs", str(args.retrain_epochs), "--batch", "128", "--out",
                 path_of(args, name), "--resume")
    return {"accuracy": result["metrics"]["acc1"], "macs": result["macs"]}


def random_cell(args, index):
    generator = random.Random(1000 * args.seed + index)
    return {edge: generator.choice(OPS) for edge in EDGES}


# --- the table -------------------------------------------------------------------------------------------


def number(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def table(args, rows, baseline):
    accuracies = [r["accuracy"] for r in baseline]
    lines = [
        "| | skips at the end (most) | entropy | eigenvalue, first and last | epochs | exported cell | test accuracy | random cells as good |",
        "|---|---|---|---|---|---|---|---|"]
    for name, found, trained in rows:
        cell = found["canonical"].replace("|", "\\|")
        better = sum(a >= trained["accuracy"] for a in accuracies)
        eigenvalues = (f"{found['first_eigenvalue']:.3g}, {found['eigenvalue']:.3g}" if found["eigenvalue"] is not None else "")
        lines.append(f"| {name}{' **collapsed**' if found['collapsed'] else ''} | {number(found['skips'], 2)} ({number(found['most'], 2)}) | "
                     f"{number(found['entropy'], 3)} | {eigenvalues} | {found['epochs']} | `{cell}` | {trained['accuracy']:.4f} | "
                     f"{better} of {len(accuracies)} |")
    deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else 0
    lines.append(f"| random cells, mean of {len(accuracies)} | | | | | | {statistics.mean(accuracies):.4f} (deviation {deviation:.4f}; "
                 f"{min(accuracies):.4f} to {max(accuracies):.4f}) | |")
    lines += ["", f"Searches of {args.epochs} epochs, retrainings of {args.retrain_epochs}; seed {args.seed}. *Collapsed*: the run's own "
              "watch said so. The exported cell is the best-scored one of all epochs, so it may be healthy where the end was not."]
    return "\n".join(lines)


def replace(path, text):
    with open(path) as file:
        page = file.read()
    begin, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    with open(path + ".new", "w") as file:
        file.write(page[:begin] + "\n" + text + "\n" + page[end:])
    os.replace(path + ".new", path)


def chosen_rows(args):
    known = {s["name"] for s in json.loads(subprocess.run([args.espalier, "list", "--json"], check=True,
                                                          stdout=subprocess.PIPE).stdout)["strategies"]}
    rows = [r for r in ROWS if not args.rows or r[0] in args.rows.split(",")]
    for name, strategy, _ in rows:
        if strategy not in known:
            note(f"{name}: this build has no strategy {strategy}; the row is left out")
    return [r for r in rows if r[1] in known]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("espalier")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--store", default="build/collapse")
    parser.add_argument("--out", help="page with the markers; without one the table is printed")
    parser.add_argument("--rows")
    parser.add_argument("--seed", type=int, default=1)
    for name, value in (("epochs", 30), ("retrain-epochs", 12), ("random", 10), ("threads", 0), ("limit-batches", 0), ("limit-images", 0),
                        ("minutes", 180)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    args.deadline = time.monotonic() + 60 * args.minutes
    os.makedirs(args.store, exist_ok=True)
    rows, baseline = [], []
    try:
        for name, strategy, options in chosen_rows(args):
            found = cached(args, name, lambda: search(args, name, strategy, options))
            trained = cached(args, f"{name} retrained", lambda: retrain(args, f"{name} retrained", found["architecture"]))
            rows.append((name, found, trained))
        for i in range(args.random):
            baseline.append(cached(args, f"random {i}", lambda: retrain(args, f"random {i}", random_cell(args, i))))
    except OutOfTime:
        sys.exit(f"collapse.py: {args.minutes} minutes are over; run it again to go on")
    text = table(args, rows, baseline)
    if args.out:
        replace(args.out, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
