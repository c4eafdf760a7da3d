//! Mistakes that people have made with programs of this kind: each is named, with what would be right.

use std::{fs, path::Path};

use crate::common::{output, program, run};

fn refused(args: &[&str], parts: &[&str]) {
    let (code, out, err) = run(args);
    assert_eq!((code, &*out), (1, ""), "{args:?}: {err}");
    for part in parts {
        assert!(err.contains(part), "{args:?}: {err}");
    }
}

#[test]
fn data_that_the_program_carries_is_read_from_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().to_str().unwrap();
    let arch = "0";
    for args in [
        &["search", "--data", photos][..],
        &["search", "--data", photos, "--dry-run"],
        &["search", "--dataset", "digits", "--set", &format!("data.dir={photos}")],
        &["retrain", arch, "--dataset", "digits", "--data", photos],
        &["score", "--proxy", "naswot", "--arch", arch, "--dataset", "digits", "--data", photos],
        &["data", "check", "digits", "--data", photos],
    ] {
        refused(args, &["the data set digits is built in and not read from", "--dataset folder"]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn names_are_suggested_whatever_their_case() {
    for (args, hint) in [
        (&["search", "--dataset", "CIFAR10"][..], "did you mean `cifar10`?"),
        (&["search", "--dataset", "ImageNet16_120"], "did you mean `imagenet16-120`?"),
        (&["search", "--strategy", "HPE_DARTS"], "did you mean `hpe-darts`?"),
        (&["search", "--space", "NAS-Bench-201"], "did you mean `nas-bench-201`?"),
        (&["search", "--preset", "Paper"], "did you mean `paper`?"),
        (&["score", "--proxy", "NASWOT", "--arch", "0"], "did you mean `naswot`?"),
        (&["retrain", "0", "--recipe", "DARTS"], "did you mean `darts`?"),
    ] {
        refused(args, &[hint]);
    }
}

#[test]
fn a_hint_names_the_key_that_must_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    let file = file.to_str().unwrap();
    for (text, hint) in [
        ("[training]\nseed = 3\n", "did you mean `seed`? It belongs to no table: above the first [table] of the file"),
        ("batch_size = 64\n", "did you mean `training.batch_size`? In a file: `batch_size` below [training]"),
        ("epochs = 50\n", "did you mean `strategy.hpe-darts.warmup_epochs`, `strategy.hpe-darts.prune_epochs`"),
        ("[supernet]\nchanels = 8\n", "did you mean `supernet.channels`?"),
        ("training:\n  seed: 3\n", "this looks like YAML"),
        ("---\nseed: 3\n", "this looks like YAML"),
        ("{\"seed\": 3}", "this looks like JSON"),
    ] {
        fs::write(file, text).unwrap();
        refused(&["search", "--config", file], &[hint]);
    }
    refused(&["search", "--set", "epochs=50"], &["`strategy.hpe-darts.warmup_epochs`", "`training.max_epochs`"]);
    fs::write(file, "\u{feff}seed = 3\n").unwrap();
    let (code, out, err) = run(&["search", "--config", file, "--dry-run"]);
    assert!(code == 0 && out.contains("\nseed = 3\n"), "{err}");
}

#[test]
fn a_file_that_was_taken_for_another_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let torch = write("NAS-Bench-201.pth", &[b"PK\x03\x04".as_slice(), &[0; 26], b"archive/data.pkl"].concat());
    let zip = write("cifar.zip", b"PK\x03\x04\x14\0\0\0...................");
    let pickle = write("x.pickle", b"\x80\x04\x95\x0b\0\0\0\0\0\0\0}");
    let utf16 = write("u.toml", b"\xff\xfes\0e\0e\0d\0");
    let latin = write("l.toml", b"# Gr\xf6\xdfe\n");
    let dir = folder.path().to_str().unwrap().to_owned();
    refused(&["table", "import", &torch], &["is a file of torch.save, expected CSV", "hint: the benchmark's own file"]);
    refused(&["table", "import", &dir], &["is a folder, expected CSV"]);
    refused(&["data", "check", "cifar10", "--data", &zip], &["is a zip archive, expected a folder", "hint: unpack it"]);
    refused(&["search", "--dataset", "cifar10", "--data", &pickle], &["is a Python pickle, expected a folder"]);
    refused(&["search", "--config", &utf16], &["it is a text in UTF-16, expected a text in UTF-8"]);
    refused(&["search", "--config", &latin], &["it is not UTF-8 from byte 5 on"]);
    refused(&["search", "--config", &dir], &["it is a folder, expected a file"]);
    refused(&["search", "--split", &pickle], &["is a Python pickle, expected JSON with `train` and `valid`"]);
    refused(&["describe", &format!("@{pickle}")], &["it is a Python pickle, expected a text in UTF-8"]);
    refused(&["bench", "--baseline", &zip], &["it is a zip archive, expected a text in UTF-8"]);
}

