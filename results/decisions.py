#!/usr/bin/env python3
"""What the records of a comparison say about its decisions (standard library only).

    python results/decisions.py paired  DIR --base NAME --table nas-bench-201.csv.gz
    python results/decisions.py pruned  DIR
    python results/decisions.py replay  DIR --run NAME --table nas-bench-201.csv.gz

DIR holds NAME/seedN/{events.jsonl,genotype.json}, as `hpe-darts compare` writes them.

paired  difference of the CIFAR-10 validation accuracy to that of the settings NAME with the same seed: mean, its standard
        error, in how many seeds it is better; how many cells have skip_connect on 3<-0, convolutions per cell
pruned  on how many edges a hard pruning removed exactly the operations that soft pruning had decayed last, by stage
replay  the cells that other criteria would have chosen from the importances of the last sweep by loss
"""

import argparse
import csv
import gzip
import json
import math
import statistics
from pathlib import Path

# Trainable parameters of an operation, in units of a 1x1 convolution.
PARAMS = {"none": 0, "skip_connect": 0, "avg_pool_3x3": 0, "nor_conv_1x1": 1, "nor_conv_3x3": 9}
WEIGHTS = [0, 0.05, 0.08, 0.1, 0.12, 0.15, 0.18, 0.2, 0.22, 0.25, 0.3, 0.4, 0.5, 1]


def runs(folder):
    """Seed to run folder, of the searches that have ended."""
    return {int(run.name[4:]): run for run in sorted(folder.glob("seed*")) if (run / "genotype.json").exists()}


def settings(folder):
    """Name of settings to its runs."""
    named = {path.name: runs(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    return {name: of for name, of in named.items() if of}


def events(run):
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def read_table(path):
    """Cell to accuracies after 200 epochs: CIFAR-10 validation, CIFAR-10 test."""
    with gzip.open(path, "rt") as lines:
        return {row["arch"]: (float(row["cifar10_valid"]), float(row["cifar10_test"])) for row in csv.DictReader(lines)}


def mean_std(values):
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def paired(folder, base, table):
    cells = {
        name: {seed: json.loads((run / "genotype.json").read_text())["arch"] for seed, run in of.items()}
        for name, of in settings(folder).items()
    }
    for name, of in cells.items():
        seeds = sorted(of.keys() & cells[base].keys())
        differences = [table[of[seed]][0] - table[cells[base][seed]][0] for seed in seeds]
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        print(
            f"{name:22} {mean_std([table[cell][0] for cell in of.values()]):>14}"
            f"  {statistics.mean(differences):+.2f} (error {error:.2f}), better in {sum(d > 0 for d in differences)} of {len(seeds)};"
            f"  skip on 3<-0 {sum(cell.split('+')[2].startswith('|skip') for cell in of.values())} of {len(of)},"
            f"  convolutions {statistics.mean(cell.count('nor_conv') for cell in of.values()):.1f}"
        )


def pruned(folder):
    for name, of in settings(folder).items():
        stages = {}
        for run in of.values():
            decayed = []
            for event in events(run):
                if event["event"] == "soft_prune":
                    decayed = event["decayed"]
                elif event["event"] == "hard_prune":
                    same = [set(soft) == set(hard) for soft, hard in zip(decayed, event["removed"])]
                    stages.setdefault(event["phase"], []).extend(same)
        print(f"{name:22}", ", ".join(f"{stage}: {sum(same)} of {len(same)}" for stage, same in stages.items()))


def in_units_of_its_mean(importance):
    values = [abs(value) for edge in importance for value in edge]
    mean = statistics.mean(values)
    return [[value / mean for value in edge] for edge in importance]


def added(one, other, weight):
    return [[a + weight * b for a, b in zip(x, y)] for x, y in zip(one, other)]


def importances(run):
    """The operations alive at the last sweep by loss; their importances [E, O] in the last sweeps by loss, accuracy, NASWOT."""
    names, measures = [], {}
    for event in events(run):
        if event["event"] == "run_start":
            names = event["ops"]
        elif event["event"] == "importance":
            measures.update(event["measures"])
    alive = [o for o, value in enumerate(measures["loss"]["without"][0]) if value is not None]

    def of(name, sign):
        measured = measures[name]
        return [[sign * (measured["supernet"] - edge[o]) for o in alive] for edge in measured["without"]]

    return [names[o] for o in alive], of("loss", -1), of("accuracy", 1), of("naswot", 1)


def best_cell(names, importance):
    ops = [names[max(range(len(names)), key=edge.__getitem__)] for edge in importance]
    a, b, c, d, e, f = (f"{op}~{source}" for op, source in zip(ops, [0, 0, 1, 0, 1, 2]))
    return f"|{a}|+|{b}|{c}|+|{d}|{e}|{f}|"


def criteria(names, loss, accuracy, naswot):
    """Name of a criterion to the importances by it."""
    units, params = in_units_of_its_mean(loss), in_units_of_its_mean([[PARAMS[op] for op in names]] * len(loss))
    return {"accuracy": accuracy, "naswot": naswot} | {f"loss+{w}*params": added(units, params, w) for w in WEIGHTS}


def replay(folder, name, table):
    measured = [importances(run) for run in runs(folder / name).values()]
    chosen = {}
    for known in measured:
        for by, importance in criteria(*known).items():
            chosen.setdefault(by, []).append(table[best_cell(known[0], importance)])
    for by, accuracies in chosen.items():
        valid, test = zip(*accuracies)
        print(f"{by:18} {mean_std(valid)}, test {mean_std(test)}; by seed {[round(v, 2) for v in valid]}")
    for names, loss, _, _ in measured:
        skip, one, three = map(names.index, ["skip_connect", "nor_conv_1x1", "nor_conv_3x3"])
        lead = [edge[skip] - max(edge[one], edge[three]) for edge in in_units_of_its_mean(loss)]
        print("lead of skip by loss, edge by edge:", " ".join(f"{value:+.2f}" for value in lead))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["paired", "pruned", "replay"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", help="settings that the others are compared with (paired)")
    parser.add_argument("--run", help="settings whose last sweeps are read (replay)")
    parser.add_argument("--table", type=Path, help="nas-bench-201.csv.gz (paired, replay)")
    args = parser.parse_args()
    needed = {"paired": ["base", "table"], "pruned": [], "replay": ["run", "table"]}[args.what]
    missing = [f"--{name}" for name in needed if getattr(args, name) is None]
    if missing:
        parser.error(f"{args.what} needs {' and '.join(missing)}")
    if args.what == "paired":
        paired(args.folder, args.base, read_table(args.table))
    elif args.what == "pruned":
        pruned(args.folder)
    else:
        replay(args.folder, args.run, read_table(args.table))


if __name__ == "__main__":
    main()
