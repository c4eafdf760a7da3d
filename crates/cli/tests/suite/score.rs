//! `score`: arguments, JSON, correlations, interrupt.

use crate::common::run;

const ALL_CONV: &str =
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|";
const ALL_NONE: &str = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|";

#[test]
fn json_is_a_pure_array_of_the_documented_objects() {
    let (code, out, _) = run(&["score", "--proxy", "params", "--arch", ALL_CONV, ALL_NONE, "--json"]);
    assert_eq!(code, 0);
    let scores: serde_json::Value = serde_json::from_str(&out).unwrap();
    let scores = scores.as_array().unwrap();
    assert_eq!(scores.len(), 2);
    for (got, (arch, params)) in scores.iter().zip([(ALL_CONV, 1.531_546), (ALL_NONE, 0.073_306)]) {
        let keys: Vec<_> = got.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["arch", "score", "seconds"]);
        assert_eq!((got["arch"].as_str(), got["score"].as_f64()), (Some(arch), Some(params)));
        assert!(got["seconds"].as_f64().unwrap() >= 0.0);
    }
}

#[test]
fn all_scores_come_with_their_costs() {
    let args = ["score", "--all", "--arch", ALL_CONV, ALL_NONE, "--channels", "4", "--cells", "1", "--batch", "8"];
    let (code, out, err) = run(&[&args[..], &["--json"]].concat());
    assert_eq!(code, 0, "{err}");
    let all: serde_json::Value = serde_json::from_str(&out).unwrap();
    let names: Vec<&str> = nas::proxy::all().iter().map(|p| p.name()).collect();
    for (arch, expected) in all["architectures"].as_array().unwrap().iter().zip([ALL_CONV, ALL_NONE]) {
        assert_eq!(arch["arch"], expected);
        assert_eq!(arch["scores"].as_object().unwrap().keys().collect::<Vec<_>>(), names);
    }
    let (conv, none) = (&all["architectures"][0]["scores"], &all["architectures"][1]["scores"]);
    // Two networks: ranks 2 and 1 in expressivity, progressivity, trainability and FLOPs.
    assert_eq!(conv["az-nas"], 0.0);
    assert!((none["az-nas"].as_f64().unwrap() - 4.0 * 0.5f64.ln()).abs() < 1e-12, "{none}");
    for proxy in ["grad-norm", "snip", "synflow", "swap"] {
        assert!(conv[proxy].as_f64().unwrap() > 0.0, "{conv}");
        assert!(none[proxy].as_f64().unwrap() < conv[proxy].as_f64().unwrap(), "{none}");
    }
    for (proxy, name) in all["proxies"].as_array().unwrap().iter().zip(&names) {
        assert_eq!(proxy["proxy"], *name);
        assert!(proxy["seconds"].as_f64().unwrap() > 0.0 && proxy["correlations"].is_null(), "{proxy}");
    }
    let (code, out, _) = run(&args);
    assert_eq!(code, 0);
    for part in names.iter().copied().chain([ALL_CONV, "seconds per architecture"]) {
        assert!(out.contains(part), "no {part} in {out}");
    }
    assert!(!out.contains("Spearman"), "{out}");
}

#[test]
fn sizes_follow_the_options() {
    let score = |extra: &[&str]| {
        let args = [&["score", "--proxy", "flops", "--arch", ALL_NONE, "--json"], extra].concat();
        let (code, out, err) = run(&args);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()[0]["score"].as_f64().unwrap()
    };
    assert_eq!(score(&[]), 7.783_05);
    assert_eq!(score(&["--dataset", "cifar100"]), 7.788_9);
    assert!(score(&["--channels", "32"]) > 3.5 * score(&[]));
    assert!(score(&["--dataset", "digits"]) < score(&[]) / 10.0);
}

#[test]
fn a_sample_repeats_with_its_seed() {
    let sample = |seed: &str| {
        let (code, out, _) = run(&["score", "--proxy", "params", "--sample", "40", "--seed", seed]);
        assert_eq!(code, 0);
        let archs: Vec<String> = out.lines().map(|line| line.split_whitespace().last().unwrap().to_owned()).collect();
        let distinct: std::collections::BTreeSet<_> = archs.iter().collect();
        assert_eq!(distinct.len(), 40);
        archs
    };
    assert_eq!(sample("3"), sample("3"));
    assert_ne!(sample("3"), sample("4"));
}

