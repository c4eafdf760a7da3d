"""Records come back byte for byte: `python -m unittest discover results`."""

import tempfile
import unittest
from pathlib import Path

import records

CONFIG = 'space = "x"\nseed = 0\n\n[data]\ndir = "d"\n\n[strategy.a-b.optimiser]\nepsilon = 0.00000001\nbetas = [0.5, 0.999]\n'
ODD = [
    ("config.toml", CONFIG),
    ("config.toml", CONFIG.replace("seed = 0", "seed = 0 # kept as it is")),
    ("config.toml", CONFIG.replace("\n\n[data]", "\nextra = true\n\n[data]")),
    ("env.json", '{\n  "cpu": "a \\"b\\" {c}, d: [e]",\n  "list": [],\n  "cores": 2\n}'),
    ("env.json", '{\n  "one": {},\n  "x": 1e-7,\n  "y": [\n    1.0,\n    -2\n  ]\n}\n'),
    ("env.json", '{"one":   "line", "x":1E5}'),
    ("env.json", "{ no JSON"),
    ("events.jsonl", '{"event":"a","newline":false,"x":1.0e-5}\n{"event":"b","text":"\u2028 é","line":{}}\n'),
    ("events.jsonl", '{"event":"cut"}\n{"event":"bro'),
    ("events.jsonl", ""),
    ("events.jsonl", "\n\n"),
]


class Records(unittest.TestCase):
    def test_every_file_alone_and_all_together(self):
        studies = [{("run", name): text} for name, text in ODD]
        studies.append({(f"s/seed{i}", name): text for i, (name, text) in enumerate(ODD)})
        for study in studies:
            lines = records.to_lines(study)
            self.assertFalse([line for line in lines if "\n" in line])
            self.assertEqual(records.to_files(lines), study)

    def test_configurations_are_stored_as_differences(self):
        study = {(f"s/seed{i}", "config.toml"): CONFIG.replace("seed = 0", f"seed = {i}") for i in range(3)}
        lines = records.to_lines(study)
        self.assertEqual(lines[2], '{"run":"s/seed1","file":"config.toml","changed":{"seed":1}}')

    def test_on_disk_packed_and_unpacked_studies_read_alike(self):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "base/seed0"
            run.mkdir(parents=True)
            files = {"config.toml": CONFIG, "env.json": ODD[3][1], "events.jsonl": ODD[7][1]}
            for name, text in files.items():
                (run / name).write_bytes(text.encode())
            loose = records.read_study(Path(folder))
            self.assertEqual(records.read_run(run), files)
            records.write_record(Path(folder) / records.NAME, loose)
            for name in files:
                (run / name).unlink()
            self.assertEqual(records.read_study(Path(folder)), loose)
            self.assertEqual(records.read_run(run), files)
            with self.assertRaises(records.RecordError):
                records.read_run(Path(folder) / "base/seed9")


if __name__ == "__main__":
    unittest.main()
