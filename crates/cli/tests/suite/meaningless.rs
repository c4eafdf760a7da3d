//! Data and settings that are well-formed and from which nothing can be learned: it is said, with the numbers.

use std::{fs, path::Path};

use serde_json::Value;

use crate::common::{output, program};

/// Records of CIFAR-10's binary version, 20 in each of the six files: pixels and label of each.
fn cifar(folder: &Path, record: impl Fn(usize) -> (u64, u8)) {
    for (file, name) in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
        .into_iter()
        .enumerate()
    {
        let one = |i: usize| {
            let (picture, label) = record(20 * file + i);
            let pixel = move |p: u64| (((p + 1) * (2 * picture + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
            std::iter::once(label).chain((0..3072).map(pixel))
        };
        fs::write(folder.join(format!("{name}.bin")), (0..20).flat_map(one).collect::<Vec<u8>>()).unwrap();
    }
}

fn check(record: impl Fn(usize) -> (u64, u8)) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    cifar(folder.path(), record);
    let args = ["data", "check", "cifar10", "--no-verify", "--data"];
    let (code, _, err) = output(program(&folder.path().join("home")).args(args).arg(folder.path()));
    (code, err)
}

#[test]
fn images_that_say_nothing_are_named() {
    let label = |i: usize| (i % 10) as u8;
    let (code, err) = check(|i| (i as u64, label(i)));
    assert!(code == 0 && !err.contains("the same pixels"), "{err}");
    let (code, err) = check(|i| (7, label(i)));
    assert!(
        code == 1 && err.contains("all 100 training images have the same pixels, expected different ones"),
        "{err}"
    );
    // The first of the 20 test images is the first of the training images.
    let (code, err) = check(|i| (i as u64 % 100 + if i > 100 { 1000 } else { 0 }, label(i)));
    assert!(code == 0 && err.contains("1 of 20 test images is a training image too"), "{err}");
    // Two training images with one picture and two labels.
    let (code, err) = check(|i| (if i == 1 { 0 } else { i as u64 }, label(i)));
    assert!(code == 0, "{err}");
    assert!(err.contains("2 training images have the same pixels as one of another class"), "{err}");
}

#[test]
fn an_importance_of_too_few_images_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "supernet.channels=4",
        "supernet.cells_per_stage=1",
        "training.max_steps_per_epoch=1",
        "strategy.hpe-darts.warmup_epochs=1",
        "strategy.hpe-darts.prune_epochs=1",
        "strategy.hpe-darts.pop=[4]",
        "strategy.hpe-darts.soft_importance=loss",
        "strategy.hpe-darts.hard_importance=loss",
    ];
    let told = |images: &str| {
        let images = format!("strategy.hpe-darts.importance.images={images}");
        let settings = settings.iter().chain([&*images].iter()).flat_map(|s| ["--set", *s]).collect::<Vec<_>>();
        let mut search = program(folder.path());
        let (code, _, err) =
            output(search.current_dir(folder.path()).args(["search", "--threads", "1"]).args(settings));
        assert_eq!(code, 0, "{err}");
        err.contains("measured on 1 of D_val, fewer images than the 10 classes")
    };
    assert!(told("1") && !told("16"));
}

/// A run of labels that have nothing to do with the images, and of a learning rate that moves nothing.
#[test]
fn a_run_that_learns_nothing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // Labels from the high bits of a product: no pattern in the pictures.
    cifar(folder.path(), |i| (i as u64, ((i as u64).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 60) as u8 % 10));
    let in_folder = |args: &[&str]| {
        let (code, out, err) = output(program(folder.path()).current_dir(folder.path()).args(args));
        assert_eq!(code, 0, "{args:?}: {err}");
        (serde_json::from_str::<Value>(out.lines().last().unwrap()).unwrap(), err)
    };
    let data = ["--dataset", "cifar10", "--data", ".", "--set", "data.verify=false", "--set", "data.downsample=4"];
    let small = ["--threads", "1", "--json", "--set", "training.batch_size=10", "--set"];
    let search = ["search", "--strategy", "darts", "--set", "strategy.darts.epochs=2", "--set", "supernet.channels=4"];
    let train = ["retrain", "1835", "--epochs", "1", "--set", "network.channels=4"];
    let cells = [["supernet.cells_per_stage=1", "--out", "s"], ["network.cells=1", "--out", "t"]];
    for (begin, cells, out) in [(&search[..], cells[0], "s"), (&train, cells[1], "t")] {
        let (result, err) = in_folder(&[begin, &data, &small, &cells].concat());
        let warning = result["warnings"][0].as_str().unwrap_or_else(|| panic!("{result}"));
        assert!(warning.starts_with("nothing was learned: the training accuracy stayed at chance in "), "{warning}");
        assert!(warning.contains(" % at best (epoch ") && warning.contains(" where guessing reaches "), "{warning}");
        assert_eq!(err.matches(&format!("warning: {warning}")).count(), 1, "{err}");
        // The result keeps it.
        let (again, err) = in_folder(&["resume", out, "--json"]);
        assert_eq!(again["warnings"], result["warnings"]);
        assert_eq!(err.matches(&format!("warning: {warning}")).count(), 1, "{err}");
    }
    // One that learns has nothing to be warned of.
    let digits =
        ["retrain", "1835", "--epochs", "2", "--threads", "1", "--json", "--set", "network.channels=4", "--set"];
    let (result, err) = in_folder(&[&digits[..], &["network.cells=1"]].concat());
    assert!(result["warnings"] == serde_json::json!([]) && !err.contains("warning:"), "{err}");
}
