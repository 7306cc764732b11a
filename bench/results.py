"""Results that are kept with the code: one small JSON file for each finished piece of work, which nobody needs to do again.

What takes hours is cut into pieces: a search, a training, the correlation of one seed. A finished piece is STORE/NAME/PIECE.json; with
it stand what was run and a hash of that, the commit, the machine, the seconds and the figures. Machines and days add up: what is there
is not done again, unless the commands, the data or FORMAT have changed since. Run directories stay in RUNS/NAME, and what was cut
short there goes on from its last epoch.
"""

import argparse
import glob
import hashlib
import json
import os
import random
import shutil
import string
import subprocess
import sys
import time

FORMAT = 1  # of what the figures mean; a new number makes all pieces old
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
END = "<!-- end of results -->"
MISSING = "not yet run"


def note(text):
    print(text, file=sys.stderr, flush=True)


class OutOfTime(Exception):
    pass


def parser(description, **defaults):
    p = argparse.ArgumentParser(description=description)
    p.add_argument("espalier")
    p.add_argument("--data-dir", required=True, help="the binary files of CIFAR-10, or of a part of it")
    p.add_argument("--store", default="docs/results", help="what is finished, to be committed")
    p.add_argument("--runs", default="build/results", help="run directories")
    p.add_argument("--page", help="the table goes between this page's markers; without one it is printed")
    p.add_argument("--force", action="store_true", help="do again what is there")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seed", type=int, default=1)
    for name, value in {"minutes": 180, "limit_batches": 0, "limit_images": 0, **defaults}.items():
        p.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    return p


def digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


class Results:
    """The pieces of one study, and the `espalier` that makes them."""

    def __init__(self, args, name, parent=None):
        self.args, self.name = args, name
        self.store, self.runs = os.path.join(args.store, name), os.path.join(args.runs, name)
        self.deadline = parent.deadline if parent else time.monotonic() + 60 * args.minutes
        self.data = parent.data if parent else self.digest_of_data()

    def digest_of_data(self):
        files = sorted(glob.glob(os.path.join(self.args.data_dir, "*.bin")))
        if not files:
            sys.exit(f"{self.args.data_dir}: no *.bin files of CIFAR-10")
        digests = []
        for path in files:
            with open(path, "rb") as file:
                digests.append([os.path.basename(path), hashlib.sha256(file.read()).hexdigest()])
        return digest(digests)

    # --- commands: lists of words, in which $DATA, $RUN and others stand for this machine's paths ------------
    def on_data(self, *words):
        limits = [word for name in ("limit_batches", "limit_images") if getattr(self.args, name)
                  for word in (f"--{name.replace('_', '-')}", str(getattr(self.args, name)))]
        return [*words, "--data", "cifar10", "--data-dir", "$DATA", *limits]

    def run(self, command, **paths):
        """The command's result, and the seconds that it took, those before an interruption with them."""
        words = [string.Template(word).substitute(DATA=self.args.data_dir, ROOT=ROOT, **paths) for word in command]
        if self.args.threads:
            words += ["--threads", str(self.args.threads)]
        start = time.monotonic()
        done = subprocess.run([self.args.espalier, *words, "--json", "--quiet"], stdout=subprocess.PIPE)
        if done.returncode:
            sys.exit(f"espalier {' '.join(words)} ended with {done.returncode}")
        result = json.loads(done.stdout)
        return result, result.get("seconds", time.monotonic() - start)

    # --- pieces ----------------------------------------------------------------------------------------------
    def path_of(self, piece):
        return os.path.join(self.store, piece + ".json")

    def identity(self, commands, inputs):
        return digest([FORMAT, commands, inputs, self.data])

    def stored(self, piece, commands, inputs=None):
        """The figures of a finished piece; None: there is none that was made like this."""
        try:
            with open(self.path_of(piece)) as file:
                record = json.load(file)
        except FileNotFoundError:
            return None
        return record["figures"] if record["configuration"] == self.identity(commands, inputs) else None

    def piece(self, piece, commands, measure, inputs=None, enough=lambda figures: True):
        """The figures of a piece, measured when they are missing: measure(directory of the run) returns them and the seconds."""
        found = self.stored(piece, commands, inputs)
        forced = self.args.force and self.path_of(piece) not in made
        if found and enough(found) and not forced:
            return found
        if time.monotonic() > self.deadline:
            raise OutOfTime
        run = os.path.join(self.runs, f"{piece}-{self.identity(commands, inputs)[:6]}")
        if forced:
            shutil.rmtree(run, ignore_errors=True)
        for directory in (self.runs, self.store):
            os.makedirs(directory, exist_ok=True)
        figures, seconds = measure(run)
        record = {"commands": ["espalier " + " ".join(c) for c in commands], "configuration": self.identity(commands, inputs),
                  "format": FORMAT, "commit": commit(), "machine": self.machine(), "seconds": round(seconds, 1), "figures": figures}
        write_json(self.path_of(piece), record)
        made.add(self.path_of(piece))
        note(f"{self.name}, {piece}: {seconds:.0f} s")
        return figures

    def machine(self):
        done = subprocess.run([self.args.espalier, "doctor", "--json"], stdout=subprocess.PIPE)
        about = json.loads(done.stdout)["machine"]
        threads = self.args.threads or int(os.environ.get("OMP_NUM_THREADS", about["usable_cores"]))
        return {"cpu": about["cpu"], "isa": about["isa"], "threads": threads}


