"""The table of `make results-collapse`: does differentiable search on nb201 collapse to skip connections, and what helps?

    collapse.py ESPALIER --data-dir DIR [--page docs/results.md] [--rows darts,pc] [--minutes 180] [--force] ...

A row for every variant of DARTS and every other strategy that there is: one search (16 channels, one cell per stage, CIFAR-10), and
its network trained from scratch and tested, like random cells of the space. Each is a piece (results.py): what is finished is not done
again, what was cut short goes on from its last epoch, and the table is made of what there is. No new piece begins after --minutes.
"""

import os
import sqlite3
import statistics

import results

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


# --- pieces ------------------------------------------------------------------------------------------------
def read_log(directory):
    """Last epoch's skips, entropy and eigenvalue, the most skips of any, and whether the run says that it collapsed."""
    log = sqlite3.connect(os.path.join(directory, "run.sqlite"))
    epochs = log.execute("SELECT skip_share, entropy FROM epoch ORDER BY epoch").fetchall()
    values = log.execute("SELECT value FROM epoch_metric JOIN metric ON metric.id = metric_id WHERE name = 'eigenvalue' "
                         "ORDER BY epoch").fetchall()
    told = log.execute("SELECT count(*) FROM event WHERE kind = 'collapse' AND message LIKE 'the search collapses%'").fetchone()[0]
    log.close()
    return {"epochs": len(epochs), "skips": epochs[-1][0], "entropy": epochs[-1][1], "most_skips": max(e[0] or 0 for e in epochs),
            "eigenvalues": [values[0][0], values[-1][0]] if values else None, "collapsed": told > 0}


def command_of(study, strategy, options):
    settings = [word for option in (*options, *(["eigenvalue=1"] if strategy == "darts" else [])) for word in ("--set", option)]
    return study.on_data("search", *results.SPACE, "--strategy", strategy, *settings, "--epochs", str(study.args.epochs), "--batch", "64",
                         "--seed", str(study.args.seed), "--out", "$RUN", "--resume")


def piece_of(row):
    return row.replace(", ", "-").replace(" ", "-")


def search(study, row, command):
    def measure(run):
        result, seconds = study.run(command, RUN=run)
        return {"canonical": result["canonical"], "architecture": result["architecture"], **read_log(run)}, seconds
    return study.piece(piece_of(row), [command], measure)


# --- the table -------------------------------------------------------------------------------------------
def number(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def line(row, found, trained, random):
    if not found:
        return f"| {row} | {results.MISSING} | | | | | | |"
    cell = found["canonical"].replace("|", "\\|")
    values = found["eigenvalues"]
    accuracy = f"{trained['accuracy']:.4f}" if trained else results.MISSING
    as_good = f"{sum(a >= trained['accuracy'] for a in random)} of {len(random)}" if trained and random else ""
    return (f"| {row}{' **collapsed**' if found['collapsed'] else ''} | {number(found['skips'], 2)} ({number(found['most_skips'], 2)}) | "
            f"{number(found['entropy'], 3)} | {f'{values[0]:.3g}, {values[1]:.3g}' if values else ''} | {found['epochs']} | `{cell}` | "
            f"{accuracy} | {as_good} |")


def last_line(random, wanted):
    if not random:
        return f"| random cells | {results.MISSING} | | | | | | |"
    spread = f" (deviation {statistics.stdev(random):.4f}; {min(random):.4f} to {max(random):.4f})" if len(random) > 1 else ""
    missing = f", {wanted - len(random)} {results.MISSING}" if len(random) < wanted else ""
    return f"| random cells, mean of {len(random)}{missing} | | | | | | {statistics.mean(random):.4f}{spread} | |"


def table(study, alone):
    random = [one["accuracy"] for one in map(alone.stored, results.random_cells(study.args.random, study.args.seed)) if one]
    lines = ["| | skips at the end (most) | entropy | eigenvalue, first and last | epochs | exported cell | test accuracy | "
             "random cells as good |",
             "|---|---|---|---|---|---|---|---|"]
    for row, strategy, options in ROWS:
        found = study.stored(piece_of(row), [command_of(study, strategy, options)])
        lines.append(line(row, found, found and alone.stored(found["architecture"]), random))
    lines += [last_line(random, study.args.random), "",
              f"Searches of {study.args.epochs} epochs, trainings of {study.args.retrain_epochs}, one each with seed {study.args.seed}. "
              "*Collapsed*: the run's own watch said so. The exported cell is the best-scored one of all epochs, so it may be healthy where "
              "the end was not."]
    return "\n".join(lines)


def main():
    parser = results.parser(__doc__.splitlines()[0], epochs=30, retrain_epochs=8, random=10)
    parser.add_argument("--rows")
    args = parser.parse_args()
    study = results.Results(args, "collapse")
    alone = results.Alone(study, args.retrain_epochs)
    chosen = [r for r in ROWS if not args.rows or r[0] in args.rows.split(",")]
    try:
        for row, strategy, options in chosen:
            found = search(study, row, command_of(study, strategy, options))
            alone.train(found["architecture"])
        for cell in results.random_cells(args.random, args.seed):
            alone.train(cell)
    except results.OutOfTime:
        results.note(f"{args.minutes} minutes are over; run it again to go on")
    finally:  # whatever ended it
        results.publish(args, "collapse", table(study, alone))


if __name__ == "__main__":
    main()
