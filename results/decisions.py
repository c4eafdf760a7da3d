#!/usr/bin/env python3
"""What the records of a comparison say about its decisions (standard library only).

    python results/decisions.py paired  DIR --base NAME --table nas-bench-201.csv.gz
    python results/decisions.py pruned  DIR
    python results/decisions.py replay  DIR --run NAME --table nas-bench-201.csv.gz
    python results/decisions.py leads   DIR
    python results/decisions.py margins DIR [--table nas-bench-201.csv.gz]
    python results/decisions.py both    DIR [--table nas-bench-201.csv.gz]

DIR is a study: a folder of this one, whose runs lie in record.jsonl.gz, or what `hpe-darts compare` has written (NAME/seedN).

paired  difference of the CIFAR-10 validation accuracy to that of the settings NAME with the same seed: mean, its standard
        error, in how many seeds it is better and in how many the same; how many cells have skip_connect on 3<-0,
        convolutions per cell
pruned  on how many edges a hard pruning removed exactly the operations that the last sweep of soft pruning named, by stage;
        "nothing decayed" where that sweep had no consequence (Eq. 7 with a factor of 1). Stages that remove `none` alone, or
        fewer operations than they decay, say nothing and are left out
replay  the cells that other criteria would have chosen from what the last sweep by loss left alive; accuracy, NASWOT and
        NetPerfProxy (from their own last sweep) where they were measured. Not for racing sweeps, which measure each edge
        on other images
margins which operations a first stage of soft pruning by accuracy would have left undecayed with other margins (`decayed` =
        trailing, `sweeps` = early), edge by edge, and which cell the means of NetPerfProxy, weighed by the decays, would have chosen
        where its sweeps are recorded. What was measured after a decay is taken as it is, so this is an estimate. S skip, 1, 3
        convolutions, P pool; S13/P: P decayed
both    which cell accuracy and NetPerfProxy would have chosen together in a first stage that decays the least important operation
        of each edge beside `none` (`sweeps` = both), with NetPerfProxy counted 0.5 to 2 times. As above an estimate: the
        sweeps are those of searches that decayed others
leads   by how much skip_connect leads the better convolution, edge by edge, in every sweep of a search and in the mean over the
        sweeps by the same performance so far, in units of the mean absolute importance over the operations but `none`
"""

import argparse
import csv
import gzip
import json
import math
import re
import statistics
from pathlib import Path

from records import events, read_study

# Trainable parameters of an operation, in units of a 1x1 convolution.
PARAMS = {"none": 0, "skip_connect": 0, "avg_pool_3x3": 0, "nor_conv_1x1": 1, "nor_conv_3x3": 9}
MARGINS = [0.4, 0.6, 0.8, 1.0, 1.2, 1.4]
SHORT = {"skip_connect": "S", "nor_conv_1x1": "1", "nor_conv_3x3": "3", "avg_pool_3x3": "P"}
SHARES = [0.5, 0.7, 1.0, 1.4, 2.0]
WEIGHTS = [0.05, 0.08, 0.1, 0.12, 0.15, 0.18, 0.2, 0.22, 0.25, 0.3, 0.4, 0.5]


def settings(folder):
    """Name of settings to seed to the files of a run, of the runs that have ended."""
    files = {}
    for (run, name), text in read_study(folder).items():
        files.setdefault(run, {})[name] = text
    named = {}
    for run, of in sorted(files.items(), key=lambda item: item[0].split("/")):
        place = re.fullmatch(r"([^/]+)/seed([0-9]+)", run)
        if place and "genotype.json" in of:
            named.setdefault(place[1], {})[int(place[2])] = of | {"run": run}
    return named


def read_table(path):
    """Cell to accuracies after 200 epochs: CIFAR-10 validation, CIFAR-10 test."""
    with gzip.open(path, "rt") as lines:
        return {row["arch"]: (float(row["cifar10_valid"]), float(row["cifar10_test"])) for row in csv.DictReader(lines)}


def mean_std(values):
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def paired(named, base, table):
    cells = {
        name: {seed: json.loads(run["genotype.json"])["arch"] for seed, run in of.items()}
        for name, of in named.items()
    }
    for name, of in cells.items():
        differences = [table[of[seed]][0] - table[cells[base][seed]][0] for seed in of.keys() & cells[base].keys()]
        if len(differences) > 1:
            error = statistics.stdev(differences) / math.sqrt(len(differences))
            better, same = sum(d > 0 for d in differences), sum(d == 0 for d in differences)
            against = f"{statistics.mean(differences):+.2f} (error {error:.2f}), better in {better}, same in {same} of {len(differences)}"
        else:
            against = "fewer than two seeds in common"
        print(
            f"{name:22} {mean_std([table[cell][0] for cell in of.values()]):>14}  {against};"
            f"  skip on 3<-0 {sum(cell.split('+')[2].startswith('|skip') for cell in of.values())} of {len(of)},"
            f"  convolutions {statistics.mean(cell.count('nor_conv') for cell in of.values()):.1f}"
        )


