"""The record of a study: every run of it in one file, `record.jsonl.gz`, and the reader that decisions.py and plot_overview.py share.

A record is JSON Lines: one JSON object a line, each complete in itself. The first line describes the study,

    {"format":1,"config":{"seed":0,"training.batch_size":64,...}}

where `config` is the common configuration: every key that any run has, with its most frequent value. Each further line is
one piece of a file of a run, or of a report of the whole study (`run` is then empty):

    {"run":"base/seed0","file":"config.toml","changed":{"seed":3}}        differences from the common configuration
    {"run":"base/seed0","file":"env.json","json":{...}}                    an indented JSON file
    {"run":"base/seed0","file":"events.jsonl","line":{...}}                a line of JSON, verbatim
    {"run":"base/seed0","file":"notes.txt","text":"..."}                   any other file

Values are JSON where TOML spells them alike, else {"toml":"0.00000001"}; null is a key that the run does not have.
`"newline":false` marks the end of a file without a final newline. All files come back byte for byte.
"""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

FORMAT = 1
NAME = "record.jsonl.gz"
RUN_FILES = ["config.toml", "env.json", "events.jsonl", "timing.jsonl", "genotype.json", "result.json"]
# A black-box search: one of a comparison, or what `hpe-darts blackbox --out` writes; the result says that it has ended.
BLACKBOX = "blackbox.toml"
BLACKBOX_FILES = [BLACKBOX, "evaluations.jsonl", "result.json"]
# Marks the end of a file that does not end in a newline.
CUT = ',"newline":false'
STRING = r'"(?:[^"\\]|\\.)*"'


class RecordError(Exception):
    """What is wrong with a study, for people."""


# Files of runs <-> lines of a record. A study is a dictionary: run folder, file name -> text.


def to_lines(files):
    """The lines of a record that holds `files`."""
    configs = {run: parse_toml(text) for (run, name), text in files.items() if name == "config.toml"}
    common = common_config([config for config in configs.values() if config is not None])
    lines = [dumps({"format": FORMAT, "config": common})]
    for (run, name), text in files.items():
        head = dumps({"run": run, "file": name})[:-1]
        if name == "config.toml" and configs[run] is not None:
            changed = {key: configs[run].get(key) for key in common if configs[run].get(key) != common[key]}
            if write_toml({**common, **changed}) == text:
                lines.append(f'{head},"changed":{dumps(changed)}}}')
                continue
        whole = text.endswith("\n")
        if all(is_json(row) for row in text.removesuffix("\n").split("\n")):
            lines += [f'{head},"line":{row}}}' for row in text.removesuffix("\n").split("\n")]
            if not whole:
                lines[-1] = lines[-1][:-1] + CUT + "}"
        elif is_json(text) and indented(compact(text)) == text.removesuffix("\n"):
            lines.append(f'{head},"json":{compact(text)}{"" if whole else CUT}}}')
        else:
            lines.append(f'{head},"text":{dumps(text)}}}')
    return lines


def to_files(lines):
    """The files that a record holds: the inverse of `to_lines`."""
    first = json.loads(lines[0])
    if first.get("format") != FORMAT:
        raise RecordError(f"format {first.get('format')} is unknown; this program reads format {FORMAT}")
    files = {}
    for line in lines[1:]:
        piece = json.loads(line)
        at = piece["run"], piece["file"]
        # What follows run and file stands in the line as it stood in its file.
        value = line[len(dumps({"run": at[0], "file": at[1]})) :].removesuffix("}")
        value, end = (value.removesuffix(CUT), "") if "newline" in piece else (value, "\n")
        if "changed" in piece:
            files[at] = write_toml({**first["config"], **piece["changed"]})
        elif "line" in piece:
            files[at] = files.get(at, "") + value.removeprefix('"line":') + end
        elif "json" in piece:
            files[at] = indented(value.removeprefix('"json":')) + end
        else:
            files[at] = piece["text"]
    return files


