"""Records come back byte for byte: `python -m unittest discover results`."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import pack
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

    def test_a_black_box_cell_of_a_comparison_is_packed_with_its_training_and_checked(self):
        settings = 'space = "x"\nseed = 0\n\n[method.bohb]\nrungs = 3\n\n[evaluator.proxy]\ndir = "/data/of/mine"\n'
        cell, training = "blackbox.bohb/seed0", "blackbox.bohb/seed0/retrain"
        study = {
            (cell, "blackbox.toml"): settings,
            (cell, "result.json"): '{\n  "arch": "a|b",\n  "value": 91.0\n}',
            (training, "config.toml"): CONFIG,
            (training, "events.jsonl"): '{"event":"retrain_start"}\n{"event":"end","epochs":1}\n',
            (training, "result.json"): '{\n  "epochs": 1\n}',
        }
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            loose, packed, back = (Path(folder) / name for name in ["loose", "packed", "back"])
            for (run, name), text in study.items():
                (loose / run).mkdir(parents=True, exist_ok=True)
                (loose / run / name).write_text(text)
            self.assertEqual(records.read_folders(loose), study)
            (loose / cell / "result.json").rename(loose / "away")
            with self.assertRaisesRegex(records.RecordError, "^blackbox.bohb/seed0 did not end"):
                pack.pack(loose, packed)
            (loose / "away").rename(loose / cell / "result.json")
            pack.pack(loose, packed)
            pack.check(packed)
            pack.unpack(packed, back)
            expected = {**study, (cell, "blackbox.toml"): settings.replace("/data/of/mine", "mine")}
            self.assertEqual(records.read_folders(back), expected)
            without = {at: text for at, text in study.items() if at != (cell, "result.json")}
            records.write_record(packed / records.NAME, without)
            with self.assertRaisesRegex(records.RecordError, "did not end"):
                pack.check(packed)
            pack.pack(loose, None)
            self.assertEqual([path.name for path in loose.iterdir()], [records.NAME])


if __name__ == "__main__":
    unittest.main()
