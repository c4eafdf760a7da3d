//! `query` and `table` as a user meets them, with a table of made-up numbers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use nas::{
    benchmark::{Column, FILE_NAME, Quantity},
    space::Arch,
};

const ARCH_0: &str = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|";

/// A home directory of its own.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with the made-up table.
    pub(crate) fn with_table() -> Self {
        let home = Self::new();
        let imported = home.import(CSV.as_bytes());
        assert!(imported.status.success(), "{}", text(&imported.stderr));
        home
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hpe-darts"));
        command.args(args).env("HPE_DARTS_HOME", self.0.path()).env("LC_ALL", "C");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn import(&self, csv: &[u8]) -> Output {
        let file = self.0.path().join("a.csv");
        fs::write(&file, csv).unwrap();
        self.run(&["table", "import", file.to_str().unwrap()])
    }

    fn table(&self) -> PathBuf {
        self.0.path().join(FILE_NAME)
    }

    /// The message of a command that must fail as the user's error, with nothing on standard output.
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        failure(&self.run(args))
    }
}

/// The value of a column for an index: accuracies fall with the index, sizes grow with it.
fn value(column: Column, index: usize) -> f64 {
    let tag = column as usize as f64 / 100.0;
    match column.quantity() {
        Quantity::Accuracy => 99.0 - index as f64 / 200.0 + tag,
        _ => 1.0 + index as f64 / 1000.0 + tag,
    }
}

static CSV: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = Column::ALL.iter().map(|c| c.name()).collect();
    let mut csv = format!("index,arch,{}\n", names.join(","));
    for (index, arch) in Arch::all().enumerate() {
        let values: Vec<String> = Column::ALL.iter().map(|&c| value(c, index).to_string()).collect();
        csv += &format!("{index},{arch},{}\n", values.join(","));
    }
    csv
});

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn failure(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(text(&output.stdout), "");
    assert!(!stderr.contains("panicked") && !stderr.contains("internal error"), "{stderr}");
    stderr
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn json_has_exactly_the_documented_form_by_index_and_by_string() {
    let home = Home::with_table();
    let expected = format!(
        "{{\"index\":0,\"arch\":\"{ARCH_0}\",\"params_m\":1.06,\"flops_m\":1.07,\
         \"cifar10\":{{\"valid\":99.0,\"test\":99.01}},\"cifar100\":{{\"valid\":99.02,\"test\":99.03}},\
         \"imagenet16-120\":{{\"valid\":99.04,\"test\":99.05}}}}\n"
    );
    for args in [["query", "0", "--json"], ["query", "--json", ARCH_0], ["query", " 0 ", "--json"]] {
        let output = home.run(&args);
        assert_eq!((text(&output.stdout), text(&output.stderr)), (expected.clone(), String::new()));
        assert!(output.status.success());
    }
}

#[test]
fn text_names_the_split_and_gives_the_rank() {
    let home = Home::with_table();
    let output = home.run(&["query", "1000"]);
    assert!(output.status.success());
    let shown = text(&output.stdout);
    let arch = Arch::from_index(1000).unwrap().to_string();
    assert_eq!(shown.lines().next(), Some(arch.as_str()));
    for line in [
        "index 1000",
        "2.060 M parameters, 2.07 M multiply-adds (CIFAR-10, C 16, N 5)",
        "accuracy in %, 200 epochs  valid  rank   test  rank",
        "cifar10                    94.00  1001  94.01  1001",
        "imagenet16-120             94.04  1001  94.05  1001",
    ] {
        assert!(shown.lines().any(|l| l == line), "`{line}` in\n{shown}");
    }
}

#[test]
fn without_a_table_the_error_says_how_to_get_one() {
    let home = Home::new();
    for args in [["query", "5"].as_slice(), &["query", "5", "--json"], &["table", "info"]] {
        let error = home.refused(args);
        assert!(error.contains(&format!("no NAS-Bench-201 table at {}", home.table().display())), "{error}");
        assert!(error.contains("\n\nhint: ") && error.contains("hpe-darts table import"), "{error}");
    }
}

#[test]
fn an_index_out_of_range_and_a_malformed_string_are_refused() {
    let home = Home::with_table();
    for bad in ["15625", "-1", "99999999999999999999"] {
        let error = home.refused(&["query", bad]);
        assert!(error.contains(&format!("architecture index {bad} is out of range, expected 0..=15624")), "{error}");
    }
    let error = home.refused(&["query", "|none~0|+|nor_conv_3x4~0|"]);
    assert!(error.contains("character 11: found `nor_conv_3x4`, expected an operation"), "{error}");
    assert!(error.contains("did you mean `nor_conv_3x3`?") && error.contains("\n\nhint: "), "{error}");
    let error = home.refused(&["query", &ARCH_0[..33]]);
    assert!(error.contains("character 34: the string ends, expected an operation"), "{error}");
    assert!(home.refused(&["query", ""]).contains("character 1: the string ends"));
    assert!(home.refused(&["query", "--jsn", "1"]).contains("--json"));
    home.refused(&["query"]);
}

#[test]
fn import_says_what_it_did_and_info_what_is_there() {
    let home = Home::new();
    let renamed = CSV.replacen("imagenet16_test_v11", "colour", 1);
    let output = home.import(renamed.as_bytes());
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "note: ignored columns: colour\n");
    let size = fs::metadata(home.table()).unwrap().len();
    let place = home.table().display().to_string();
    assert_eq!(
        text(&output.stdout),
        format!("imported 15625 architectures, {} columns, {size} bytes: {place}\n", Column::ALL.len() - 1)
    );

    let info = text(&home.run(&["table", "info"]).stdout);
    assert!(info.contains(&place) && info.contains("15625 architectures") && info.contains("cifar10_valid_12"));
    let json: serde_json::Value = serde_json::from_slice(&home.run(&["table", "info", "--json"]).stdout).unwrap();
    assert_eq!(json["path"], place);
    assert_eq!(json["bytes"], size);
    assert_eq!(json["columns"].as_array().unwrap().len(), Column::ALL.len() - 1);
    let best =
        serde_json::json!({"dataset": "cifar10", "split": "valid", "accuracy": 99.0, "index": 0, "arch": ARCH_0});
    assert_eq!(json["best"][0], best);
}

