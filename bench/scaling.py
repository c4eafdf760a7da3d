"""How the engine's time and memory grow: threads, kernels, batch, channels, operations, cells, images. Needs only Python and cargo.

    python bench/scaling.py [--rounds 7] [--run RUN_FOLDER] [--out results/FOLDER]

Every point is a process of its own (`hpe-darts bench --json`); the points of an axis are measured in two passes, forth and
back, and the smaller median stands, so that a slow phase of the machine does not look like growth. `--run` adds the axis
of images: a sweep of that run's supernet over more and more images of its D_val (`hpe-darts importance --json`).
Writes `result.json`, `README.md` and `scaling.svg`.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/hpe-darts"
ALL = "none,skip_connect,nor_conv_1x1,nor_conv_3x3,avg_pool_3x3"
AXES = {
    "threads": [("--threads", t) for t in (1, 2)],
    "kernels": [("--kernels", k) for k in ("auto", "winograd", "direct")],
    "batch": [("--batch", b) for b in (16, 32, 64, 128, 256)],
    "channels": [("--channels", c) for c in (16, 24, 32, 48, 64)],
    "cells": [("--cells", n) for n in (1, 2, 3, 4, 5)],
    "operations": [
        ("--ops", ops)
        for ops in (
            ALL,
            "skip_connect,nor_conv_1x1,nor_conv_3x3,avg_pool_3x3",
            "skip_connect,nor_conv_1x1,nor_conv_3x3",
            "nor_conv_1x1,nor_conv_3x3",
            "nor_conv_3x3",
            "skip_connect,nor_conv_1x1,avg_pool_3x3",
            "nor_conv_1x1",
            "skip_connect",
        )
    ],
}
STEP, EVALUATION, SWEEP = "training step", "evaluation", "importance sweep"


def run(arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def point(option, value, rounds, threads):
    arguments = ["bench", "--json", "--rounds", rounds, option, value]
    if option != "--threads":
        arguments += ["--threads", threads]
    report = run(arguments)
    works = {w["work"]: w for w in report["works"]}
    return {
        "value": value,
        "step_ms": works[STEP]["milliseconds"],
        "step_gflops": works[STEP]["gflops"],
        "step_gflop": works[STEP]["gflops"] * works[STEP]["milliseconds"] / 1e3,
        "evaluation_ms": works[EVALUATION]["milliseconds"],
        "sweep_ms": works[SWEEP]["milliseconds"],
        "sweep_evaluations": 6 * len(report["ops"]),
        "memory_mb": report["peak_memory_mb"],
        "peak_gflops": report["peak_gflops"],
        "simd": report["simd"],
    }


def axis(name, rounds, threads):
    points = AXES[name]
    first = [point(option, value, rounds, threads) for option, value in points]
    second = [point(option, value, rounds, threads) for option, value in reversed(points)][::-1]
    best = []
    for a, b in zip(first, second):
        best.append({k: min(a[k], b[k]) if k.endswith("_ms") else a[k] for k in a})
    print(name, [(p["value"], round(p["step_ms"], 1)) for p in best], flush=True)
    return best


def images(folder, threads, largest):
    points = []
    for count in [n for n in (640, 1280, 2560, 5120, 10240) if n <= largest]:
        report = run(["importance", folder, "--by", "loss", "--images", count, "--threads", threads, "--json"])
        seconds = report["sweeps"][0]["seconds"]
        points.append({"value": count, "seconds": seconds, "ms_per_image": 1e3 * seconds / count})
        print("images", count, round(seconds, 2), flush=True)
    return points


def cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(l.split(":")[1].strip() for l in lines if l.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(heads, rows):
    line = lambda cells: "| " + " | ".join(str(c) for c in cells) + " |"
    return "\n".join([line(heads), line("---" for _ in heads), *map(line, rows)])


def sections(result):
    out = []
    for name, points in result["axes"].items():
        if name == "images":
            continue
        base = points[0]
        rows = []
        for p in points:
            per = p["step_ms"] / base["step_ms"]
            row = [p["value"].replace(",", " ") if isinstance(p["value"], str) else p["value"]]
            row += [f"{p['step_ms']:.1f}", f"{p['step_gflops']:.0f}", f"{100 * p['step_gflops'] / p['peak_gflops']:.0f} %"]
            row += [f"{p['evaluation_ms']:.1f}", f"{p['sweep_ms'] / p['sweep_evaluations'] / p['evaluation_ms']:.2f}"]
            row += [f"{p['memory_mb']:.0f}", f"{per:.2f}", f"{p['step_gflop'] / base['step_gflop']:.2f}"]
            rows.append(row)
        heads = [name, "step, ms", "GFLOP/s", "of peak", "evaluation, ms", "sweep / evaluations", "memory, MB"]
        heads += ["step / first", "operations / first"]
        out.append(f"## By {name}\n\n" + table(heads, rows))
    if "images" in result["axes"]:
        rows = [[p["value"], f"{p['seconds']:.2f}", f"{p['ms_per_image']:.3f}"] for p in result["axes"]["images"]]
        out.append("## By images of a sweep by loss\n\n" + table(["images", "seconds", "ms an image"], rows))
    return "\n\n".join(out)


INK, GREY, BLUE, ORANGE = "#1f2933", "#7b8794", "#2563eb", "#d97706"


def text(x, y, s, size=11, anchor="start", colour=INK):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{s}</text>'


def panel(left, top, title, xs, series, numeric):
    """A small chart with its own scale: `series` is (name, values, colour)."""
    width, height = 250, 150
    most = max(max(values) for _, values, _ in series) * 1.25
    low, high = (min(xs), max(xs)) if numeric else (0, len(xs) - 1)
    position = (lambda i: left + width * (xs[i] - low) / (high - low)) if numeric else (lambda i: left + width * i / high)
    y = lambda v: top + height - height * v / most
    out = [text(left, top - 10, title, 13)]
    for share in (0, 0.5, 1):
        at = y(most * share)
        out.append(f'<line x1="{left}" x2="{left + width}" y1="{at:.1f}" y2="{at:.1f}" stroke="#d5dae1"/>')
        out.append(text(left - 6, at + 4, f"{most * share:.0f}" if most > 5 else f"{most * share:.2f}", 10, "end", GREY))
    labelled = -1000
    for i, x in enumerate(xs):
        if position(i) - labelled > 7 * len(str(x)):
            labelled = position(i)
            out.append(text(labelled, top + height + 15, x, 10, "middle", GREY))
    for n, (name, values, colour) in enumerate(series):
        path = " ".join(f"{position(i):.1f},{y(v):.1f}" for i, v in enumerate(values))
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{position(i):.1f}" cy="{y(v):.1f}" r="3" fill="{colour}"/>' for i, v in enumerate(values)]
        out.append(text(left + 8, top + 12 + 14 * n, name, 11, colour=colour))
    return "\n".join(out)


def picture(result):
    axes = result["axes"]
    get = lambda name, key: [p[key] for p in axes[name]]
    panels = []
    for name in ("batch", "channels", "cells"):
        xs = get(name, "value")
        series = [("training step, ms", get(name, "step_ms"), BLUE)]
        series.append(("evaluation, ms", get(name, "evaluation_ms"), ORANGE))
        panels.append((f"time by {name}", xs, series, True))
    panels.append(("memory by batch, MB", get("batch", "value"), [("peak", get("batch", "memory_mb"), BLUE)], True))
    speedup = [axes["threads"][0]["step_ms"] / p["step_ms"] for p in axes["threads"]]
    panels.append(("speed-up by threads", get("threads", "value"), [("training step", speedup, BLUE)], True))
    if "images" in axes:
        series = [("sweep, ms an image", get("images", "ms_per_image"), BLUE)]
        panels.append(("cost of an image by images", get("images", "value"), series, True))
    body = [panel(60 + 330 * (i % 3), 50 + 230 * (i // 3), *p) for i, p in enumerate(panels)]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1010 480" font-family="sans-serif">'
        '<rect width="1010" height="480" fill="white"/>' + "\n".join(body) + "</svg>\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds of each work (default 7)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads, but for their own axis (default: all)")
    parser.add_argument("--run", type=Path, help="a run folder, for the axis of images (default: left out)")
    parser.add_argument("--images", type=int, default=10240, help="most images of that axis (default 10240)")
    parser.add_argument("--out", type=Path, help="folder of the record (default: results/scaling-DATE)")
    args = parser.parse_args()
    today = datetime.date.today().isoformat()
    out = args.out or ROOT / "results" / f"scaling-{today}"
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "hpe-darts"], cwd=ROOT, check=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    result = {"date": today, "cpu": cpu(), "cores": os.cpu_count(), "threads": args.threads, "commit": commit}
    result |= {"rounds": args.rounds, "axes": {}}
    for name in AXES:
        result["axes"][name] = axis(name, args.rounds, args.threads)
    if args.run:
        result["axes"]["images"] = images(args.run, args.threads, args.images)
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "scaling.svg").write_text(picture(result))
    (out / "README.md").write_text(
        f"# How the engine's time and memory grow\n\n{today}, {result['cores']} cores of {result['cpu']}, "
        f"{result['axes']['batch'][0]['simd']}, commit {commit}.\n`python bench/scaling.py --rounds {args.rounds}`"
        f"{' --run RUN' if args.run else ''}: medians of {args.rounds} rounds, the better of two passes; unless it is the axis, batch 64, "
        f"C 16, N 5, all operations, {args.threads} threads.\nGFLOP/s count the direct convolution's operations, of peak: of the machine's measured peak of "
        "fused multiply-adds.\nA sweep measures every operation by NetPerfProxy; taking `none` out changes nothing and costs nothing.\n\n"
        f"![growth](scaling.svg)\n\n{sections(result)}\n"
    )
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
