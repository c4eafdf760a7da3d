//! From a trained run to a network in use: `export`, `predict`, pictures of `evaluate`; mistakes.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;

use crate::common::{program, run};

const CELL: &str = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|";
const DARTS: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_5x5', 1), ('skip_connect', 0), ('dil_conv_3x3', 1), \
     ('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('dil_conv_5x5', 2), ('skip_connect', 0)], normal_concat=range(2, 6), \
     reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), \
     ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))";

/// Folders and files of a test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A network trained on the digits for an epoch.
    fn trained(&self, name: &str, arch: &str) -> String {
        let out = self.text(name);
        let set = ["--set", "network.channels=4", "--set", "network.cells=3"];
        let (code, _, err) = run(&[&["retrain", arch, "--epochs", "1", "--out", &out][..], &set].concat());
        assert_eq!(code, 0, "{err}");
        out
    }

    /// What looks like the folder of a search.
    fn searched(&self) -> String {
        let folder = self.path("searched");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("config.toml"), "strategy = \"hpe-darts\"\n").unwrap();
        folder.to_str().unwrap().to_owned()
    }
}

/// A grey BMP of `side` pixels squared, all of one value.
fn bmp(path: &Path, side: u32, value: u8) {
    let pixels = vec![value; (side * side * 3) as usize];
    assert!(side.is_multiple_of(4), "rows are filled up to four bytes");
    let mut bytes = b"BM".to_vec();
    for word in [54 + pixels.len() as u32, 0, 54, 40, side, side, 1 | 24 << 16, 0, pixels.len() as u32, 0, 0, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    fs::write(path, [bytes, pixels].concat()).unwrap();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn every_format_is_written_and_nothing_is_overwritten() {
    let place = Place::new();
    for (name, arch, index) in [("one", CELL, true), ("two", DARTS, false)] {
        let trained = place.trained(name, arch);
        let (code, formats, _) = run(&["list", "formats", "--json"]);
        assert_eq!(code, 0);
        let formats = json(&formats);
        let formats: Vec<&str> = formats.as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
        assert_eq!(formats, ["onnx", "safetensors", "pytorch", "genotype", "genotype-json", "svg", "dot"]);
        for (format, ending, beside) in [
            ("onnx", "onnx", None),
            ("safetensors", "safetensors", Some("json")),
            ("pytorch", "py", Some("safetensors")),
            ("genotype", "txt", None),
            ("genotype-json", "json", None),
            ("svg", "svg", None),
            ("dot", "dot", None),
        ] {
            let folder = place.path(&format!("{name}-{format}"));
            fs::create_dir(&folder).unwrap();
            let file = folder.join(format!("net.{ending}"));
            let export = ["export", &trained, "--format", format, "-o", file.to_str().unwrap()];
            let (code, out, err) = run(&[&export[..], &["--json"]].concat());
            assert_eq!(code, 0, "{format}: {err}");
            let told = json(&out);
            assert_eq!((told["arch"].as_str(), told["index"].is_u64()), (Some(arch), index), "{told}");
            let files = told["files"].as_array().unwrap();
            assert_eq!(files.len(), 1 + usize::from(beside.is_some()));
            for made in files {
                let path = Path::new(made["path"].as_str().unwrap());
                assert_eq!(fs::metadata(path).unwrap().len(), made["bytes"].as_u64().unwrap());
            }
            assert_eq!(fs::read_dir(&folder).unwrap().count(), files.len());
            let of_network = ["onnx", "safetensors", "pytorch"].contains(&format);
            assert_eq!((told["parameters"].is_u64(), told["epochs"].as_u64()), (of_network, of_network.then_some(1)));
            // What exists is kept, whichever of the files it is.
            if let Some(beside) = beside {
                fs::remove_file(&file).unwrap();
                fs::write(folder.join(format!("net.{beside}")), "mine").unwrap();
            }
            let (code, _, err) = run(&export);
            assert!(code == 1 && err.contains(" exists") && err.contains("--force"), "{err}");
            let (code, out, err) = run(&[&export[..], &["--force"]].concat());
            assert_eq!(code, 0, "{err}");
            assert!(out.contains(" bytes\n") && out.contains(arch), "{out}");
            assert_eq!(out.contains(" multiply-adds an image"), of_network, "{out}");
        }
        // What is written is read.
        let read = |file: &str, ending: &str| format!("@{}", place.text(&format!("{name}-{file}/net.{ending}")));
        for given in [read("genotype", "txt"), read("genotype-json", "json")] {
            let (code, out, err) = run(&["export", &given, "--format", "genotype", "-o", "-"]);
            assert_eq!((code, out.trim_end()), (0, arch), "{err}");
        }
        let weights = place.text(&format!("{name}-safetensors/net.safetensors"));
        let (one, two) = (place.text("a.onnx"), place.text("b.onnx"));
        for (what, out) in [(&trained, &one), (&weights, &two)] {
            let (code, _, err) =
                run(&["export", what, "--format", "onnx", "--fold-bn", "--with-normalisation", "-o", out, "--force"]);
            assert_eq!(code, 0, "{err}");
        }
        assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
        let onnx = program(place.0.path()).args(["export", &weights, "--format", "onnx", "-o", "-"]).output().unwrap();
        assert!(onnx.stdout == fs::read(place.path(&format!("{name}-onnx/net.onnx"))).unwrap());
        let (code, _, err) = run(&["export", &weights, "--format", "onnx", "-o", &one, "--force", "--epoch", "1"]);
        assert!(code == 1 && err.contains("has no epochs to choose from"), "{err}");
    }
}

#[test]
fn what_cannot_be_exported_is_told_before_anything_is_written() {
    let place = Place::new();
    let (trained, searched) = (place.trained("run", CELL), place.searched());
    let untrained = place.text("untrained");
    fs::create_dir(&untrained).unwrap();
    let out = place.text("net.onnx");
    let missing = place.text("nowhere/net.onnx");
    let (folder, odd) = (place.0.path().to_str().unwrap().to_owned(), place.text("net.pt"));
    for (args, part) in [
        (&[CELL, "--format", "onnx", "-o", &out][..], "an architecture has no weights, which the format onnx needs"),
        (&["15624", "--format", "pytorch", "-o", &place.text("a.py")], "train it first"),
        (&["conv", "--format", "onnx", "-o", &out], "`conv` is not an architecture"),
        (
            &[&searched, "--format", "onnx", "-o", &out],
            "is the folder of a search: its weights are those of a supernet",
        ),
        (&[&untrained, "--format", "onnx", "-o", &out], "is not the run folder of a training"),
        (&[&trained, "--format", "onx", "-o", &out], "did you mean `onnx`?"),
        (&[&trained, "--format", "tflite", "-o", &out], "expected onnx, safetensors, pytorch, genotype"),
        (&[&trained, "--format", "onnx", "-o", &missing], "there is no folder"),
        (&[&trained, "--format", "onnx", "-o", &folder], "is a folder, expected the name of a file"),
        (&[&trained, "--format", "safetensors", "-o", &odd], "-o NAME.safetensors"),
        (&[&trained, "--format", "pytorch", "-o", "-"], "do not go to standard output"),
        (&[&trained, "--format", "onnx", "-o", "-", "--json"], "--json needs -o FILE"),
        (&[&trained, "--format", "svg", "-o", "-", "--fold-bn"], "the format svg has no --fold-bn"),
        (&[&trained, "--format", "dot", "-o", "-", "--epoch", "1"], "has no --epoch"),
        (&[&trained, "--format", "onnx", "-o", &out, "--epoch", "1"], "epoch 1"),
    ] {
        let (code, stdout, err) = run(&[&["export"], args].concat());
        assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
        assert!(!Path::new(&out).exists(), "{args:?}");
    }
    let (code, dot, err) = run(&["export", "0", "--format", "dot", "-o", "-"]);
    assert_eq!(code, 0, "{err}");
    assert!(dot.starts_with("digraph"), "{dot}");
}

#[test]
fn weights_that_are_of_another_network_are_refused_by_everyone() {
    let place = Place::new();
    let (trained, other) = (place.trained("run", CELL), place.trained("other", DARTS));
    bmp(&place.path("a.bmp"), 8, 7);
    let (picture, out) = (place.text("a.bmp"), place.text("net.onnx"));
    let description = fs::read_to_string(place.path("run/model.json")).unwrap();
    let model = json(&description);
    let refused = |text: &str, part: &str| {
        fs::write(place.path("run/model.json"), text).unwrap();
        for args in [
            &["evaluate", &trained][..],
            &["predict", &trained, &picture],
            &["export", &trained, "--format", "onnx", "-o", &out],
        ] {
            let (code, stdout, err) = run(args);
            assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}");
            assert!(err.contains(part) && err.contains("hint: "), "{args:?}: {err}");
        }
    };
    let changed = |key: &str, value: Value| {
        let mut model = model.clone();
        model[key] = value;
        model.to_string()
    };
    refused(&description[..40], "cannot use the model description");
    refused(&fs::read_to_string(place.path("other/model.json")).unwrap(), "its space is darts");
    refused(
        &changed("classes", json("[\"a\", \"b\", \"c\"]")),
        "tensor head.linear.weight is [10, 16], expected [3, 16]",
    );
    refused(&changed("version", 2.into()), "format version 2, this program reads 1");
    fs::write(place.path("run/model.json"), description).unwrap();
    // The files of an export must belong together as well.
    let [net, of_other] = ["net.safetensors", "other.safetensors"].map(|name| place.text(name));
    for (run_folder, out) in [(&trained, &net), (&other, &of_other)] {
        assert_eq!(run(&["export", run_folder, "--format", "safetensors", "-o", out]).0, 0);
    }
    assert_eq!(run(&["predict", &net, &picture]).0, 0);
    fs::copy(place.path("other.json"), place.path("net.json")).unwrap();
    let (code, _, err) = run(&["predict", &net, &picture]);
    assert!(code == 1 && err.contains("do not fit the model: tensor"), "{err}");
    fs::remove_file(place.path("net.json")).unwrap();
    let (code, _, err) = run(&["predict", &net, &picture]);
    assert!(code == 1 && err.contains("net.json"), "{err}");
    fs::copy(place.path("other.json"), place.path("net.json")).unwrap();
    fs::write(&net, "no tensors").unwrap();
    let (code, _, err) = run(&["predict", &net, &picture]);
    assert!(code == 1 && err.contains("net.safetensors"), "{err}");
}

#[test]
fn pictures_are_told_apart() {
    let place = Place::new();
    let trained = place.trained("run", CELL);
    for folder in ["pictures", "pictures/below", "empty"] {
        fs::create_dir(place.path(folder)).unwrap();
    }
    let names = ["pictures/b.bmp", "pictures/a.bmp", "pictures/below/c.BMP"];
    for (i, name) in names.iter().enumerate() {
        bmp(&place.path(name), 8 << i, 60 * i as u8);
    }
    fs::write(place.path("pictures/notes.txt"), "no picture").unwrap();
    let [pictures, empty, list] = ["pictures", "empty", "list.txt"].map(|name| place.text(name));
    let lines = |args: &[&str]| {
        let (code, out, err) = run(args);
        assert_eq!(code, 0, "{err}");
        assert!(err.contains("images per second"), "{err}");
        out.lines().map(json).collect::<Vec<_>>()
    };
    let all = lines(&["predict", &trained, &pictures, "--json", "--top", "10"]);
    let images: Vec<&str> = all.iter().map(|line| line["image"].as_str().unwrap()).collect();
    let sorted = [names[1], names[0], names[2]].map(|name| place.text(name));
    assert_eq!(images, sorted);
    for line in &all {
        let found = line["predictions"].as_array().unwrap();
        let likely: Vec<f64> = found.iter().map(|p| p["probability"].as_f64().unwrap()).collect();
        assert!(found.len() == 10 && likely.is_sorted_by(|a, b| a >= b), "{line}");
        assert!((likely.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(found.iter().all(|p| p["class"].as_str() == Some(&p["index"].to_string())), "{line}");
    }
    // Lists, standard input, exported weights and threads make no difference.
    fs::write(&list, sorted.join("\n")).unwrap();
    assert_eq!(lines(&["predict", &trained, &format!("@{list}"), "--json", "--top", "10", "--threads", "2"]), all);
    let net = place.text("net.safetensors");
    assert_eq!(run(&["export", &trained, "--format", "safetensors", "-o", &net]).0, 0);
    let mut child = program(place.0.path());
    let child = child.args(["predict", &net, "-", "--json", "--top", "10"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{}\n\n", sorted.join("\n")).as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap().lines().map(json).collect::<Vec<_>>(), all);
    let (code, out, _) = run(&["predict", &trained, &sorted[0]]);
    assert!(code == 0 && out.starts_with(&format!("{}: ", sorted[0])) && out.matches(" %").count() == 5, "{out}");
    // A picture that cannot be read is named, the others are predicted.
    let broken = place.text("broken.png");
    fs::write(&broken, "no picture").unwrap();
    let (code, out, err) = run(&["predict", &trained, &sorted[0], &broken, "nowhere.png", &sorted[1], "--json"]);
    assert_eq!((code, out.lines().count()), (1, 4), "{err}");
    let told: Vec<Value> = out.lines().map(json).collect();
    assert!(told[0]["predictions"].is_array() && told[3]["predictions"].is_array(), "{out}");
    assert!(told[1]["error"].as_str().unwrap().contains("is not a picture"), "{out}");
    assert!(
        err.contains(&broken) && err.contains("nowhere.png") && err.contains("2 of 4 images could not be read"),
        "{err}"
    );
    let searched = place.searched();
    fs::write(&list, "\n").unwrap();
    let (listed, trained) = (format!("@{list}"), trained.as_str());
    for (args, part) in [
        (&[trained, &empty][..], "there are no pictures in"),
        (&[&searched, &pictures], "is the folder of a search"),
        (&["nowhere", &pictures], "there is no file or folder nowhere"),
        (&[trained, &pictures, "--top", "0"], "--top"),
        (&[trained, &pictures, "--top", "11"], "--top 11: the network has 10 classes"),
        (&[trained, &listed], "the list names no images"),
        (&[trained, "@nowhere.txt"], "cannot read the list of images nowhere.txt"),
    ] {
        let (code, out, err) = run(&[&["predict"], args].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
    }
}

#[test]
fn own_pictures_train_and_need_not_be_there_afterwards() {
    let place = Place::new();
    for (name, value) in [("dark", 20), ("light", 220)] {
        let folder = place.path("own").join(name);
        fs::create_dir_all(&folder).unwrap();
        (0..10).for_each(|i| bmp(&folder.join(format!("{i}.bmp")), 8 + 4 * (i % 3), value + i as u8));
    }
    let [own, out, net, elsewhere] = ["own", "run", "net.safetensors", "elsewhere.bmp"].map(|name| place.text(name));
    let set = ["--set", "network.channels=4", "--set", "network.cells=1", "--set", "training.batch_size=4"];
    let data = ["--dataset", "folder", "--data", &own, "--size", "8", "--epochs", "4"];
    let (code, _, err) = run(&[&["retrain", CELL, "--out", &out][..], &data, &set].concat());
    assert_eq!(code, 0, "{err}");
    assert_eq!(run(&["evaluate", &out]).0, 0);
    fs::remove_dir_all(&own).unwrap();
    bmp(Path::new(&elsewhere), 40, 225);
    assert_eq!(run(&["export", &out, "--format", "safetensors", "-o", &net]).0, 0);
    for model in [&out, &net] {
        let (code, found, err) = run(&["predict", model, &elsewhere, "--json"]);
        assert_eq!(code, 0, "{err}");
        let found = json(&found);
        assert_eq!(found["predictions"].as_array().unwrap().len(), 2);
        assert_eq!(found["predictions"][0]["class"], "light", "{found}");
    }
    assert_eq!(run(&["evaluate", &out]).0, 1);
}

/// An older checkpoint is another network: nobody takes it for the newest.
#[test]
fn a_damaged_checkpoint_is_no_older_network() {
    let place = Place::new();
    let run_folder = place.trained("net", CELL);
    bmp(&place.path("a.bmp"), 8, 9);
    let picture = place.text("a.bmp");
    let weights = place.path("net/checkpoint/weights.safetensors");
    let whole = fs::read(&weights).unwrap();
    for damage in [Some(&whole[..1000]), None] {
        match damage {
            Some(bytes) => fs::write(&weights, bytes).unwrap(),
            None => fs::remove_file(&weights).unwrap(),
        }
        for args in [
            &["predict", &run_folder, &picture][..],
            &["evaluate", &run_folder],
            &["export", &run_folder, "--format", "onnx", "-o", "-"],
        ] {
            let (code, out, err) = run(args);
            assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {err}");
            assert!(err.contains("the newest checkpoint of ") && err.contains("is damaged: "), "{err}");
            assert!(err.contains("hpe-darts resume ") && err.contains("--epoch N"), "{err}");
        }
    }
}

/// `describe` and the formats without weights know a training that has not ended, and in its own size.
#[test]
fn a_training_is_described_as_it_is() {
    let place = Place::new();
    let run_folder = place.trained("net", CELL);
    fs::remove_file(place.path("net/result.json")).unwrap();
    let (code, out, err) = run(&["describe", &run_folder, "--json"]);
    assert_eq!(code, 0, "{err}");
    let described = json(&out);
    let numbers = ["channels", "cells", "classes"].map(|key| described[key].as_u64());
    assert_eq!(numbers, [Some(4), Some(3), Some(10)]);
    let (_, out, _) = run(&["describe", &run_folder, "--channels", "8"]);
    assert!(out.contains("C 8, N 3, 10 classes, grey images of 8 x 8"), "{out}");
    let (code, out, err) = run(&["export", &run_folder, "--format", "genotype", "-o", "-"]);
    assert_eq!((code, out.trim()), (0, CELL), "{err}");
}

#[test]
fn files_of_an_evaluation_are_looked_at_before_it() {
    let place = Place::new();
    let run_folder = place.trained("net", CELL);
    let [one, two] = ["one.csv", "two.csv"].map(|name| place.text(name));
    fs::write(&one, "old").unwrap();
    let error = |more: &[&str]| {
        let (code, out, err) = run(&[&["evaluate", &run_folder][..], more].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{more:?}: {err}");
        err
    };
    assert!(error(&["--confusion", &one]).contains("one.csv exists\n\nhint: --force replaces it"));
    assert!(error(&["--confusion", &two, "--logits", &two]).contains("two.csv is to be written twice"));
    assert!(error(&["--logits", "-"]).contains("does not go to standard output"));
    assert!(error(&["--logits", &place.text("new/a.csv")]).contains("there is no folder "));
    assert_eq!(fs::read_to_string(&one).unwrap(), "old");
    let (code, out, err) = run(&["evaluate", &run_folder, "--confusion", &one, "--logits", &two, "--force"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("top-1") && fs::read_to_string(&one).unwrap().starts_with("true class,"), "{out}");
}

/// Hidden files are left out, and a path of a list may have bytes that are no UTF-8.
#[cfg(unix)]
#[test]
fn what_a_folder_and_a_list_mean() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let place = Place::new();
    let run_folder = place.trained("net", CELL);
    fs::create_dir_all(place.path("photos/__MACOSX")).unwrap();
    for name in ["photos/.hidden.bmp", "photos/._a.bmp", "photos/__MACOSX/a.bmp"] {
        fs::write(place.path(name), "no picture").unwrap();
    }
    bmp(&place.path("photos/a.bmp"), 8, 9);
    let odd = place.path("photos").join(OsStr::from_bytes(b"odd\xff\x1b.bmp"));
    bmp(&odd, 8, 9);
    let (code, out, err) = run(&["predict", &run_folder, &place.text("photos")]);
    assert_eq!((code, out.lines().count()), (0, 2), "{out}{err}");
    assert!(out.contains("odd\\xff\\u{1b}.bmp: ") && err.starts_with("2 images in "), "{out}{err}");
    let list = place.path("list");
    fs::write(&list, [place.text("photos/a.bmp").as_bytes(), b"\r\n\n", odd.as_os_str().as_bytes(), b"\n"].concat())
        .unwrap();
    let (code, out, err) = run(&["predict", &run_folder, &format!("@{}", list.display()), "--json"]);
    assert_eq!((code, out.lines().count()), (0, 2), "{out}{err}");
    assert!(out.contains("odd\\\\xff"), "{out}");
    let (code, _, err) = run(&["predict", &place.text("nothing"), &place.text("photos")]);
    assert!(code == 1 && err.contains("there is no file or folder "), "{err}");
    let (code, _, err) =
        run(&["export", &place.text("no/net.safetensors"), "--format", "onnx", "-o", &place.text("n.onnx")]);
    assert!(code == 1 && err.contains("there is no file or folder "), "{err}");
}