/// The architecture of index 9930 as people paste it, wherever an architecture is read.
#[test]
fn an_architecture_is_read_in_the_forms_that_are_pasted() {
    let folder = tempfile::tempdir().unwrap();
    let text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|";
    let list = "[(('nor_conv_3x3', 0),), (('nor_conv_3x3', 0), ('nor_conv_3x3', 1)), \
                (('skip_connect', 0), ('nor_conv_3x3', 1), ('nor_conv_3x3', 2))]";
    let file = folder.path().join("arch.txt");
    fs::write(&file, format!("Structure(4 nodes with {text})\n")).unwrap();
    let file = format!("@{}", file.display());
    let forms =
        ["9930", "index 9930", &text.replace('|', " | "), &format!("Structure(4 nodes with {text})"), list, &file];
    for form in forms {
        let (code, out, err) = run(&["describe", form, "--json"]);
        assert!(code == 0 && out.contains(text), "{form}: {out}{err}");
        let (code, out, err) = run(&["retrain", form, "--dry-run", "--json"]);
        assert!(code == 0 && out.contains(text), "{form}: {out}{err}");
    }
    refused(&["describe", "(4, 0, 3, 1, 4, 3)"], &["is a list of operation numbers, which programs order differently"]);
    refused(&["query", "(4, 0, 3, 1, 4, 3)"], &["is a list of operation numbers"]);
    refused(&["query", "Genotype(normal=[])"], &["an architecture of the space darts, expected one of nas-bench-201"]);
    refused(&["describe", text, "--space", "darts"], &["of the space nas-bench-201, expected one of darts"]);
    refused(&["query", "\u{1b}[31mred"], &["\\u{1b}"]);
}

#[test]
fn halves_without_classes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let split = |train: &[usize], valid: &[usize]| {
        let path = folder.path().join("split.json");
        fs::write(&path, serde_json::json!({ "train": train, "valid": valid }).to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // The digits come in the order of their writing: the first hundred are of all classes.
    let all: Vec<usize> = (0..200).collect();
    let file = split(&all[..100], &[100, 101]);
    let small = ["--strategy", "darts", "--set", "training.batch_size=1", "--dry-run"];
    let (code, _, err) = run(&[&["search", "--split", &file][..], &small].concat());
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("D_val has images of 2 of 10 classes"), "{err}");
    let one = split(&all[..100], &[100]);
    refused(&[&["search", "--split", &one][..], &small].concat(), &["D_val has 1 images, all of one class of 10"]);
    for (share, train) in [("0.8", "1150"), ("0.25", "359")] {
        let (code, out, err) = run(&["search", "--split", share, "--dry-run"]);
        assert!(code == 0 && out.contains(&format!("{train} images train omega")), "{out}{err}");
        assert!(out.contains(&format!("split = {share}")), "{out}");
    }
    refused(
        &["search", "--split", "80"],
        &["split 80: is no share of the images, expected more than 0 and less than 1"],
    );
}

