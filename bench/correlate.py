"""The tables of `make results-correlate`: do the scores of a one-shot search rank networks as training them alone does?

    correlate.py ESPALIER --data-dir DIR [--page docs/results.md] [--rows macro-50-seed-0,nb201] [--minutes 180] [--force] ...

Two studies of SPOS on CIFAR-10: `macro` against the table of NAS-Bench-Macro, after few and after many epochs, and `nb201` against cells
trained alone here (results.py has them). What is finished is not done again, and the tables are made of what there is.
"""

import csv
import os
import shutil

import results

TABLE = os.path.join(results.ROOT, "tests/data/tables/nas-bench-macro.csv")
FEWEST = 10  # networks of which a correlation is worth a word
PERCENTILES = (30, 50, 70)


def figures_of(correlation):
    """What is kept of the output of `espalier correlate`."""
    rankers = {one.pop("name"): one for one in correlation["rankers"]}
    return {"networks": correlation["samples"], "null_error_of_tau": correlation["null_error_of_tau"], "rankers": rankers}


def correlate(study, piece, commands, pick=None, inputs=None, enough=lambda figures: True, **paths):
    def measure(run):
        _, of_search = study.run(commands[0], RUN=run)
        correlation, seconds = study.run(commands[1], RUN=run, **paths)
        shutil.copy(os.path.join(run, "correlate", "correlation.svg"), os.path.join(study.store, f"{piece}.svg"))
        return {**figures_of(correlation), **(pick(correlation["networks"]) if pick else {})}, of_search + seconds
    study.piece(piece, commands, measure, inputs, enough)


# --- nb201 against trainings ---------------------------------------------------------------------------------
def nb201_commands(study):
    args = study.args
    return [study.on_data("search", *results.SPACE, "--strategy", "spos", "--set", "trials=1",
                          "--epochs", str(args.nb201_epochs), "--lr", "0.05", "--seed", str(args.seed), "--out", "$RUN", "--resume"),
            ["correlate", "$RUN", "--samples", str(args.cells), "--seed", str(args.seed), "--truth", "$TRUTH,truth=accuracy"]]


def rank(study, alone, cells):
    """The ranking of all cells that are trained, however many."""
    known = [(alone.canonical(cell), one["accuracy"]) for cell in cells if (one := alone.stored(cell))]
    if len(known) < min(FEWEST, len(cells)):
        return
    truth = os.path.join(study.runs, "nb201-spos.csv")
    results.write(truth, "arch,accuracy\n" + "".join(f"{name},{accuracy!r}\n" for name, accuracy in known))
    correlate(study, "nb201-spos", nb201_commands(study), inputs=alone.command, enough=lambda f: f["networks"] >= len(known), TRUTH=truth)


def nb201(study, alone):
    cells = results.random_cells(study.args.cells, study.args.seed)
    rank(study, alone, cells)  # those that were trained before: this time may not do for all
    for cell in cells:
        alone.train(cell)
    rank(study, alone, cells)


# --- macro against its table ---------------------------------------------------------------------------------
def macro_rows(text):
    """(piece, epochs, networks, seed) of "epochs:networks:seeds,..."."""
    for row in text.split(","):
        epochs, networks, seeds = map(int, row.split(":"))
        for seed in range(seeds):
            yield f"macro-{epochs}-seed-{seed}", epochs, networks, seed


def macro_commands(study, epochs, networks, seed):
    return [study.on_data("search", "--space", "macro", "--strategy", "spos", "--set", "trials=1", "--epochs", str(epochs),
                          "--seed", str(seed), "--out", "$RUN", "--resume"),
            ["correlate", "$RUN", "--samples", str(networks), "--seed", str(seed), "--no-proxies", "--truth",
             "$ROOT/tests/data/tables/nas-bench-macro.csv,seen=test_acc_1,truth=test_acc_2+test_acc_3"]]


def pick_within(limit, networks, table):
    """The best-scored of the sampled networks within a limit, in the truth about all that are within it."""
    picked = max((n for n in networks if n["macs"] <= limit), key=lambda n: n["score"] or 0, default=None)
    within = {name: row for name, row in table.items() if row["macs"] <= limit}
    largest = max(within.values(), key=lambda row: row["macs"])
    if not picked:
        return None
    truth = within[picked["network"]]["truth"]
    better = sum(row["truth"] > truth for row in within.values())
    return {"limit": limit, "network": picked["network"], "truth": truth, "top": (better + 1) / len(within), "within": len(within),
            "largest": largest["truth"], "mean": sum(row["truth"] for row in within.values()) / len(within)}


def read_table():
    with open(TABLE) as file:
        return {row["arch"]: {"macs": float(row["flops"]), "truth": (float(row["test_acc_2"]) + float(row["test_acc_3"])) / 2}
                for row in csv.DictReader(file)}


