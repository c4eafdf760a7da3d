"""Good inputs for the fuzz targets to begin with: python fuzz/seeds.py PROGRAM

PROGRAM is a built `hpe-darts`; it makes the run folders and the exported network. Pictures need Pillow (png and bmp are written without it).
Everything goes into fuzz/corpus/, which is not committed.
"""

import gzip
import io
import json
import lzma
import pickle
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
CELL = "|nor_conv_1x1~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|nor_conv_3x3~1|skip_connect~2|"
LITTLE = ["--set", "training.max_steps_per_epoch=1", "--set", "training.batch_size=8", "--threads", "1"]


def seed(target: str, name: str, content: bytes) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def run(program: str, *args: str) -> str:
    return subprocess.run([program, *args], check=True, capture_output=True, text=True).stdout


def runs(program: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        search, training, net = f"{folder}/search", f"{folder}/training", f"{folder}/net.safetensors"
        small = ["--set", "supernet.channels=1", "--set", "supernet.cells_per_stage=1", "--set", "strategy.darts.epochs=2"]
        run(program, "search", "--strategy", "darts", *small, *LITTLE, "--out", search)
        tiny = ["--set", "network.channels=1", "--set", "network.cells=1"]
        run(program, "retrain", CELL, "--epochs", "2", *tiny, *LITTLE, "--out", training)
        run(program, "export", training, "--format", "safetensors", "-o", net)
        # The order of FILES in fuzz_targets/run.rs.
        files = [search + "/" + f for f in ("config.toml", "events.jsonl", "timing.jsonl", "env.json", "genotype.json",
                 "checkpoint/state.json", "checkpoint/weights.safetensors")]
        files += [training + "/" + f for f in ("config.toml", "events.jsonl", "result.json", "model.json",
                  "checkpoint/weights.safetensors")]
        for which, file in enumerate(files):
            seed("run", f"{which:02}", bytes([which]) + Path(file).read_bytes())
        seed("model", "weights", b"\0" + Path(net).read_bytes())
        seed("model", "description", b"\1" + Path(net).with_suffix(".json").read_bytes())
        seed("configuration", "search", (Path(search) / "config.toml").read_bytes())
        seed("configuration", "training", (Path(training) / "config.toml").read_bytes())
        seed("architecture", "json", (Path(search) / "genotype.json").read_bytes())
    for file in sorted((Path(__file__).parent.parent / "configs").rglob("*.toml")):
        seed("configuration", file.stem, file.read_bytes())


def architectures() -> None:
    normal = [("sep_conv_3x3", 0), ("skip_connect", 1), ("dil_conv_5x5", 0), ("max_pool_3x3", 2)] * 2
    texts = {
        "cell": CELL,
        "tuples": "[(('nor_conv_3x3', 0),), (('skip_connect', 0), ('none', 1)), (('avg_pool_3x3', 0), ('none', 1), ('none', 2))]",
        "structure": f"Structure(4 nodes with {CELL})",
        "genotype": f"Genotype(normal={normal}, normal_concat=range(2, 6), reduce={normal}, reduce_concat=[2, 3, 4, 5])",
        "index": "9930",
    }
    for name, text in texts.items():
        seed("architecture", name, text.encode())


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def pictures() -> None:
    rows = b"".join(b"\0" + bytes(range(3 * 5)) for _ in range(4))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 8, 2, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    bmp = b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 5, 4, 1, 24, 0, 64, 0, 0, 0, 0) + bytes(64)
    files = {"plain.png": png, "plain.bmp": bmp}
    try:
        from PIL import Image
    except ImportError:
        print("no Pillow: seeds of png and bmp only", file=sys.stderr)
    else:
        for mode in ("L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "1"):
            for form in ("PNG", "JPEG", "WEBP", "BMP"):
                made = io.BytesIO()
                try:
                    Image.new(mode, (7, 5), 1).save(made, form)
                except (OSError, KeyError, ValueError):
                    continue  # not every format holds every mode
                files[f"{mode.replace(';', '')}.{form.lower()}"] = made.getvalue()
    for name, content in files.items():
        which = ["png", "jpeg", "webp", "bmp"].index(name.rsplit(".", 1)[1])
        seed("picture", name, bytes([which]) + content)


def data() -> None:
    row = bytes(range(256)) * 12
    seed("cifar", "cifar10-binary", b"\0" + b"".join(bytes([label]) + row for label in range(10)))
    seed("cifar", "cifar100-binary", b"\2" + b"".join(bytes([label // 5, label]) + row for label in range(100)))
    images = bytes(20 * 3072)
    for protocol in (0, 2, 4):
        ten = {b"batch_label": b"batch 1", b"labels": [i % 10 for i in range(20)], b"data": images, b"filenames": [b"a.png"] * 20}
        seed("cifar", f"cifar10-pickle{protocol}", b"\1" + pickle.dumps(ten, protocol))
        meta = {b"label_names": [b"name%d" % i for i in range(10)], b"num_vis": 3072}
        seed("cifar", f"cifar10-meta{protocol}", b"\1" + pickle.dumps(meta, protocol))
        hundred = {b"fine_labels": list(range(20)), b"coarse_labels": [0] * 20, b"data": images}
        seed("cifar", f"cifar100-pickle{protocol}", b"\3" + pickle.dumps(hundred, protocol))
        sixteen = {"data": bytes(20 * 768), "labels": list(range(1, 21))}
        seed("cifar", f"imagenet16-pickle{protocol}", b"\4" + pickle.dumps(sixteen, protocol))
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name in ("cifar-10-batches-bin/data_batch_1.bin", "cifar-10-batches-bin/test_batch.bin", "../out", "/abs"):
            member = tarfile.TarInfo(name)
            member.size = 3073
            archive.addfile(member, io.BytesIO(bytes(3073)))
    # Two zeros: not compressed, no members; the rest is the archive itself.
    for name, content in {"tar": tar.getvalue(), "gz": gzip.compress(tar.getvalue()), "xz": lzma.compress(tar.getvalue())}.items():
        seed("archive", name, b"\0\0" + content)
    seed("split", "json", json.dumps({"train": list(range(25)), "valid": list(range(25, 50))}).encode())
    seed("split", "ratio", b'{"train": {"int": [["int", ["0"]]]}}')
    columns = [f"{data}_{part}{epochs}" for epochs in ("", "_12") for data in ("cifar10", "cifar100", "imagenet16") for part in ("valid", "test")]
    head = ["index", "arch", "unique_str", *columns, "params_mb", "flops_m", "cifar10valid_train_seconds_200"]
    row = ["0", CELL, "x", *["71.5"] * len(columns), "1.5", "200.1", "1444.2"]
    table = "\n".join([",".join(head), ",".join(row), ""])
    seed("table", "csv", table.encode())
    seed("table", "gz", gzip.compress(table.encode()))


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    architectures()
    pictures()
    data()
    runs(sys.argv[1])
    print(f"{sum(1 for file in CORPUS.rglob('*') if file.is_file())} files in {CORPUS}")


if __name__ == "__main__":
    main()
