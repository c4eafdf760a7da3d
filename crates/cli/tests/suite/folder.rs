//! Own pictures as a user has them: `data export`, `--dataset folder`.

use std::{fs, path::Path};

use serde_json::Value;

use crate::common::{output, program};

const CELL: &str = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|";
const SMALL: [&str; 6] = ["--epochs", "1", "--set", "network.channels=4", "--set", "network.cells=1"];

/// Runs the program with its data directory in `folder`.
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    output(program(&folder.join("home")).args(args))
}

/// The digits as pictures, at most 40 of each class.
fn digits(folder: &Path) -> String {
    let out = folder.join("digits").to_str().unwrap().to_owned();
    let (code, text, err) = run(folder, &["data", "export", "--dataset", "digits", "--most", "40", "--out", &out]);
    assert_eq!(code, 0, "{err}");
    assert!(text.starts_with("400 train, 360 test pictures in "), "{text}");
    assert!(err.contains("use them with: --dataset folder --data "), "{err}");
    let (code, _, err) = run(folder, &["data", "export", "--out", &out]);
    assert_eq!(code, 1);
    assert!(err.contains("digits is not empty; a new folder is needed"), "{err}");
    out
}

#[test]
fn a_data_set_becomes_pictures_that_are_trained_on_and_a_changed_picture_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(folder.path());
    let run = |args: &[&str]| run(folder.path(), args);
    let (code, out, err) = run(&["data", "check", "folder", "--data", &data]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.starts_with("folder from ") && out.contains(": own pictures\nimages 8x8x3, 400 train, 360 test\n"),
        "{out}"
    );
    assert!(err.contains("decoding 760 pictures") && err.contains("kept in "), "{err}");

    let trained = folder.path().join("trained").to_str().unwrap().to_owned();
    let own = ["--dataset", "folder", "--data", &data];
    let (code, _, err) = run(&[&["retrain", CELL, "--out", &trained][..], &own, &SMALL].concat());
    assert_eq!(code, 0, "{err}");
    assert!(!err.contains("decoding"), "{err}");
    let config = fs::read_to_string(Path::new(&trained).join("config.toml")).unwrap();
    assert!(config.contains("[data.folder]\nsize = 8\nchannels = 3\nmax_bad_share = 0.01\n"), "{config}");
    let (code, out, err) = run(&["evaluate", &trained, "--json"]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((report["images"].as_u64(), report["classes"][7]["name"].as_str()), (Some(360), Some("7")));

    // Another picture in the place of one that was trained on.
    let class = Path::new(&data).join("train/3");
    let mut pictures: Vec<_> = fs::read_dir(&class).unwrap().map(|entry| entry.unwrap().path()).collect();
    pictures.sort();
    fs::copy(&pictures[0], &pictures[1]).unwrap();
    let (code, _, err) = run(&["evaluate", &trained]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains(&format!("the pictures in {data} have changed since the run in {trained} started")), "{err}");
    assert!(err.contains(&format!("hint: restore the pictures in {data} as they were, or ")), "{err}");
    fs::rename(&data, format!("{data}.moved")).unwrap();
    let (code, _, err) = run(&["evaluate", &trained]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("no such file or folder: ") && err.contains("data.dir in its config.toml"), "{err}");
}

#[test]
fn validation_pictures_are_the_second_half_of_a_search() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(folder.path());
    fs::rename(Path::new(&data).join("test"), Path::new(&data).join("val")).unwrap();
    let run = |args: &[&str]| run(folder.path(), args);
    let own = ["search", "--dry-run", "--json", "--dataset", "folder", "--data", &data];
    let plan = |more: &[&str]| -> Value {
        let (code, out, err) = run(&[&own, more].concat());
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    };
    // A fifth of each class tests: nothing else does.
    let auto = plan(&["--size", "16"]);
    assert_eq!((auto["train_images"].as_u64(), auto["valid_images"].as_u64()), (Some(320), Some(360)));
    let data_of = |plan: &Value| plan["config"]["data"].clone();
    assert_eq!(data_of(&auto)["folder"]["size"].as_u64(), Some(16));
    assert_eq!(data_of(&auto)["folder"]["test_share"].as_f64(), Some(0.2));
    assert_eq!(data_of(&auto)["augmentation"], serde_json::json!({"flip": true, "crop_padding": 2, "cutout": 0}));
    // Large pictures are halved by the stem, unless it is set.
    let stride = |args: &[&str]| plan(args)["config"]["supernet"]["stem_stride"].as_u64();
    assert_eq!([stride(&["--size", "56"]), stride(&["--size", "64"])], [None, Some(2)]);
    assert_eq!(stride(&["--size", "64", "--set", "supernet.stem_stride=1"]), Some(1));
    let large = [
        "--size",
        "16",
        "--set",
        "training.batch_size=500",
        "--set",
        "strategy.hpe-darts.importance.proxy_batch_size=400",
    ];
    let (code, _, err) = run(&[&own[..], &large].concat());
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("batch 500 does not fit: there are 320 samples for training.batch_size = 500"), "{err}");
    assert!(err.contains("360 samples for strategy.hpe-darts.importance.proxy_batch_size = 400"), "{err}");
    assert!(
        err.contains(
            "hint: a batch of at most 320 fits: --set training.batch_size=320 --set \
             strategy.hpe-darts.importance.proxy_batch_size=360"
        ),
        "{err}"
    );
    let half = plan(&["--set", "data.split=half", "--set", "data.folder.test_share=0.5"]);
    assert_eq!((half["train_images"].as_u64(), half["valid_images"].as_u64()), (Some(280), Some(280)));
}