def pruned(named):
    for name, of in named.items():
        stages = {}
        for run in of.values():
            soft = None
            for event in events(run):
                if event["event"] == "soft_prune":
                    soft = event
                elif event["event"] == "hard_prune":
                    edges = list(zip(soft["decayed"], event["removed"]))
                    if all(len(a) == len(b) and b != ["none"] for a, b in edges):
                        stage = event["phase"] + (" (nothing decayed)" if soft["factor"] == 1 else "")
                        stages.setdefault(stage, []).extend(set(a) == set(b) for a, b in edges)
        if stages:
            print(f"{name:22}", ", ".join(f"{stage}: {sum(same)} of {len(same)}" for stage, same in stages.items()))


def in_units_of_its_mean(importance):
    mean = statistics.mean(abs(value) for edge in importance for value in edge.values())
    return [{op: value / mean for op, value in edge.items()} for edge in importance]


def in_units_of_its_spread(importance):
    unit = statistics.pstdev([value for edge in importance for value in edge.values()]) or 1.0
    return [{op: value / unit for op, value in edge.items()} for edge in importance]


def added(one, other, weight):
    return [{op: value + weight * y[op] for op, value in x.items()} for x, y in zip(one, other)]


def importances(run):
    """Name of a performance to the importances by it: a list over the edges of operation to value.

    Of the operations that the last sweep by loss measured, each performance from its own last sweep.
    """
    ops, measures = [], {}
    for event in events(run):
        if event["event"] == "run_start":
            ops = event["ops"]
        elif event["event"] == "importance":
            raced = "images_by_edge" in event
            measures |= {name: None if raced else measured for name, measured in event["measures"].items()}
    if measures.get("loss") is None:
        raise SystemExit(f"{run['run']}: its last sweep by loss is missing or was a race")
    alive = [[o for o, value in enumerate(edge) if value is not None] for edge in measures["loss"]["without"]]

    return {name: importance(of, name, ops, alive) for name, of in measures.items() if of is not None}


def importance(measured, by, ops, columns):
    """Edge by edge operation to importance, of some columns of each edge."""
    sign = -1 if by == "loss" else 1
    edges = zip(columns, measured["without"])
    return [{ops[o]: sign * (measured["supernet"] - edge[o]) for o in left} for left, edge in edges]


def best_cell(importance):
    a, b, c, d, e, f = (f"{max(edge, key=edge.get)}~{source}" for edge, source in zip(importance, [0, 0, 1, 0, 1, 2]))
    return f"|{a}|+|{b}|{c}|+|{d}|{e}|{f}|"


def replay(of, table):
    chosen, led = {}, []
    for run in of.values():
        criteria = importances(run)
        loss = in_units_of_its_mean(criteria["loss"])
        params = in_units_of_its_mean([{op: PARAMS[op] for op in edge} for edge in loss])
        criteria |= {f"loss+{w}*params": added(loss, params, w) for w in WEIGHTS} | {"params": params}
        for by, importance in criteria.items():
            chosen.setdefault(by, []).append(table[best_cell(importance)])
        led.append([lead(edge) for edge in loss if len(edge) > 3])
    for by, accuracies in chosen.items():
        valid, test = zip(*accuracies)
        print(f"{by:18} {mean_std(valid)}, test {mean_std(test)}; by seed {[round(v, 2) for v in valid]}")
    for edges in led:
        print("lead of skip by loss, edge by edge:", *edges)


def leads(named):
    for name, of in named.items():
        for seed, run in of.items():
            ops, means = [], {}
            for event in events(run):
                if event["event"] == "run_start":
                    ops = event["ops"]
                elif event["event"] == "importance":
                    for by, measured in event["measures"].items():
                        alive = [
                            [o for o, value in enumerate(edge) if ops[o] != "none" and value is not None] for edge in measured["without"]
                        ]
                        means.setdefault(by, []).append(in_units_of_its_mean(importance(measured, by, ops, alive)))
                        sweeps = means[by]
                        mean = [
                            {op: statistics.mean(sweep[e][op] for sweep in sweeps) for op in edge} for e, edge in enumerate(sweeps[-1])
                        ]
                        print(
                            f"{name} seed {seed}, epoch {event['epoch']:2} {event['sweep']:4} {by:14}"
                            f" last {' '.join(map(lead, sweeps[-1]))}   mean {' '.join(map(lead, mean))}"
                        )


def first_stage(run):
    """Performance to its sweeps (soft, or those of the means) of the first stage: of each edge operation to importance."""
    ops, sweeps, stage = [], {}, None
    for event in events(run):
        if event["event"] == "run_start":
            ops = event["ops"]
        elif event["event"] == "importance" and event["sweep"] in ("soft", "mean"):
            stage = stage or event["phase"]
            if event["phase"] != stage or any(None in edge for edge in event["importance"]):
                break
            edges = [{op: value for op, value in zip(ops, edge) if op != "none"} for edge in event["importance"]]
            sweeps.setdefault(event["by"], []).append(edges)
    return sweeps