def dumps(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def rows(text):
    return text.split("\n")[:-1]


def is_json(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def compact(text):
    """JSON without white space; numbers and strings are left as they are spelt."""
    return re.sub(rf"({STRING})|\s+", r"\1", text)


def indented(text):
    """JSON indented by two spaces; numbers and strings are left as they are spelt."""
    out, depth = [], 0
    for token in re.findall(rf'{STRING}|\[\]|{{}}|[{{}}\[\],:]|[^\s"{{}}\[\],:]+', text):
        if token in "{[":
            depth += 1
            out.append(token + "\n" + "  " * depth)
        elif token in "}]":
            depth -= 1
            out.append("\n" + "  " * depth + token)
        elif token == ",":
            out.append(",\n" + "  " * depth)
        else:
            out.append(": " if token == ":" else token)
    return "".join(out)


def parse_toml(text):
    """Dotted key to value of a configuration as the program writes it (one key a line, tables); None of any other text."""
    config, table = {}, ""
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            table = line[1:-1] + "."
        elif " = " in line:
            key, value = line.split(" = ", 1)
            config[table + key] = json.loads(value) if is_json(value) and json.dumps(json.loads(value)) == value else {"toml": value}
        elif line:
            return None
    return config if write_toml(config) == text else None


def write_toml(config):
    out, table = [], ""
    for key, value in config.items():
        if value is None:
            continue
        of, _, name = key.rpartition(".")
        if of != table:
            out.append(f"\n[{of}]\n")
            table = of
        out.append(f"{name} = {value['toml'] if isinstance(value, dict) else json.dumps(value)}\n")
    return "".join(out)


def common_config(configs):
    """Every key of any configuration, in their order, with its most frequent value."""
    keys = []
    for config in configs:
        at = 0
        for key in config:
            if key in keys:
                at = keys.index(key) + 1
            else:
                keys.insert(at, key)
                at += 1
    most = {}
    for key in keys:
        most[key] = json.loads(Counter(dumps(config.get(key)) for config in configs).most_common(1)[0][0])
    return most


# On disk.


def read_record(path):
    """The files that the record `path` holds."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as record:
        return to_files(rows(record.read()))


def write_record(path, files):
    with open(path, "wb") as out, gzip.GzipFile("", "wb", 9, out, mtime=0) as record:
        record.write("".join(line + "\n" for line in to_lines(files)).encode())


def read_folders(study):
    """The files of the run folders and black-box searches below `study`, and its reports: JSON files that are neither a summary nor a result."""
    files = {}
    runs = [(config.parent, RUN_FILES) for config in study.rglob("config.toml") if (config.parent / "events.jsonl").exists()]
    runs += [(settings.parent, BLACKBOX_FILES) for settings in study.rglob(BLACKBOX)]
    for folder, names in sorted(runs):
        run = folder.relative_to(study).as_posix()
        for name in names:
            if (folder / name).exists():
                files["" if run == "." else run, name] = read_text(folder / name)
    for report in sorted(study.glob("*.json")):
        if report.name not in RUN_FILES and not report.name.startswith(("result", "summary")):
            files["", report.name] = read_text(report)
    return files


def read_text(path):
    return path.read_bytes().decode()


def read_study(study):
    """The files of a study, from its record where there is one, else from its run folders."""
    packed = study / NAME
    return read_record(packed) if packed.exists() else read_folders(study)


def read_run(path):
    """File name to text of one run: a run folder, or STUDY/NAME/seedN of a study that is packed."""
    if (path / "events.jsonl").exists():
        return {name: read_text(path / name) for name in RUN_FILES if (path / name).exists()}
    for study in path.parents:
        if (study / NAME).exists():
            run = path.relative_to(study).as_posix()
            files = {name: text for (of, name), text in read_record(study / NAME).items() if of == run}
            if files:
                return files
            raise RecordError(f"{study / NAME} has no run {run}")
    raise RecordError(f"{path} is neither a run folder nor part of a packed study")


def unfinished(files):
    """Runs whose record does not finish with the event `end`, and black-box searches without a result."""
    last = {run: text.splitlines()[-1:] for (run, name), text in files.items() if name == "events.jsonl"}
    late = [run for run, line in last.items() if not line or '"event":"end"' not in line[0]]
    late += [run for run, name in files if name == BLACKBOX and (run, "result.json") not in files]
    return [run or "the run" for run in late]


def events(files):
    """The events of a run, from its files by name."""
    return [json.loads(line) for line in files["events.jsonl"].splitlines()]
