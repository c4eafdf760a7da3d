"""Compares exported networks with the program: logits in onnxruntime and in PyTorch against `evaluate --logits`.

    python bench/check_exports.py RUN [--program target/release/hpe-darts] [--data DIR] [--images 100]

RUN is the folder of a `hpe-darts retrain` on digits or cifar10. The network is exported to a temporary folder: ONNX with
and without folded batch normalisation, each with and without the normalisation in the network, run with a batch of 1 and
with all images; the PyTorch file with its weights. The images are the first ones of the test set, read here from the
published files. Exit code 1 where a logit differs by more than 1e-4. Needs onnx, onnxruntime, torch, safetensors, pillow.
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

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1e-4


def digits(_):
    """Test images of the built-in digits, [n, 1, 8, 8], and their classes: every fifth image, as the program takes them."""
    with gzip.open(ROOT / "crates/nas/src/data/digits.csv.gz", "rt") as file:
        rows = [[int(float(v)) for v in row] for row in csv.reader(file)]
    return numpy.array(rows)


def cifar10(data):
    """Test images of CIFAR-10, [n, 3, 32, 32], and their classes."""
    with tarfile.open(data / "cifar-10-binary.tar.xz") as archive:
        name = next(name for name in archive.getnames() if name.endswith("test_batch.bin"))
        records = numpy.frombuffer(archive.extractfile(name).read(), numpy.uint8).reshape(-1, 1 + 3072)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]
