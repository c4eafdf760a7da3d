#!/usr/bin/env python3
"""Pack the run folders of a study into one file, and back (standard library only).

    python results/pack.py STUDY                  STUDY/record.jsonl.gz in place of the files it holds
    python results/pack.py STUDY --out FOLDER     the same in a new folder, with compare.toml and summary.md; STUDY stays
    python results/pack.py STUDY --unpack DIR     the files of a packed study, byte for byte
    python results/pack.py STUDY --check          whether the record reads back and its runs have ended

STUDY is what `hpe-darts compare --out STUDY` writes, or any folder of run folders. A record holds of each run config.toml,
env.json, events.jsonl, timing.jsonl and genotype.json or result.json, of each black-box search blackbox.toml, evaluations.jsonl and
result.json, and the JSON reports that lie in STUDY itself; checkpoints and kept
epochs are not part of it. Nothing is removed before the record has been read back and compared. With --out, paths of
data are shortened to their last component. `records.py` describes the format.
"""

import argparse
import re
import sys
from pathlib import Path

import records
from records import RecordError


def shortened(text):
    """Paths of data without the folders of the machine they lay on."""
    return re.sub(r'^((?:data\.)?dir = ").*/([^/"]+"\s*)$', r"\1\2", text, flags=re.M)


def pack(study, out):
    if (study / records.NAME).exists():
        raise RecordError(f"{study} is packed already; to pack it anew, unpack it first")
    originals = records.read_folders(study)
    if not originals:
        raise RecordError(f"{study} has no run folders and no reports")
    if late := records.unfinished(originals):
        raise RecordError(f"{', '.join(late)} did not end; `hpe-darts compare` finishes a study")
    files = originals
    if out is not None:
        files = {at: shortened(text) if at[1] in ["config.toml", records.BLACKBOX] else text for at, text in originals.items()}
        if (out / records.NAME).exists():
            raise RecordError(f"{out / records.NAME} exists")
        out.mkdir(parents=True, exist_ok=True)
        for name in ["compare.toml", "summary.md"]:
            if (study / name).exists():
                (out / name).write_text(shortened((study / name).read_text()))
    target = (out or study) / records.NAME
    partial = target.with_suffix(".part")
    records.write_record(partial, files)
    if records.read_record(partial) != files:
        raise RecordError(f"{partial} does not read back as it was; nothing was removed")
    partial.rename(target)
    print(f"{target}: {len({run for run, _ in files if run})} runs, {len(files)} files, {target.stat().st_size:,} bytes")
    if out is None:
        remove(study, files)


def remove(study, files):
    for run, name in files:
        (study / run / name).unlink()
    folders = {parent for run, _ in files for parent in [Path(run), *Path(run).parents]} - {Path(".")}
    left = []
    for folder in sorted(folders, key=lambda path: -len(path.parts)):
        if any((study / folder).iterdir()):
            left.append(folder.as_posix())
        else:
            (study / folder).rmdir()
    if left:
        print(f"left, for what the record does not hold: {', '.join(sorted(left))}")


def unpack(study, out):
    files = records.read_record(study / records.NAME)
    for (run, name), text in files.items():
        path = out / run / name
        if path.exists():
            raise RecordError(f"{path} exists")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    print(f"{out}: {len(files)} files")


def check(study):
    files = records.read_record(study / records.NAME)
    if records.to_files(records.to_lines(files)) != files:
        raise RecordError(f"{study / records.NAME} does not read back as it was")
    if late := records.unfinished(files):
        raise RecordError(f"{study / records.NAME}: {', '.join(late)} did not end")
    print(f"{study}: {len({run for run, _ in files if run})} runs, {len(files)} files")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--out", type=Path, metavar="FOLDER", help="write the record here and leave STUDY as it is")
    what.add_argument("--unpack", type=Path, metavar="DIR", help="write the files of the record here")
    what.add_argument("--check", action="store_true", help="read the record and write nothing")
    args = parser.parse_args()
    try:
        if args.unpack is not None:
            unpack(args.study, args.unpack)
        elif args.check:
            check(args.study)
        else:
            pack(args.study, args.out)
    except (RecordError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
