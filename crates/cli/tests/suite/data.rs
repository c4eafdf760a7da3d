//! `data fetch` and `data check` as a user runs them.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
};

use crate::common::{program, run};

/// `n` records of CIFAR-10, labels in turn.
fn records(n: usize) -> Vec<u8> {
    (0..n).flat_map(|i| std::iter::once((i % 10) as u8).chain((0..3072).map(move |p| (i + p) as u8))).collect()
}

/// A small set of our own in CIFAR-10's layout: 20 images a file.
fn small_cifar10(folder: &Path) {
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        fs::write(folder.join(format!("{name}.bin")), records(20)).unwrap();
    }
}

#[test]
fn check_describes_the_built_in_data_set() {
    let (code, out, err) = run(&["data", "check"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("digits: built in\nimages 8x8x1, 1437 train, 360 test\n"), "{out}");
    assert!(out.contains("\nsplit half (seed 0): 718 train, 719 valid\n"), "{out}");

    let (code, out, _) = run(&["data", "check", "--json", "--split", "first-half"]);
    assert_eq!((code, out.lines().count()), (0, 1));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["location"], serde_json::Value::Null);
    assert_eq!(report["verification"], "built-in");
    assert_eq!(report["image"], serde_json::json!([8, 8, 1]));
    assert_eq!(report["split"], serde_json::json!({"kind": "first-half", "train": 718, "valid": 719}));
    let classes = report["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 10);
    assert_eq!(classes.iter().map(|c| c["train"].as_u64().unwrap()).sum::<u64>(), 1437);
    // Mean of all pixel values of `load_digits` is 4.884 of 16; the training part lies near it.
    assert!((report["mean"][0].as_f64().unwrap() - 4.884 / 16.0).abs() < 0.01, "{out}");
}

#[test]
fn check_accepts_a_set_of_ones_own_only_when_told() {
    let folder = tempfile::tempdir().unwrap();
    small_cifar10(folder.path());
    let data = folder.path().to_str().unwrap();
    let (code, out, err) = run(&["data", "check", "--data", data]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(
        err,
        "error: data_batch_1.bin has 61460 bytes, expected 30730000\n\n\
         hint: --no-verify accepts your own data (in a search: --set data.verify=false)\n"
    );
    let (code, out, err) = run(&["data", "check", "--data", data, "--no-verify"]);
    let repeated = "20 of 20 test images are training images too (the same pixels): the test accuracy is too good\n";
    assert_eq!((code, err.as_str()), (0, repeated));
    assert!(out.contains("images 32x32x3, 100 train, 20 test"), "{out}");
    assert!(out.lines().any(|line| line.split_whitespace().eq(["truck", "10", "2"])), "{out}");

    let mut bytes = records(20);
    bytes[3 * 3073] = 200;
    fs::write(folder.path().join("data_batch_4.bin"), &bytes).unwrap();
    let (code, _, err) = run(&["data", "check", "--data", data, "--no-verify"]);
    assert_eq!((code, err.as_str()), (1, "error: data_batch_4.bin: record 3 has label 200, expected 0 to 9\n"));

    bytes.truncate(10_000);
    fs::write(folder.path().join("data_batch_4.bin"), &bytes).unwrap();
    let (code, _, err) = run(&["data", "check", "--data", data, "--no-verify"]);
    assert_eq!(code, 1);
    assert!(err.contains("data_batch_4.bin has 10000 bytes, which is not a whole number of records"), "{err}");
}

#[test]
fn missing_data_says_how_to_get_it() {
    let (code, out, err) = run(&["data", "check", "--data", "/nowhere/at/all"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(
        err,
        "error: cifar10: no such file or folder: /nowhere/at/all\n\n\
         hint: `hpe-darts data fetch cifar10` downloads it, `--data DIR` says where it is\n"
    );
    let (code, _, err) = run(&["data", "check", "--dataset", "cifar100"]);
    assert_eq!(code, 1);
    assert!(err.contains("found neither train.bin nor cifar-100-binary.tar.gz"), "{err}");
    let (code, _, err) = run(&["data", "check", "cifar10", "--dataset", "cifar10"]);
    assert_eq!(code, 1);
    assert!(err.contains("cannot be used with"), "{err}");
    assert_eq!(run(&["data", "check", "digits"]), run(&["data", "check"]));
    let (code, _, err) = run(&["data", "check", "--dataset", "cifar-10"]);
    assert_eq!(code, 1);
    assert!(err.contains("did you mean `cifar10`?"), "{err}");
    let (code, _, err) = run(&["data", "check", "--split", "benchmrk"]);
    assert_eq!(code, 1);
    assert!(err.contains("did you mean `benchmark`?"), "{err}");
    let (code, _, err) = run(&["data", "check", "--split", "benchmark"]);
    assert_eq!(code, 1);
    assert!(err.contains("made for cifar10 with 50000 training images, not for digits with 1437"), "{err}");
}

/// Answers every request with the same bytes.
fn server(response: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/mirror/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(response);
        }
    });
    address
}

fn fetch(base: &str, home: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = program(home).env("HPE_DARTS_FETCH_BASE", base).args(["data", "fetch"]).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn fetch_failures_leave_nothing_and_say_why() {
    let home = tempfile::tempdir().unwrap();
    let downloads = home.path().join("datasets");
    let nothing_left = || fs::read_dir(&downloads).unwrap().count() == 0;

    let base = server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let (code, out, err) = fetch(&base, home.path(), &["cifar10"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let url = format!("{base}cifar-10-binary.tar.gz");
    assert_eq!(err, format!("error: cannot download {url}: the server answered 404 Not Found\n"));
    assert!(nothing_left());

    let base = server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    let (code, out, err) = fetch(&base, home.path(), &["cifar100", "--json"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains("MD5 expected 03b5dce01913d631647c71ecec9e9cb8, found 5d41402abc4b2a76b9719d911017c592"),
        "{err}"
    );
    assert!(nothing_left());

    let (code, _, err) = fetch("http://127.0.0.1:9", home.path(), &["cifar10", "--to", downloads.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(err.starts_with("error: cannot download http://127.0.0.1:9/cifar-10-binary.tar.gz: "), "{err}");
    assert!(nothing_left());

    // A connection that breaks keeps what has come.
    let base = server(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nhello");
    let (code, _, err) = fetch(&base, home.path(), &["cifar10"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("hint: what was downloaded is kept: run the same command again to continue"), "{err}");
    assert_eq!(fs::read(downloads.join("cifar-10-binary.tar.gz.part")).unwrap(), b"hello");

    let (code, _, err) = fetch(&base, home.path(), &["digits"]);
    assert_eq!((code, err.as_str()), (Some(1), "error: digits is built in; there is nothing to download\n"));
}
