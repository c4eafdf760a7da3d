"""Named f32 tensors in one file: a line of JSON (`tensors`: names and shapes, and what else is given), then the values as
little-endian f32, back to back. `crates/nas/examples/bench_worker.rs` reads and writes the same."""

import json
import math

import torch


def write(path, tensors, **header):
    described = [{"name": name, "shape": list(t.shape)} for name, t in tensors.items()]
    with open(path, "wb") as f:
        f.write(json.dumps({"tensors": described, **header}).encode() + b"\n")
        for t in tensors.values():
            f.write(t.detach().to(torch.float32).contiguous().numpy().astype("<f4").tobytes())


def read(path):
    """Returns the header and the tensors by name."""
    with open(path, "rb") as f:
        header = json.loads(f.readline())
        tensors = {}
        for described in header["tensors"]:
            shape = described["shape"]
            buffer = bytearray(f.read(4 * math.prod(shape)))
            tensors[described["name"]] = torch.frombuffer(buffer, dtype=torch.float32).reshape(shape)
    return header, tensors