#[test]
fn a_file_that_is_no_whole_table_is_refused_and_the_old_table_stays() {
    let home = Home::with_table();
    let before = fs::read(home.table()).unwrap();
    let line = |n: usize| CSV.lines().nth(n).unwrap();
    let cut: String = CSV.lines().take(100).map(|l| format!("{l}\n")).collect();
    for (csv, expected) in [
        (
            CSV.replacen("cifar100_test,", "cifar100_tset,", 1),
            "missing column `cifar100_test` (the header has `cifar100_tset`)",
        ),
        (
            CSV.replacen("|,99,", "|,NaN,", 1),
            "line 2, column `cifar10_valid`: found `NaN`, expected a percentage in 0..=100",
        ),
        (CSV.replacen("|,99,", "|,990,", 1), "found `990`"),
        (format!("{}{}\n", *CSV, line(8)), "lines 9 and 15627 both hold index 7"),
        (CSV.replacen(&format!("{}\n", line(8)), "", 1), "15624 of 15625 architectures: the row of index 7 is missing"),
        (cut, "99 of 15625 architectures: the row of index 99 is missing, and 15525 more"),
        (CSV.replacen("\n0,", "\n1,", 1), "line 2: the architecture with index 1 is `|"),
        (String::new(), "missing column `index`"),
    ] {
        let error = failure(&home.import(csv.as_bytes()));
        assert!(error.contains(expected), "`{expected}` in {error}");
        assert!(error.starts_with(&format!("error: {} is not imported", home.0.path().join("a.csv").display())));
    }
    assert!(home.refused(&["table", "import", "no/such.csv"]).contains("cannot read no/such.csv"));
    assert_eq!(fs::read(home.table()).unwrap(), before);
    assert_eq!(files(home.0.path()), ["a.csv", FILE_NAME]);
}

#[test]
fn a_damaged_foreign_or_newer_table_is_refused_with_advice() {
    let home = Home::with_table();
    let good = fs::read(home.table()).unwrap();
    let mut flipped = good.clone();
    flipped[1_000_000] ^= 1;
    let mut newer = good.clone();
    newer[8] = 2;
    for (bytes, expected, advice) in [
        (
            good[..good.len() / 2].to_vec(),
            "is damaged: it has 1875732 bytes, but its header implies 3751464",
            "import it again",
        ),
        (flipped, "is damaged: its checksum does not match its content", "import it again"),
        (vec![], "is damaged: it is empty", "import it again"),
        (CSV.clone().into_bytes(), "is not a NAS-Bench-201 table", "import it again"),
        (newer, "has format version 2; this program reads up to 1", "update hpe-darts"),
    ] {
        fs::write(home.table(), bytes).unwrap();
        let error = home.refused(&["query", "1", "--json"]);
        assert!(error.contains(expected) && error.contains(&format!("\n\nhint: {advice}")), "{error}");
    }
}

#[test]
fn a_home_that_cannot_be_written_is_an_error() {
    let home = Home::new();
    let csv = home.0.path().join("a.csv");
    fs::write(&csv, CSV.as_bytes()).unwrap();
    // A file where the folder should be: refused for root as well.
    let output =
        home.command(&["table", "import", csv.to_str().unwrap()]).env("HPE_DARTS_HOME", &csv).output().unwrap();
    let error = failure(&output);
    assert!(error.contains("cannot write the table") && error.contains("\n\nhint: "), "{error}");
    assert_eq!(fs::read(&csv).unwrap(), CSV.as_bytes());
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let home = Home::with_table();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = home.command(&["query", "1"]).stdout(Stdio::from(writer)).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn one_query_takes_less_than_a_tenth_of_a_second() {
    let home = Home::with_table();
    let fastest = (0..10).map(|_| {
        let start = Instant::now();
        assert!(home.run(&["query", "77", "--json"]).status.success());
        start.elapsed()
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}