#[test]
fn what_has_no_effect_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(folder.path());
    let own = ["--dataset", "folder", "--data", &data, "--dry-run"];
    let error = |args: &[&str]| {
        let (code, out, err) = run(folder.path(), args);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        err
    };
    for command in [&["search", "--dry-run"][..], &["retrain", CELL, "--dry-run"]] {
        let text = error(&[command, &["--size", "32"]].concat());
        assert!(text.contains("--size 32 is for own pictures (--dataset folder), the images of digits have"), "{text}");
        let text = error(&[command, &["--set", "data.folder.channels=1"]].concat());
        assert!(
            text.contains("data.folder is for own pictures (dataset = \"folder\"), the data set is digits"),
            "{text}"
        );
    }
    for (setting, part) in [
        ("data.folder.split_seed=1", "has a folder test, so none are drawn"),
        ("data.verify=false", "has no official files that could be compared: data.verify = false (--no-verify) has"),
        ("data.downsample=2", "data.downsample = 2, expected 1 for own pictures"),
        ("data.folder.size=4", "data.folder.size = 4, expected 8 to 1024 pixels"),
        ("supernet.stem_stride=3", "supernet.stem_stride = 3, expected 1 or 2"),
        ("data.folder.sise=4", "did you mean `data.folder.size`?"),
        ("data.split=folder", "split folder: needs --dataset folder and a folder val beside train"),
    ] {
        let text = error(&[&["search"][..], &own, &["--set", setting]].concat());
        assert!(text.contains(part), "{setting}: {text}");
    }
    let text = error(&["search", "--dataset", "folder", "--dry-run"]);
    assert!(
        text.contains("hint: --data DIR says where it is: a folder with a folder of pictures for each class"),
        "{text}"
    );
    let text = error(&["data", "fetch", "folder"]);
    assert!(text.contains("folder cannot be downloaded from here; `--data DIR` says where it is"), "{text}");
    let text = error(&["data", "check", "imagenet16-120", "--data", &data]);
    assert!(text.contains("found neither train_data_batch_1 nor ImageNet16.tar.gz"), "{text}");
    assert!(
        text.contains("hint: --data DIR says where train_data_batch_1 to train_data_batch_10 and val_data are"),
        "{text}"
    );
}

#[test]
fn a_small_set_with_bad_pictures_is_looked_at_before_a_search() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("few").to_str().unwrap().to_owned();
    let (code, _, err) = run(folder.path(), &["data", "export", "--part", "train", "--most", "4", "--out", &data]);
    assert_eq!(code, 0, "{err}");
    let class = Path::new(&data).join("train/3");
    fs::write(class.join("bad.png"), "no picture").unwrap();
    fs::write(class.join("empty.png"), "").unwrap();
    let check = ["data", "check", "folder", "--data", &data, "--json"];
    let (code, _, err) = run(folder.path(), &check);
    assert_eq!(code, 1);
    assert!(err.contains("2 of 42 pictures cannot be read, data.folder.max_bad_share = 0.01 allows 1: "), "{err}");
    let more = ["--set", "data.folder.max_bad_share=0.1", "--size", "12"];
    let (code, out, err) = run(folder.path(), &[&check[..], &more].concat());
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["image"], serde_json::json!([12, 12, 3]));
    let bad = ["train/3/bad.png is not a picture: PNG, JPEG, WebP and BMP are read", "train/3/empty.png is empty"];
    assert_eq!(report["unreadable"], serde_json::json!(bad));
    let needs = "a search needs 64 images in each half of the split; the smaller one has 15: --set training.batch_size=15 --set";
    assert!(err.contains(needs), "{err}");
    let (code, _, err) = run(folder.path(), &["data", "check", "digits", "--size", "12"]);
    assert_eq!(code, 1);
    assert!(err.contains("--size 12 is for own pictures, the data set is digits"), "{err}");
}