def stages(named):
    """Name, seed, sweeps of the first stage by accuracy at least, factors of the decays, and what each sweep counts."""
    for name, of in named.items():
        for seed, run in of.items():
            sweeps = first_stage(run)
            length = len(sweeps.get("accuracy", []))
            factors = [1 - i / length for i in range(length)]
            # What the decays before a sweep have left: what it counts.
            counts = [math.prod(factors[:i]) for i in range(length)]
            if length:
                yield name, seed, sweeps, factors, counts


def weighed(importance, left):
    return [{op: value * own[op] / max(own.values()) for op, value in edge.items()} for edge, own in zip(importance, left)]


def both(named, table):
    found = {}
    for name, seed, sweeps, factors, counts in stages(named):
        if len(sweeps.get("net-perf-proxy", [])) != len(counts):
            continue
        accuracy, proxy = ([in_units_of_its_spread(sweep) for sweep in sweeps[by]] for by in ("accuracy", "net-perf-proxy"))
        for share in SHARES:
            left = [dict.fromkeys(edge, 1.0) for edge in accuracy[0]]
            for i, factor in enumerate(factors):
                pairs = zip(means(accuracy[: i + 1], counts), means(proxy[: i + 1], counts))
                sums = [{op: edge[op] + share * other[op] for op in edge} for edge, other in pairs]
                for edge, own in zip(sums, left):
                    own[min(edge, key=edge.get)] *= factor
            cell = best_cell(weighed(sums, left))
            found.setdefault(share, []).append(cell)
            print(f"{name} seed {seed}, NetPerfProxy {share} times: {cell}" + (f" {table[cell][0]:.2f}" if table else ""))
    for share, cells in found.items() if table else []:
        print(f"NetPerfProxy {share} times: {mean_std([table[cell][0] for cell in cells])} on CIFAR-10 validation")


def margins(named, table):
    for name, seed, sweeps, factors, counts in stages(named):
        for margin in MARGINS:
            left = decayed(sweeps["accuracy"], margin, factors, counts)
            line = f"{name} seed {seed}, margin {margin}: {'  '.join(map(in_short, left)):40}"
            if len(sweeps.get("net-perf-proxy", [])) == len(counts):
                cell = best_cell(weighed(means(sweeps["net-perf-proxy"], counts), left))
                line += f"  {cell}" + (f" {table[cell][0]:.2f}" if table else "")
            print(line)


def decayed(sweeps, margin, factors, counts):
    """Of each edge operation to what soft pruning leaves of its parameter."""
    left = [dict.fromkeys(edge, 1.0) for edge in sweeps[0]]
    for i, factor in enumerate(factors):
        mean = in_units_of_its_mean(means(sweeps[: i + 1], counts))
        for edge, own in zip(mean, left):
            for op, value in edge.items():
                own[op] *= factor if max(edge.values()) - value > margin else 1
    return left


def means(sweeps, counts):
    counts = counts[: len(sweeps)]
    mean = lambda e, op: sum(n * sweep[e][op] for n, sweep in zip(counts, sweeps)) / sum(counts)  # noqa: E731
    return [{op: mean(e, op) for op in edge} for e, edge in enumerate(sweeps[0])]


def in_short(edge):
    of = lambda whole: "".join(SHORT[op] for op, left in edge.items() if (left == 1) == whole)  # noqa: E731
    return f"{of(True)}/{of(False)}"


def lead(edge):
    convolutions = [edge[op] for op in ("nor_conv_1x1", "nor_conv_3x3") if op in edge]
    return f"{edge['skip_connect'] - max(convolutions):+.2f}" if convolutions and "skip_connect" in edge else "    -"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["paired", "pruned", "replay", "leads", "margins", "both"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", help="settings that the others are compared with (paired)")
    parser.add_argument("--run", help="settings whose last sweeps are read (replay)")
    parser.add_argument("--table", type=Path, help="nas-bench-201.csv.gz (paired, replay, margins, both)")
    args = parser.parse_args()
    needed = {"paired": ["base", "table"], "pruned": [], "replay": ["run", "table"], "leads": [], "margins": [], "both": []}[args.what]
    missing = [f"--{name}" for name in needed if getattr(args, name) is None]
    if missing:
        parser.error(f"{args.what} needs {' and '.join(missing)}")
    named = settings(args.folder)
    if not named:
        parser.error(f"{args.folder} has no run NAME/seedN that has ended")
    for option, given in [("--base", args.base), ("--run", args.run)]:
        if given is not None and given not in named:
            parser.error(f"{option} {given}: expected one of {', '.join(named)}")
    if args.what == "paired":
        paired(named, args.base, read_table(args.table))
    elif args.what == "pruned":
        pruned(named)
    elif args.what == "margins":
        margins(named, read_table(args.table) if args.table else None)
    elif args.what == "both":
        both(named, read_table(args.table) if args.table else None)
    elif args.what == "leads":
        leads(named)
    else:
        replay(named[args.run], read_table(args.table))


if __name__ == "__main__":
    main()