made = set()  # files that this process has written


def commit():
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True)
    return done.stdout.strip() or "unknown"


def write(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)


def write_json(path, value):
    write(path, json.dumps(value, indent=1) + "\n")


def publish(args, name, text):
    """Puts the text between <!-- results: NAME --> and the end marker behind it."""
    if not args.page:
        print(text)
        return
    with open(args.page) as file:
        page = file.read()
    mark = f"<!-- results: {name} -->"
    begin = page.index(mark) + len(mark)
    write(args.page, page[:begin] + "\n" + text + "\n" + page[page.index(END, begin):])


# --- cells of nb201 alone: the truth for all studies on them -------------------------------------------------
SPACE = ("--space", "nb201", "--set", "channels=16", "--set", "cells=1")
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ("edge_1_0", "edge_2_0", "edge_2_1", "edge_3_0", "edge_3_1", "edge_3_2")


def random_cells(n, seed):
    """n different cells, the first of them the same for any n."""
    generator, cells = random.Random(seed), []
    while len(cells) < n:
        cell = {edge: generator.choice(OPS) for edge in EDGES}
        if cell not in cells:
            cells.append(cell)
    return cells


class Alone:
    """Trainings of single cells, a piece each, named by the numbers of their six operations."""

    def __init__(self, results, epochs):
        self.results = Results(results.args, "nb201-alone", results)
        self.command = self.results.on_data("retrain", *SPACE, "--arch", "$ARCH", "--epochs", str(epochs), "--batch", "64", "--seed",
                                            str(results.args.seed), "--out", "$RUN", "--resume")

    @staticmethod
    def name(cell):
        return "".join(str(OPS.index(cell[edge])) for edge in EDGES)

    @staticmethod
    def canonical(cell):
        return "+".join("|" + "".join(f"{cell[f'edge_{node}_{source}']}~{source}|" for source in range(node)) for node in (1, 2, 3))

    def stored(self, cell):
        return self.results.stored(self.name(cell), [self.command], cell)

    def train(self, cell):
        def measure(run):
            write_json(run + ".architecture", cell)
            result, seconds = self.results.run(self.command, ARCH=run + ".architecture", RUN=run)
            return {"accuracy": result["metrics"]["acc1"], "macs": result["macs"], "parameters": result["parameters"]}, seconds
        return self.results.piece(self.name(cell), [self.command], measure, cell)
