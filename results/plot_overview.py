"""The picture of the README, from a recorded search and a recorded benchmark. Needs only Python.

    python results/plot_overview.py results/late-loss-2026-11-24/default/seed0 \\
        results/side-by-side-2026-11-24/result.json docs/images/overview.svg

The run is a run folder, or STUDY/NAME/seedN of a study whose runs lie in record.jsonl.gz.
Left: accuracy of the supernet by epoch, with the stages. Right: time of a training step.
"""

import json
import sys
from pathlib import Path

import records
from drawing import BLUE, GREY, INK, LIGHT, ORANGE, line, picture, text

LEFT, RIGHT, TOP, BOTTOM = 60, 470, 60, 270


def search(events):
    start = next(e for e in events if e["event"] == "run_start")
    epochs = [e for e in events if e["event"] == "epoch"]
    total = sum(p["epochs"] for p in start["phases"])
    x = lambda epoch: LEFT + (RIGHT - LEFT) * epoch / total
    y = lambda accuracy: BOTTOM - (BOTTOM - TOP) * accuracy / 100
    out = [text(LEFT, 30, "A search on CIFAR-10: accuracy of the supernet, %", 15, weight="bold")]
    done = 0
    for i, phase in enumerate(start["phases"]):
        left, right = x(done), x(done + phase["epochs"])
        shade = "#f5f7fa" if i % 2 else "#e9eef5"
        out.append(f'<rect x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{BOTTOM - TOP}" fill="{shade}"/>')
        out.append(text((left + right) / 2, TOP - 8, phase["name"], 12, "middle", GREY))
        done += phase["epochs"]
    for accuracy in range(0, 101, 25):
        out.append(line([(LEFT, y(accuracy)), (RIGHT, y(accuracy))], "#d5dae1", 1))
        out.append(text(LEFT - 8, y(accuracy) + 4, accuracy, 12, "end", GREY))
    out.append(line([(x(e["epoch"] - 0.5), y(e["supernet_train_accuracy"])) for e in epochs], BLUE))
    valid = [(x(e["epoch"] - 0.5), y(e["supernet_valid_accuracy"])) for e in epochs if e["supernet_valid_accuracy"]]
    if valid:
        out.append(line(valid, ORANGE))
        out.append(text(LEFT + 12, BOTTOM - 12, "on D_val", 12, colour=ORANGE))
    out.append(text(LEFT + 12, BOTTOM - 30, "on D_train", 12, colour=BLUE))
    for i, e in enumerate(e for e in events if e["event"] == "hard_prune"):
        at, left = x(e["epoch"]), sum(len(ops) for ops in e["left"])
        # One below the other, each under the line before it, so that short stages do not write over each other.
        label = BOTTOM - 50 + 15 * i
        out.append(line([(at, TOP), (at, label + 3)], INK, 1.5))
        out.append(text(at - 5, label, f"{left} operations left", 11, "end", INK))
    out.append(text((LEFT + RIGHT) / 2, BOTTOM + 22, f"epoch (of {total})", 12, "middle", GREY))
    arch = next((e["arch"] for e in events if e["event"] == "derive"), None)
    if arch:
        out.append(text(LEFT, BOTTOM + 48, f"found: {arch}", 9.5, colour=GREY))
    return out


def speed(record):
    options, rows = record["options"], record["step"]
    left, right = 530, 930
    out = [text(left, 30, "One training step of the supernet, ms", 15, weight="bold")]
    note = f"batch {options['batch']}, C {options['channels']}, N {options['cells']}, {options['threads']} threads; {record['machine']['cpu']}"
    out.append(text(left, 48, note, 11, colour=GREY))
    longest = max(row["median_ms"] for row in rows.values())
    ours = min(rows, key=lambda label: rows[label]["median_ms"])
    for i, (label, row) in enumerate(rows.items()):
        top = TOP + 8 + 52 * i
        width = (right - left - 90) * row["median_ms"] / longest
        colour = BLUE if label == ours else LIGHT
        out.append(text(left, top + 10, "HPE-DARTS" if label == "engine" else label, 12))
        out.append(f'<rect x="{left}" y="{top + 16}" width="{width:.1f}" height="18" rx="2" fill="{colour}"/>')
        times = "" if label == "engine" else f"  ({row['times_ours']:.1f}x)"
        out.append(text(left + width + 6, top + 30, f"{row['median_ms']:.0f}{times}", 12, weight="bold"))
    out.append(text(left, BOTTOM + 22, f"medians of {options['rounds']} rounds in turn; PyTorch {record['pytorch']}; {record['date']}", 11, colour=GREY))
    return out


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__.strip())
    run, bench_file, target = map(Path, sys.argv[1:])
    body = search(records.events(records.read_run(run))) + speed(json.loads(bench_file.read_text()))
    target.write_text(picture(960, 340, body))


if __name__ == "__main__":
    main()
