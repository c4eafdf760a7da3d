"""Pickles of a small batch of images, as Python 2 and 3 and numpy 1 and 2 write them: crates/nas/tests/fixtures/pickles.json.

python crates/nas/tests/pickles/make_fixtures.py        (numpy 2)

`python2` imitates what Python 2 writes: its strings are the opcodes that Python 3 has no use for.
"""

import io
import json
import os
import pathlib
import pickle
import struct

import numpy

DATA = ((numpy.arange(36) * 7 + 250) % 256).astype(numpy.uint8).reshape(3, 12)
LABELS = [3, 0, 300]


class Python2(pickle._Pickler):
    """Writes bytes as the strings of Python 2."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, text):
        if self.proto == 0:
            self.write(b"S" + repr(text)[1:].encode("ascii") + b"\n")
        elif len(text) < 256:
            self.write(b"U" + struct.pack("<B", len(text)) + text)
        else:
            self.write(b"T" + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    dispatch[bytes] = save_bytes


def python2(value, protocol):
    out = io.BytesIO()
    Python2(out, protocol).dump(value)
    return out.getvalue()


def numpy1(data):
    """The name of numpy's module before 2.0; only where names end with their line."""
    return data.replace(b"cnumpy._core.", b"cnumpy.core.")


class Call:
    def __reduce__(self):
        return os.system, ("true",)


batch = {"batch_label": "b", "labels": LABELS, "data": DATA, "mean": numpy.array([0.5, 1.5]), "none": None, "x": -1.5}
old = {key.encode(): value for key, value in batch.items()}
files = {}
for protocol in range(6):
    files[f"numpy2 protocol {protocol}"] = pickle.dumps(batch, protocol)
for protocol in range(4):
    files[f"numpy1 protocol {protocol}"] = numpy1(pickle.dumps(batch, protocol))
for protocol in range(3):
    files[f"python2 protocol {protocol}"] = numpy1(python2(old, protocol))
files["columns first"] = pickle.dumps({**batch, "data": numpy.asfortranarray(DATA)}, 2)
files["columns first protocol 5"] = pickle.dumps({**batch, "data": numpy.asfortranarray(DATA)}, 5)
files["calls a program"] = pickle.dumps({"labels": Call()}, 2)
files["calls a program protocol 4"] = pickle.dumps({"labels": Call()}, 4)
files["of floats"] = pickle.dumps({**batch, "data": DATA.astype(numpy.float32)}, 2)
target = pathlib.Path(__file__).parents[1] / "fixtures" / "pickles.json"
target.write_text(json.dumps({name: data.hex() for name, data in files.items()}, indent=0) + "\n")
