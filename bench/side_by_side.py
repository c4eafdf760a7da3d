"""Runs PyTorch and the engine alternately on the same work and prints ratios. See README.md.

    python bench/side_by_side.py                                  the NAS-Bench-201 supernet, batch 64, C 16, N 5
    python bench/side_by_side.py --network discrete               retraining of one cell instead
    python bench/side_by_side.py --space darts                    the supernet of DARTS, 8 cells
    python bench/side_by_side.py --space darts --network discrete DARTS_V2 instead
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch

import tensor_file
from pytorch_network import OPS, Network, Spec

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OURS = "engine"
MODES = {
    "nchw": "PyTorch eager, NCHW",
    "channels-last": "PyTorch eager, channels_last",
    "compiled": "PyTorch channels_last, torch.compile per cell",
}
# |nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|
DISCRETE = ("conv3x3", "conv3x3", "conv3x3", "skip", "conv3x3", "conv3x3")
# Liu et al., `genotypes.py`.
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
# Largest relative differences of the results that are compared before anything is timed. f32 gradients of a deep ReLU
# network agree to 1e-6 only until rounding moves some ReLU's input across zero, which in fifteen cells it always does
# somewhere: PyTorch's own two memory layouts then differ by 2e-2. The loss has no such steps.
LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 5e-2


class Worker:
    """A process that answers one JSON line per command."""

    def __init__(self, label, command, threads):
        self.label = label
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, command):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"error: {self.label} ended (exit code {self.process.wait()}) at `{command}`")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=("nas-bench-201", "darts"), default="nas-bench-201")
    parser.add_argument("--network", choices=("supernet", "discrete"), default="supernet")
    parser.add_argument("--batch", type=int, default=64, help="images a step (64)")
    parser.add_argument("--channels", type=int, default=16, help="C, channels of the first stage (16)")
    parser.add_argument("--cells", type=int, help="N, cells a stage (5); of DARTS all cells (8)")
    parser.add_argument("--size", type=int, default=32, help="height and width of an image in pixels (32)")
    parser.add_argument("--classes", type=int, default=10, help="(10)")
    parser.add_argument("--threads", type=int, default=2, help="threads of either side (2)")
    parser.add_argument("--rounds", type=int, default=9, help="timed steps and evaluations of each (9)")
    parser.add_argument("--against", help=f"which PyTorch: some of {', '.join(MODES)} (all; of DARTS all but compiled)")
    parser.add_argument("--kernels", choices=("auto", "direct", "winograd", "reference"), default="auto")
    parser.add_argument(
        "--none",
        choices=("computed", "skipped"),
        default="computed",
        help="PyTorch multiplies the input of `none` by zero, as research code does, or leaves it out (computed)",
    )
    parser.add_argument("--worker", help="bench_worker binary; default: built by cargo in release mode")
    parser.add_argument("--out", type=Path, help="folder for the record; default: results/side-by-side-...-DATE")
    options = parser.parse_args()
    darts = options.space == "darts"
    options.cells = options.cells or (8 if darts else 5)
    options.against = options.against or ",".join(mode for mode in MODES if not (darts and mode == "compiled"))
    unknown = [mode for mode in options.against.split(",") if mode not in MODES]
    if unknown:
        parser.error(f"--against {unknown[0]}: expected some of {', '.join(MODES)}")
    return options


def build_worker():
    command = ["cargo", "build", "--release", "--package", "hpe-darts-nas", "--example", "bench_worker"]
    subprocess.run(command, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "examples" / "bench_worker"


def network_spec(options):
    spec = Spec(
        image=(options.size, options.size, 3),
        classes=options.classes,
        channels=options.channels,
        cells_per_stage=options.cells,
    )
    if options.space == "darts":
        spec.space = options.space
        spec.genotype = DARTS_V2 if options.network == "discrete" else None
    elif options.network == "discrete":
        spec.affine = True
        spec.alive = tuple(op == chosen for chosen in DISCRETE for op in OPS)
    return spec


def write_work(path, spec, options, worker):
    """One network, one batch and one `w` for everybody."""
    torch.manual_seed(0)
    graph = spec.graph([worker])
    tensors = Network(graph).tensors()
    h, w, c = spec.image
    mixing = torch.full((graph["rows"], len(graph["ops"])), 1 / len(graph["ops"]))
    if options.network == "discrete":
        mixing.fill_(1.0)
    tensors["images"] = torch.randn(options.batch, h, w, c)
    tensors["labels"] = torch.randint(0, options.classes, (options.batch,))
    tensors["mixing"] = mixing
    tensor_file.write(path, tensors, spec=asdict(spec), graph=graph)


def check(workers, folder):
    """Ends the program unless all agree with the first on loss, dL/dw and every weight gradient."""
    results = {}
    for worker in workers:
        path = f"{folder}/gradients"
        results[worker.label] = worker.ask(f"check {path}") | {"gradients": tensor_file.read(path)[1]}
    first, *others = results
    expected = results[first]
    whole = sum(g.norm() ** 2 for g in expected["gradients"].values()).sqrt().item()
    mixing = torch.tensor(expected["mixing_grad"])
    for label in others:
        got = results[label]
        if got["gradients"].keys() != expected["gradients"].keys():
            sys.exit(f"error: {label} and {first} have different parameters")
        loss = abs(got["loss"] - expected["loss"]) / expected["loss"]
        mixing_error = ((torch.tensor(got["mixing_grad"]) - mixing).norm() / mixing.norm()).item()
        # Gradients that are zero but for rounding are measured against the whole.
        errors = {
            name: ((got["gradients"][name] - g).norm() / max(g.norm().item(), 1e-3 * whole)).item()
            for name, g in expected["gradients"].items()
        }
        worst = max(errors, key=errors.get)
        print(
            f"checked {label}: loss {got['loss']:.6f} (relative difference {loss:.1e}), dL/dw {mixing_error:.1e}, "
            f"weight gradients {statistics.median(errors.values()):.1e}, worst {errors[worst]:.1e} ({worst})",
            file=sys.stderr,
        )
        if not (loss < LOSS_TOLERANCE and max(mixing_error, errors[worst]) < GRADIENT_TOLERANCE):
            sys.exit(f"error: {label} does not compute what {first} computes")
        results[label] = {"loss": loss, "mixing_grad": mixing_error, "worst_gradient": errors[worst]}
    del results[first]
    return results


def measure(workers, command, rounds):
    """Milliseconds by worker, one each per round; every other round in reverse order."""
    times = {worker.label: [] for worker in workers}
    for worker in workers:
        worker.ask(f"{command} 3")
        worker.ask("reset_peak")
    for i in range(rounds):
        for worker in workers if i % 2 == 0 else reversed(workers):
            times[worker.label] += worker.ask(f"{command} 1")["ms"]
        print(f"\r{command} {i + 1}/{rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return times, {worker.label: worker.ask("peak")["mb"] for worker in workers}


def summary(times, peaks):
    ours = times[OURS]
    table = {}
    for label, ms in times.items():
        ratios = [theirs / own for theirs, own in zip(ms, ours)]
        table[label] = {
            "ms": ms,
            "median_ms": statistics.median(ms),
            "min_ms": min(ms),
            "times_ours": statistics.median(ratios),
            "times_ours_range": [min(ratios), max(ratios)],
            "peak_mb": peaks[label],
        }
    return table


def machine():
    name, flags = platform.processor() or platform.machine(), ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            name = value.strip() if key.strip() == "model name" else name
            flags = value if key.strip() == "flags" else flags
    except OSError:
        pass
    simd = [flag for flag in ("avx2", "fma", "avx512f") if flag in flags.split()]
    return {"cpu": name, "cores": os.cpu_count(), "simd": simd, "system": platform.system(), "cores_in_use": cores_in_use()}


def cores_in_use(seconds=2):
    """Cores that others keep busy while this process sleeps; None where the system does not say (not Linux)."""

    def times():
        fields = [int(t) for t in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]  # all, idle and waiting for a disk

    try:
        before = times()
        time.sleep(seconds)
        after = times()
    except OSError:
        return None
    total, idle = (b - a for a, b in zip(before, after))
    return round(os.cpu_count() * (1 - idle / max(total, 1)), 2)


# PyTorch's threads wait for each other in busy loops: on a crowded machine it becomes many times slower.
BUSY = "other programs kept {} cores busy; these ratios are no measurement"


def busy(host):
    return (host["cores_in_use"] or 0) > 0.2


def revision():
    command = ["git", "describe", "--always", "--dirty"]
    described = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return described.stdout.strip() or None


def markdown(record):
    options, host = record["options"], record["machine"]
    simd = f" ({', '.join(host['simd'])})" if host["simd"] else ""
    lines = [
        f"# Side by side with PyTorch, {record['date']}",
        "",
        f"{options['space']}, {options['network']}, batch {options['batch']}, C {options['channels']}, N {options['cells']}, "
        f"{options['size']}x{options['size']} pixels, {options['threads']} threads; kernels `{options['kernels']}`; "
        f"`none` {options['none']} in PyTorch.  ",
        f"{host['cpu']}{simd}, {host['cores']} cores, {host['system']}; PyTorch {record['pytorch']}; "
        f"engine {record['revision']}.  ",
        f"Medians of {options['rounds']} rounds; ratios are medians of the ratios within a round (smallest to largest).",
    ]
    if busy(host):
        lines += ["", f"**Warning: {BUSY.format(host['cores_in_use'])}.**"]
    for key, title in (("step", "Training step (forward, backward, SGD)"), ("evaluation", "Evaluation (forward only)")):
        lines += ["", f"## {title}", "", "| | ms | time / engine's | peak MB | memory / engine's |", "|---|---|---|---|---|"]
        ours = record[key][OURS]["peak_mb"]
        for label, row in record[key].items():
            low, high = row["times_ours_range"]
            ratio = "1" if label == OURS else f"**{row['times_ours']:.2f}** ({low:.2f} to {high:.2f})"
            peak = "not known" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}"
            memory = f"{row['peak_mb'] / ours:.2f}" if row["peak_mb"] and ours else "not known"
            lines.append(f"| {label} | {row['median_ms']:.1f} | {ratio} | {peak} | {memory} |")
    lines += ["", "Results agree (relative difference from the first PyTorch):", ""]
    for label, row in record["agreement"].items():
        lines.append(
            f"- {label}: loss {row['loss']:.1e}, dL/dw {row['mixing_grad']:.1e}, "
            f"worst weight gradient {row['worst_gradient']:.1e}"
        )
    return "\n".join(lines) + "\n"


def free_folder(options, date):
    if options.out:
        return options.out
    space = "" if options.space == "nas-bench-201" else f"{options.space}-"
    name = f"side-by-side-{space}{options.network}-b{options.batch}-c{options.channels}-n{options.cells}-{date}"
    folder, again = ROOT / "results" / name, 2
    while folder.exists():
        folder, again = ROOT / "results" / f"{name}-{again}", again + 1
    return folder


def main():
    options = arguments()
    host = machine()
    if busy(host):
        print(f"warning: {BUSY.format(host['cores_in_use'])}", file=sys.stderr)
    binary = options.worker or build_worker()
    spec = network_spec(options)
    with tempfile.TemporaryDirectory() as folder:
        work = f"{folder}/work"
        write_work(work, spec, options, binary)
        threads = str(options.threads)
        workers = [
            Worker(
                MODES[mode], [sys.executable, str(HERE / "pytorch_worker.py"), work, threads, mode, options.none], threads
            )
            for mode in options.against.split(",")
        ]
        workers.append(Worker(OURS, [str(binary), work, threads, options.kernels], threads))
        agreement = check(workers, folder)
        step = summary(*measure(workers, "step", options.rounds))
        evaluation = summary(*measure(workers, "eval", options.rounds))
        for worker in workers:
            worker.close()
    shown = {k: v for k, v in vars(options).items() if k not in ("worker", "out")}
    date = datetime.date.today().isoformat()
    record = {
        "date": date,
        "options": shown,
        "machine": host,
        "pytorch": torch.__version__,
        "revision": revision(),
        "agreement": agreement,
        "step": step,
        "evaluation": evaluation,
    }
    out = free_folder(options, date)
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(record, indent=1) + "\n")
    text = markdown(record)
    (out / "README.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