def macro(study, piece, *row):
    def pick(networks):
        table = read_table()
        macs = sorted(row["macs"] for row in table.values())
        limits = [macs[len(macs) * percentile // 100] for percentile in PERCENTILES]
        return {"picks": {str(p): pick_within(limit, networks, table) for p, limit in zip(PERCENTILES, limits)}}
    correlate(study, piece, macro_commands(study, *row), pick)


# --- the tables ------------------------------------------------------------------------------------------------
def with_interval(one, name, picture=None):
    value, interval = one.get(name), one.get(f"{name}_interval")
    if value is None:
        return ""
    text = f"[{value:.3f}](results/correlate/{picture}.svg)" if picture else f"{value:.3f}"
    return f"{text} ({interval[0]:.3f} to {interval[1]:.3f})"


def verdict(good):
    return "yes" if good else "**no**"


def nb201_table(study, alone):
    trained = sum(alone.stored(cell) is not None for cell in results.random_cells(study.args.cells, study.args.seed))
    found = study.stored("nb201-spos", nb201_commands(study), alone.command)
    text = [f"*nb201*: SPOS after {study.args.nb201_epochs} epochs against cells trained alone for {study.args.retrain_epochs} epochs with one "
            f"seed, of which {trained} of {study.args.cells} are there."]
    if not found:
        return [*text, "", f"Correlation: {results.MISSING}."]
    rankers = found["rankers"]
    lines = [f"| {name} | {with_interval(one, 'tau', 'nb201-spos' if name == 'score' else None)} | {with_interval(one, 'rho')} | "
             f"{with_interval(one, 'partial_tau')} |" for name, one in rankers.items()]
    tau, of_size = rankers["score"]["tau"] or 0, rankers["parameters"]["tau"] or 0
    return [*text, "", f"| {found['networks']} cells ranked by | tau-b | rho | partial tau given multiply-adds |", "|---|---|---|---|", *lines, "",
            f"tau of the score at least 0.4: {verdict(tau >= 0.4)}; above that of parameters: {verdict(tau > of_size)}. By chance alone tau is 0 "
            f"with a standard error of {found['null_error_of_tau']:.3f}."]


def macro_line(piece, row, found):
    epochs, networks, seed = row
    if not found:
        return f"| {epochs} | {seed} | {networks} | {results.MISSING} | | |" + " |" * len(PERCENTILES)
    picks = [found["picks"][str(p)] for p in PERCENTILES]
    return (f"| {epochs} | {seed} | {found['networks']} | {with_interval(found['rankers']['score'], 'tau', piece)} | "
            f"{with_interval(found['rankers']['macs'], 'tau')} | {with_interval(found['rankers']['score'], 'partial_tau')} | "
            + " | ".join(f"{p['truth']:.2f}, {100 * p['top']:.1f} %, {p['largest']:.2f}" if p else "none" for p in picks) + " |")


def macro_verdict(found):
    picks = [p for one in found for p in one["picks"].values() if p]
    above = sum((one["rankers"]["score"]["partial_tau_interval"][0] or 0) > 0 for one in found)
    gain = sum(p["truth"] - p["largest"] for p in picks) / max(len(picks), 1)
    return (f"Interval of the partial tau above 0: {above} of {len(found)}. Picked networks in the top 5 %: "
            f"{sum(p['top'] <= 0.05 for p in picks)} of {len(picks)}; picked minus largest, mean: {gain:+.2f} points.")


def macro_table(study):
    rows = list(macro_rows(study.args.macro))
    found = [study.stored(piece, macro_commands(study, *row)) for piece, *row in rows]
    lines = [macro_line(piece, row, one) for (piece, *row), one in zip(rows, found)]
    return ["*macro*: SPOS against the table of NAS-Bench-Macro (mean of the second and third training of each network), and the best-scored "
            "of the same networks under a limit of multiply-adds, at percentiles of the space. *Top*: its place among all networks within "
            "the limit; *largest*: the accuracy of the largest one.", "",
            "| epochs | seed | networks | tau of the score | tau of multiply-adds | partial tau given multiply-adds | "
            + " | ".join(f"{p} %: picked, top, largest" for p in PERCENTILES) + " |", "|---|---|---|---|---|---|" + "---|" * len(PERCENTILES),
            *lines, *(["", macro_verdict([one for one in found if one])] if any(found) else [])]


def main():
    parser = results.parser(__doc__.splitlines()[0], nb201_epochs=120, retrain_epochs=8, cells=40)
    parser.add_argument("--macro", default="6:100:1,50:500:3", help="epochs:networks:seeds,...")
    parser.add_argument("--rows")
    args = parser.parse_args()
    study = results.Results(args, "correlate")
    alone = results.Alone(study, args.retrain_epochs)
    try:
        for piece, *row in macro_rows(args.macro):
            if not args.rows or piece in args.rows.split(","):
                macro(study, piece, *row)
        if not args.rows or "nb201" in args.rows.split(","):
            nb201(study, alone)
    except results.OutOfTime:
        results.note(f"{args.minutes} minutes are over; run it again to go on")
    finally:  # whatever ended it
        results.publish(args, "correlate", "\n".join([*macro_table(study), "", *nb201_table(study, alone)]))


if __name__ == "__main__":
    main()