#[test]
fn bad_arguments_say_what_is_wrong_and_what_would_be_right() {
    let broken = "|nor_conv_3x3~0|+|nor_conv_3x4~0|nor_conv_3x3~1|+|none~0|none~1|none~2|";
    for (args, parts) in [
        (&["--proxy", "naswt", "--sample", "3"][..], &["`naswt`", "did you mean `naswot`?"][..]),
        (&["--proxy", "params", "--sample", "0"], &["'0'", "from 1 to 15625"]),
        (&["--proxy", "params", "--sample", "15626"], &["'15626'", "from 1 to 15625"]),
        (&["--proxy", "params", "--arch", broken], &["character 19", "nor_conv_3x4", "nor_conv_3x3"]),
        (&["--proxy", "params"], &["--arch", "--sample"]),
        (&["--proxy", "params", "--arch", ALL_NONE, "--sample", "3"], &["cannot be used with"]),
        (&["--sample", "3"], &["--proxy", "--all"]),
        (&["--proxy", "params", "--all", "--sample", "3"], &["cannot be used with"]),
        (&["--proxy", "params", "--sample", "3", "--threads", "0"], &["'0'", "from 1 to 1024"]),
        (&["--proxy", "naswot", "--sample", "3", "--batch", "1"], &["'1'", "from 2 to 4096"]),
        (&["--proxy", "naswot", "--sample", "3", "--batch", "2000"], &["2000", "1437"]),
        (&["--proxy", "naswot", "--sample", "3", "--dataset", "cifar-10"], &["did you mean `cifar10`?"]),
        (
            &["--proxy", "naswot", "--sample", "3", "--dataset", "cifar10"],
            &["\n\nhint: `hpe-darts data fetch cifar10`"],
        ),
        (&["--proxy", "naswot", "--sample", "3", "--dataset", "cifar10", "--data", "no/such"], &["no/such", "hint: "]),
        (&["--proxy", "naswot", "--sample", "3", "--data", "no/such"], &["cifar10: no such file or folder: no/such"]),
        (&["--proxy", "params", "--sample", "3", "--seed", "-1"], &["-1"]),
    ] {
        let (code, out, err) = run(&[&["score"], args].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {err}");
        assert!(err.starts_with("error: "), "{args:?}: {err}");
        for part in parts {
            assert!(err.contains(part), "{args:?}: no {part:?} in {err}");
        }
    }
}

#[test]
fn correlations_are_those_of_scipy() {
    let Some(csv) = crate::common::data_file("nas-bench-201.csv.gz") else { return };
    let home = tempfile::tempdir().unwrap();
    let table = home.path().join(nas::benchmark::FILE_NAME);
    nas::benchmark::import(&csv).unwrap().table.save(&table).unwrap();
    let run = |extra: &[&str]| {
        let args = [&["score", "--proxy", "flops", "--sample", "15625"], extra].concat();
        let output = crate::common::program(home.path()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // scipy.stats.spearmanr and kendalltau of the columns flops_m and params_mb with each accuracy, all rows.
    let expected = "
Rank correlation of flops with the accuracy after 200 epochs, 15625 architectures:
accuracy              spearman  kendall  params: spearman  kendall
cifar10 valid            0.711    0.534             0.711    0.534
cifar10 test             0.753    0.578             0.753    0.578
cifar100 valid           0.725    0.551             0.725    0.551
cifar100 test            0.728    0.553             0.728    0.553
imagenet16-120 valid     0.679    0.508             0.679    0.508
imagenet16-120 test      0.692    0.520             0.692    0.520
";
    let (out, err) = run(&[]);
    assert!(out.ends_with(expected), "{}", &out[out.len() - 600..]);
    assert_eq!(err, "");
    let (out, err) = run(&["--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap().as_array().unwrap().len(), 15_625);
    assert_eq!(err, expected.trim_start());

    std::fs::write(&table, b"no table").unwrap();
    let (out, err) = run(&[]);
    assert_eq!(out.lines().count(), 15_625);
    assert!(err.starts_with("note: no correlations: "), "{err}");
}

/// Nothing reaches the output: 3<-0 is `none` and node 1, 2 lead nowhere.
const CUT_OFF: &str = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|none~1|none~2|";

#[test]
fn a_network_without_a_path_scores_null_and_threads_do_not_matter() {
    for proxy in ["naswot", "net-perf-proxy"] {
        let score = |extra: &[&str]| {
            let small = ["--arch", CUT_OFF, ALL_NONE, ALL_CONV, "--channels", "4", "--cells", "1", "--json"];
            let (code, out, err) = run(&[&["score", "--proxy", proxy], &small[..], extra].concat());
            assert_eq!(code, 0, "{err}");
            let scores: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert!(scores[0]["score"].is_null() && scores[1]["score"].is_null(), "{out}");
            scores[2]["score"].as_f64().unwrap()
        };
        let one = score(&["--threads", "1"]);
        assert!(one > 0.0);
        assert_eq!(score(&["--threads", "2"]), one);
        assert_ne!(score(&["--seed", "1"]), one);
        assert_ne!(score(&["--batch", "32"]), one);
    }
}

#[test]
#[cfg(unix)]
fn an_interrupt_keeps_the_scores_so_far() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};

    let home = tempfile::tempdir().unwrap();
    let mut child = crate::common::program(home.path())
        .args(["score", "--proxy", "naswot", "--sample", "15625", "--cells", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let scored = 1 + lines.inspect(|line| assert!(line.as_ref().unwrap().ends_with('|'))).count();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{err}");
    assert!(scored < 15_625);
    assert!(err.ends_with(&format!("interrupted: {scored} architectures scored\n")), "{err}");
}
