"""Compares exported networks with the program: logits in onnxruntime and in PyTorch against `evaluate --logits`.

    python bench/check_exports.py RUN... [--program target/release/hpe-darts] [--data DIR] [--images 100]

RUN is the folder of a `hpe-darts retrain` on digits or cifar10. The network is exported to a temporary folder: ONNX with and
without folded batch normalisation, each with and without the normalisation in the network, run with a batch of 1 and of all
images; the PyTorch file with its weights, by logits, and run as a program on pictures, whose answers are compared with those
of `predict`. The images are the first ones of the test set, read here from the published files. Exit code 1 where a logit
differs by more than 1e-4. Needs onnx, onnxruntime, torch, safetensors, pillow.
"""

import argparse
import csv
import gzip
import importlib.util
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1e-4
# Pictures that are written and read again, half of them at another size.
PICTURES = 16


def digits(_):
    """The test part of the built-in digits: pixels [n, 1, 8, 8] in 0 to 1, and classes."""
    with gzip.open(ROOT / "crates/nas/src/data/digits.csv.gz", "rt") as file:
        rows = numpy.array([[int(v) for v in row] for row in csv.reader(file)])[-360:]
    return rows[:, :64].reshape(-1, 1, 8, 8) / 16, rows[:, 64]


def cifar10(data):
    """The test part of CIFAR-10: pixels [n, 3, 32, 32] in 0 to 1, and classes."""
    with tarfile.open(data / "cifar-10-binary.tar.xz") as archive:
        member = next(m for m in archive if m.name.endswith("test_batch.bin"))
        records = numpy.frombuffer(archive.extractfile(member).read(), numpy.uint8).reshape(-1, 1 + 3072)
    return records[:, 1:].reshape(-1, 3, 32, 32) / 255, records[:, 0]


IMAGES = {"digits": digits, "cifar10": cifar10}


class Check:
    def __init__(self):
        self.failed = False

    def furthest(self, what, found, expected):
        off = float(numpy.abs(numpy.asarray(found, numpy.float64) - expected).max())
        self.failed |= not off <= LIMIT
        print(f"  {what}: furthest {off:.1e}{'' if off <= LIMIT else '  TOO FAR'}")


def program(args, *arguments):
    answer = subprocess.run([args.program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if answer.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}: {answer.stderr}")
    return answer.stdout


def check_onnx(args, run, folder, model, pixels, logits, check):
    mean, std = (numpy.array(model["normalisation"][part]).reshape(1, -1, 1, 1) for part in ("mean", "std"))
    for options in ([], ["--fold-bn"], ["--with-normalisation"], ["--fold-bn", "--with-normalisation"]):
        path = folder / f"net{''.join(options)}.onnx"
        about = json.loads(program(args, "export", run, "--format", "onnx", "-o", path, "--json", *options))
        onnx.checker.check_model(onnx.load(path), full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        said = session.get_modelmeta().custom_metadata_map
        assert json.loads(said["classes"]) == model["classes"], said["classes"]
        images = pixels if "--with-normalisation" in options else (pixels - mean) / std
        images = images.astype(numpy.float32)
        whole = session.run(["logits"], {"image": images})[0]
        single = numpy.concatenate([session.run(["logits"], {"image": images[i : i + 1]})[0] for i in range(len(images))])
        name = " ".join(["onnx", *options])
        size = about["files"][0]["bytes"]
        check.furthest(f"{name} ({size} bytes), batch {len(images)}", whole, logits)
        check.furthest(f"{name}, batch 1", single, logits)


def check_pytorch(args, run, folder, pixels, logits, check):
    path = folder / "net.py"
    program(args, "export", run, "--format", "pytorch", "-o", path)
    spec = importlib.util.spec_from_file_location("net", path)
    net = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(net)
    network = net.load()
    parameters = sum(p.numel() for p in network.parameters())
    expected = json.loads((folder / "net.json").read_text())["parameters"]
    assert parameters == expected, f"{parameters} parameters, expected {expected}"
    with torch.no_grad():
        found = network(net.normalise(torch.tensor(pixels, dtype=torch.float32)))
    check.furthest(f"pytorch, batch {len(pixels)}", found.numpy(), logits)
    return path, net


def check_pictures(args, run, folder, net, path, pixels, check):
    """Of pictures of other sizes too: both programs read, cut and resize them."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for i, image in enumerate(pixels[:PICTURES]):
        values = (image.transpose(1, 2, 0) * 255).round().astype(numpy.uint8)
        picture = Image.fromarray(values.squeeze())
        if i % 2:
            # Larger, and not square; the edges are cut off again.
            side = 3 * picture.width
            large = Image.new(picture.mode, (side + 10, side))
            large.paste(picture.resize((side, side)), (5, 0))
            picture = large
        picture.save(pictures / f"{i:03}.png")
    network, classes = net.load(), net.CLASSES
    told = {}
    for model in (run, folder / "net.safetensors"):
        lines = program(args, "predict", model, pictures, "--json", "--top", len(classes)).splitlines()
        told[model] = [json.loads(line) for line in lines]
    assert [t["predictions"] for t in told[run]] == [t["predictions"] for t in told[folder / "net.safetensors"]]
    for kind in (0, 1):
        # Resizing rounds to 8 bits, each library in its own way.
        exact, off = kind == 0, 0.0
        for answer in told[run][kind::2]:
            with torch.no_grad():
                own = network(net.transform(Image.open(answer["image"]))[None])[0].softmax(0)
            off = max(off, *(abs(float(own[p["index"]]) - p["probability"]) for p in answer["predictions"]))
            assert [classes[p["index"]] for p in answer["predictions"]] == [p["class"] for p in answer["predictions"]]
        if exact:
            check.furthest("pytorch, probabilities of pictures of the network's size", off, 0)
        else:
            print(f"  pytorch, probabilities of pictures that are cut and resized: furthest {off:.1e} (two resizers)")
    shown = subprocess.run([sys.executable, path, *sorted(pictures.iterdir())], stdout=subprocess.PIPE, text=True, check=True)
    assert len(shown.stdout.splitlines()) == min(PICTURES, len(pixels)), shown.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--program", default=ROOT / "target/release/hpe-darts", type=Path)
    parser.add_argument("--data", default=ROOT.parent / "shared/data", type=Path, help="folder with cifar-10-binary.tar.xz")
    parser.add_argument("--images", default=100, type=int)
    args = parser.parse_args()
    check = Check()
    for run in args.runs:
        model = json.loads((run / "model.json").read_text())
        print(f"{run}: {model['space']}, {model['dataset']}, {model['cells']} cells, {model['channels']} channels")
        pixels, labels = (values[: args.images] for values in IMAGES[model["dataset"]](args.data))
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            program(args, "evaluate", run, "--logits", folder / "logits.csv")
            with open(folder / "logits.csv") as file:
                rows = list(csv.reader(file))[1 : 1 + len(pixels)]
            assert [row[0] for row in rows] == [model["classes"][label] for label in labels], "other images"
            logits = numpy.array([[float(v) for v in row[1:]] for row in rows])
            program(args, "export", run, "--format", "safetensors", "-o", folder / "net.safetensors")
            check_onnx(args, run, folder, model, pixels, logits, check)
            # The PyTorch file brings the same weights again.
            (folder / "py").mkdir()
            (folder / "py/net.json").write_bytes((folder / "net.json").read_bytes())
            path, net = check_pytorch(args, run, folder / "py", pixels, logits, check)
            check_pictures(args, run, folder, net, path, pixels, check)
    sys.exit(check.failed)


if __name__ == "__main__":
    main()
