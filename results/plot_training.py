"""The learning curve of a training, from its run folder or the record of its study. Needs only Python.

    python results/plot_training.py results/retrain-nas-bench-201-2026-11-27/7745/seed0 docs/images/learning-curve.svg \\
        [ACCURACY "WHAT IT IS"]

Accuracy by epoch on the images that train (as they are seen, with augmentation and batch statistics), that validate and that
test, where they were measured. ACCURACY, in percent, is drawn as a line to compare with.
"""

import sys
from pathlib import Path

import records
from drawing import BLUE, GREY, INK, ORANGE, line, picture, text

GREEN = "#15803d"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 330, 60, 610, 50, 270


def curve(events, beside):
    start = next(e for e in events if e["event"] == "retrain_start")
    epochs = [e for e in events if e["event"] == "train_epoch"]
    total = sum(p["epochs"] for p in start["phases"])
    curves = [
        ("train", BLUE, [(e["epoch"], e["train_accuracy"]) for e in epochs]),
        ("validation", ORANGE, [(e["epoch"], e["valid"]["accuracy"]) for e in epochs if e["valid"]]),
        ("test", GREEN, [(e["epoch"], e["test"]["accuracy"]) for e in epochs if e["test"]]),
    ]
    values = [accuracy for _, _, points in curves for _, accuracy in points] + ([beside[0]] if beside else [])
    low, high = 10 * (min(values) // 10), 10 * (max(values) // 10 + 1)
    x = lambda epoch: LEFT + (RIGHT - LEFT) * (epoch - 1) / max(total - 1, 1)
    y = lambda accuracy: BOTTOM - (BOTTOM - TOP) * (accuracy - low) / (high - low)
    title = f"{start['recipe']} on {start['dataset']}, seed {start['seed']}: accuracy, %"
    out = [text(LEFT, 26, title, 15, weight="bold")]
    for accuracy in range(int(low), int(high) + 1, 10):
        out.append(line([(LEFT, y(accuracy)), (RIGHT, y(accuracy))], "#d5dae1", 1))
        out.append(text(LEFT - 8, y(accuracy) + 4, accuracy, 12, "end", GREY))
    for epoch in range(1, total + 1, max(total // 12, 1)):
        out.append(text(x(epoch), BOTTOM + 18, epoch, 12, "middle", GREY))
    out.append(text((LEFT + RIGHT) / 2, BOTTOM + 36, "epoch", 12, "middle", GREY))
    if beside:
        accuracy, what = beside
        out.append(line([(LEFT, y(accuracy)), (RIGHT, y(accuracy))], INK, 1))
        out.append(text(LEFT + 6, y(accuracy) - 6, f"{what}: {accuracy:.2f}", 12, colour=INK))
    place = 0
    for name, colour, points in curves:
        if points:
            out.append(line([(x(epoch), y(accuracy)) for epoch, accuracy in points], colour))
            out.append(text(RIGHT, BOTTOM - 12 - 16 * place, f"{name}, last {points[-1][1]:.2f}", 12, "end", colour))
            place += 1
    out.append(text(LEFT, BOTTOM + 54, start["arch"], 9.5, colour=GREY))
    return out


def main():
    if len(sys.argv) not in (3, 5):
        sys.exit(__doc__.strip())
    run, target = map(Path, sys.argv[1:3])
    beside = (float(sys.argv[3]), sys.argv[4]) if len(sys.argv) == 5 else None
    target.write_text(picture(WIDTH, HEIGHT, curve(records.events(records.read_run(run)), beside)))


if __name__ == "__main__":
    main()