/// Of several that start at once each gets a folder of its own.
#[test]
fn searches_that_start_together_do_not_share_a_folder() {
    let (home, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tiny = ["--set", "training.max_epochs=3", "--set", "strategy.darts.epochs=1", "--set", "supernet.channels=4"];
    let search = || {
        let args = [&["search", "--strategy", "darts", "--threads", "1", "--json"][..], &tiny].concat();
        output(program(home.path()).current_dir(place.path()).args(args))
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(search)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(results.iter().all(|(code, ..)| *code == 0), "{results:?}");
    let mut names: Vec<String> = fs::read_dir(place.path().join("runs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["", "-2", "-3", "-4"].map(|n| format!("darts-digits-seed0{n}")));
    let record = |name: &String| crate::common::record(&place.path().join("runs").join(name));
    assert!(names.iter().all(|name| record(name) == record(&names[0])));
}

#[test]
fn a_search_that_cannot_begin_leaves_no_folder() {
    let (home, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(place.path().join("runs"), "a file").unwrap();
    let (code, _, err) = output(program(home.path()).current_dir(place.path()).arg("search"));
    assert!(code == 1 && err.contains("cannot create run folder"), "{err}");
    assert!(place.path().join("runs").is_file());
}

/// Names of folders need not be UTF-8, and a result is shown all the same.
#[cfg(target_os = "linux")]
#[test]
fn folders_may_have_any_name() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let (home, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let odd = place.path().join(OsStr::from_bytes(b"r\xff"));
    fs::create_dir(&odd).unwrap();
    let tiny = ["--set", "strategy.darts.epochs=1", "--set", "supernet.channels=4", "--threads", "1", "--json"];
    let done = |command: &mut std::process::Command| {
        let (code, out, err) = output(command);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str::<serde_json::Value>(out.lines().last().unwrap()).unwrap()
    };
    let search = ["search", "--strategy", "darts"];
    let result = done(program(home.path()).args(search).args(tiny).arg("--out").arg(odd.join("search")));
    assert!(result["run_dir"].as_str().unwrap().ends_with("r\\xff/search"), "{result}");
    // Started in such a folder as well.
    done(program(home.path()).current_dir(&odd).args(search).args(tiny));
    let train = ["--epochs", "1", "--set", "network.channels=4", "--set", "network.cells=1", "--json"];
    let result =
        done(program(home.path()).current_dir(&odd).args(["retrain", "search"]).args(train).args(["--out", "net"]));
    assert_eq!(result["run_dir"], "net");
    for args in [&["evaluate", "net", "--json"][..], &["resume", "net", "--json"], &["resume", "search", "--json"]] {
        done(program(home.path()).current_dir(&odd).args(args));
    }
    done(program(home.path()).args(["evaluate", "--json"]).arg(odd.join("net")));
    let export = ["export", "net", "--format", "onnx", "--json", "-o"];
    let result = done(program(home.path()).current_dir(&odd).args(export).arg(OsStr::from_bytes(b"\xfe.onnx")));
    assert!(result["files"][0]["path"].as_str().unwrap().contains("\\xfe"), "{result}");
    // What a configuration must name cannot have such a name, and that is said before anything else.
    for (key, args) in [
        ("data.dir", &["search", "--dataset", "cifar10", "--data", "cifar"][..]),
        ("data.split", &["search", "--split", "split.json"]),
        ("data.dir", &["retrain", "0", "--dataset", "cifar10", "--data", "cifar"]),
        ("inherit.run", &["retrain", "0", "--from-supernet", "search"]),
    ] {
        let (code, _, err) = output(program(home.path()).current_dir(&odd).args(args));
        assert!(code == 1 && err.contains(&format!("{key} = ")), "{err}");
        assert!(err.contains("r\\xff") && err.contains("expected a path in UTF-8"), "{err}");
    }
}

/// Records of CIFAR-10's binary version, 20 images in each of the six files.
fn cifar(folder: &Path, change: u8) {
    fs::create_dir_all(folder).unwrap();
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        let record = |i: usize| {
            let pixels = (0..3072_usize).map(move |p| ((p * (i + 3)) % 251) as u8 ^ if i == 7 { change } else { 0 });
            std::iter::once((i % 10) as u8).chain(pixels)
        };
        fs::write(folder.join(format!("{name}.bin")), (0..20).flat_map(record).collect::<Vec<u8>>()).unwrap();
    }
}

/// A run that has not written its result yet goes on with the data that it began with, wherever that is by then, and with no
/// other of the same sizes.
#[test]
fn a_run_goes_on_with_its_own_data_only() {
    let folder = tempfile::tempdir().unwrap();
    let (first, moved) = (folder.path().join("first"), folder.path().join("moved"));
    cifar(&first, 0);
    let in_folder = |args: &[&str]| output(program(folder.path()).current_dir(folder.path()).args(args));
    let unofficial = ["--dataset", "cifar10", "--data", "first", "--threads", "1", "--set", "data.verify=false"];
    let small = ["--set", "training.batch_size=10", "--set", "data.downsample=4", "--out"];
    let search = ["search", "--strategy", "darts", "--set", "strategy.darts.epochs=1", "--set", "supernet.channels=4"];
    let train = ["retrain", "1835", "--epochs", "1", "--set", "network.channels=4", "--set"];
    let cells = |name| if name == "s" { &["--set", "supernet.cells_per_stage=1"][..] } else { &["network.cells=1"] };
    for (begin, result, name) in [(search, "genotype.json", "s"), (train, "result.json", "t")] {
        let begin = [&begin[..], cells(name), &unofficial, &small, &[name]].concat();
        let (code, _, err) = in_folder(&begin);
        assert_eq!(code, 0, "{err}");
        let result = folder.path().join(name).join(result);
        let found = fs::read(&result).unwrap();
        let again = |more: &[&str]| {
            fs::remove_file(&result).unwrap_or_default();
            in_folder(&[&["resume", name][..], more].concat())
        };
        assert_eq!(again(&[]).0, 0);
        assert!(fs::read(&result).unwrap() == found);
        fs::rename(&first, &moved).unwrap();
        let (code, _, err) = again(&[]);
        assert!(code == 1 && err.contains("first") && err.contains("`--data DIR` says where it is"), "{err}");
        let (code, _, err) = again(&["--data", "moved", "--threads", "2"]);
        assert_eq!(code, 0, "{err}");
        assert!(fs::read(&result).unwrap() == found);
        // One pixel of one training image.
        cifar(&first, 1);
        let (code, _, err) = again(&[]);
        assert!(code == 1 && err.contains("have changed since the run in") && err.contains("restore"), "{err}");
        let look = if name == "s" { &["importance", "s", "--proxy-batch", "10"][..] } else { &["evaluate", "t"] };
        let (code, _, err) = in_folder(look);
        assert!(code == 1 && err.contains("have changed since the run in"), "{err}");
        let (code, _, err) = in_folder(&[look, &["--data", "moved"]].concat());
        assert_eq!(code, 0, "{err}");
        fs::remove_dir_all(&first).unwrap();
        fs::rename(&moved, &first).unwrap();
    }
}

/// Nothing that a terminal would obey, or that turns a text around, leaves the program, wherever it came from: the parser of
/// arguments, a name, a key, a value or a file.
#[test]
fn no_argument_reaches_a_terminal_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "\u{1b}[2J\u{9b}31m\u{202e}x";
    let (key, file) = (format!("strategy.{hostile}=1"), format!("@{hostile}"));
    let text = folder.path().join("c.toml");
    fs::write(&text, "\"\u{9b}31m\u{202e}\" = 1\n").unwrap();
    for args in [
        &[hostile][..],
        &["search", hostile],
        &["search", "--seed", hostile],
        &["search", "--strategy", hostile],
        &["search", "--set", &key],
        &["search", "--config", hostile],
        &["search", "--config", text.to_str().unwrap()],
        &["search", "--dataset", "folder", "--data", hostile],
        &["data", "check", hostile],
        &["score", "--sample", "2", "--proxy", hostile],
        &["score", "--proxy", "params", "--arch", hostile],
        &["export", "0", "-o", "x", "--format", hostile],
        &["describe", hostile],
        &["describe", &file],
        &["query", hostile],
        &["predict", hostile, "x.png"],
        &["resume", hostile],
        &["evaluate", hostile],
        &["importance", hostile],
        &["table", "import", hostile],
        &["compare", "--config", hostile, "--out", "x"],
        &["blackbox", hostile],
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, &*out), (1, ""), "{args:?}: {err}");
        assert!(!err.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{args:?}: {err:?}");
    }
    refused(&["describe", "@"], &["`@` names no file", "@FILE"]);
}
