//! `describe`: sizes, shapes, JSON, refusals; and that a space without kernels is not searched.

use crate::common::{output, program, run};

const V1: &str = "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1), \
    ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], normal_concat=range(2, 6), \
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0), \
    ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], reduce_concat=range(2, 6))";
const ALL_NONE: &str = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|";

fn json(args: &[&str]) -> serde_json::Value {
    let (code, out, err) = run(&[&["describe", "--json"], args].concat());
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

/// The message of a refused call.
fn refused(args: &[&str]) -> String {
    let (code, out, err) = run(&[&["describe"], args].concat());
    assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {err}");
    err
}

#[test]
fn a_row_for_each_block_and_their_sum() {
    let (code, out, err) = run(&["describe", V1, "--channels", "16", "--cells", "8"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let (head, cells) = out.split_once("\n\nnormal:\n").unwrap();
    let (table, memory) = head.split_once("\n\nmemory of a training on batches of 96: ").unwrap();
    assert!(memory.contains("memory of a search (of the usual supernet) on batches of 64: 2.1 GB"), "{memory}");
    assert_eq!((cells.matches("sep_conv_3x3").count(), cells.matches("concat").count()), (5, 8), "{cells}");
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(out.lines().next(), Some(V1));
    assert_eq!(out.lines().nth(1), Some("C 16, N 8, 10 classes, RGB images of 32 x 32"));
    let blocks: Vec<&str> = lines[4..].iter().map(|l| l[0]).collect();
    assert_eq!(blocks[..2], ["stem", "cells.0"]);
    assert_eq!(blocks[8..], ["cells.7", "head", "whole"]);
    assert_eq!(lines[4][1..7].join(" "), "32 x 32 x 48 1392");
    let column = |column: usize| {
        let number = |line: &Vec<&str>| line[line.len() - column].parse::<u64>().unwrap();
        (lines[4..14].iter().map(number).sum::<u64>(), number(&lines[14]))
    };
    assert_eq!(column(2), (232_890, 232_890));
    let (sum, whole) = column(1);
    assert_eq!(sum, whole);
    let (_, layers, _) = run(&["describe", V1, "--channels", "16", "--cells", "8", "--layers"]);
    assert!(layers.contains("cells.0.edges.0.sep_conv3x3.first ") && layers.lines().count() > 100);
}

#[test]
fn the_cells_as_a_picture() {
    for (arch, cells) in [(V1, 2), (ALL_NONE, 1)] {
        let (code, out, err) = run(&["describe", arch, "--svg"]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.starts_with("<svg ") && out.ends_with("</svg>\n") && out.matches("<g ").count() == cells, "{out}");
    }
    let message = refused(&["supernet", "--svg"]);
    assert!(message.contains("a supernet has no cell to draw") && message.contains("hint: "), "{message}");
}

#[test]
fn json_has_the_counts_and_the_graph() {
    let v1 = json(&[V1]);
    assert_eq!((v1["parameters"].as_u64(), v1["space"].as_str()), (Some(3_169_414), Some("darts")));
    assert_eq!((v1["channels"].as_u64(), v1["cells"].as_u64()), (Some(36), Some(20)));
    assert_eq!(v1["genotype"].as_str(), Some(V1));
    let sum = |part: &str| v1["layers"].as_array().unwrap().iter().map(|l| l[part].as_u64().unwrap()).sum::<u64>();
    assert_eq!(Some(sum("parameters")), v1["parameters"].as_u64());
    assert_eq!(Some(sum("multiply_adds")), v1["multiply_adds"].as_u64());
    assert_eq!(v1["graph"]["layers"].as_array().unwrap().len(), v1["layers"].as_array().unwrap().len());
    // What `bench/pytorch_network.py` builds a network from.
    let layers = v1["graph"]["layers"].as_array().unwrap();
    let of = |kind: &str| layers.iter().find(|l| l["kind"] == kind).unwrap();
    let unit = of("unit");
    assert_eq!((unit["part"].as_str(), unit["name"].as_str()), (Some("stem"), Some("stem.conv")));
    assert_eq!(unit["transform"]["kind"].as_str(), Some("conv"));
    assert_eq!(unit["transform"]["stride"].as_u64(), Some(1));
    assert_eq!(unit["weights"][0]["name"].as_str(), Some("stem.conv.weight"));
    assert_eq!((unit["norm"]["name"].as_str(), unit["norm"]["affine"].as_bool()), (Some("stem.bn"), Some(true)));
    let mix = of("mix");
    assert_eq!((mix["part"]["block"].as_u64(), mix["zeros"].as_array().map(Vec::len)), (Some(0), Some(0)));
    assert_eq!((mix["weights"][1]["row"].as_u64(), mix["weights"][1]["op"].as_u64()), (Some(1), Some(4)));
    assert_eq!(v1["graph"]["blocks"][0].as_str(), Some("cells.0"));
    assert_eq!(of("concat")["inputs"].as_array().map(Vec::len), Some(4));
    assert_eq!(json(&[V1, "--classes", "100"])["parameters"].as_u64(), Some(3_221_344));
    assert_eq!(json(&["supernet", "--space", "darts"])["parameters"].as_u64(), Some(1_930_618));
    let none = json(&[ALL_NONE]);
    assert_eq!((none["parameters"].as_u64(), none["multiply_adds"].as_u64()), (Some(73_306), Some(7_783_050)));
    let index = json(&["1835"]);
    assert!(index["genotype"].as_str().unwrap().starts_with("|skip_connect~0|+|skip_connect~0|"));
    assert_eq!(json(&["1835", "--size", "16"])["graph"]["values"][0]["shape"]["height"].as_u64(), Some(16));
}

#[test]
fn what_is_no_network_is_refused() {
    for (args, part) in [
        (vec!["resnet"], "`resnet` is not an architecture"),
        (vec![""], "is not an architecture"),
        (vec!["15625"], "architecture index 15625 is out of range"),
        (vec!["1", "--space", "darts"], "that is an architecture of the space nas-bench-201, expected one of darts"),
        (vec!["1", "--space", "dart"], "did you mean `darts`?"),
        (vec!["Genotype(normal=[('sep_conv3x3', 0)])"], "did you mean `sep_conv_3x3`?"),
        (vec![r#"{"space":"darts"}"#], "genotype: as JSON: missing field `cells`"),
        (vec![V1, "--cells", "2"], "a `darts` network of 2 cells, expected 3 to 1000"),
        (vec![V1, "--channels", "0"], "expected a whole number from 1 to 65536"),
        (vec![V1, "--cells", "99999999999999999999"], "expected a whole number from 1 to 1000"),
        (vec![V1, "--classes", "0"], "expected a whole number from 1 to 1000000"),
        (vec![V1, "--size", "0"], "expected a whole number from 1 to 4096"),
        (vec![V1, "--size", "2"], "a `darts` network for images of 2 x 2, expected at least 3 x 3"),
        (vec!["1835", "--size", "1"], "a `nas-bench-201` network for images of 1 x 1, expected at least 3 x 3"),
        (vec!["1835", "--cells", "101"], "a `nas-bench-201` network of 101 cells, expected 0 to 100"),
        (vec!["supernet", "--space", "darts", "--size", "4096", "--channels", "65536", "--cells", "1000"], "too large"),
    ] {
        let message = refused(&args);
        assert!(message.contains(part), "{args:?}: {message}");
        assert!(message.starts_with("error: "), "{message}");
    }
}

#[test]
fn the_darts_space_is_searched_and_what_is_found_is_read_back() {
    let home = tempfile::tempdir().unwrap();
    for strategy in ["hpe-darts", "darts"] {
        let run = home.path().join(strategy);
        let mut args = vec!["search", "--space", "darts", "--strategy", strategy, "--out", run.to_str().unwrap()];
        args.extend(["--set", "supernet.cells_per_stage=3", "--set", "training.max_steps_per_epoch=2"]);
        args.extend(match strategy {
            "darts" => vec!["--set", "strategy.darts.epochs=2", "--set", "strategy.darts.warmup_epochs=0"],
            _ => vec![
                "--set",
                "strategy.hpe-darts.warmup_epochs=0",
                "--set",
                "strategy.hpe-darts.prune_epochs=1",
                "--set",
                "strategy.hpe-darts.importance.proxy_batch_size=8",
            ],
        });
        let (code, out, err) = output(program(home.path()).args(args));
        assert_eq!(code, 0, "{err}");
        let found = out.lines().find(|line| line.starts_with("Genotype(")).unwrap_or_else(|| panic!("{out}"));
        assert!(!found.contains("none"), "{found}");
        let (code, out, err) = output(program(home.path()).args(["describe", found, "--json"]));
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("cells.0"), "{out}");
    }
    // Operations removed from each edge of another space are refused with what this one needs.
    let pop = "strategy.hpe-darts.pop=[2, 2]";
    let (code, out, err) = output(program(home.path()).args(["search", "--space", "darts", "--set", pop]));
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("expected |O| - 1 = 7 (Eq. 6)"), "{err}");
}
