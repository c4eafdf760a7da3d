//! Short searches give the bits that are recorded in `guard.json`, with every instruction set of this machine.
//!
//! The bits follow from the settings, the data and the instruction set, and from `exp`, `ln` and `cos` of the C library,
//! which are the only functions that are not defined to the last bit: the recorded values hold for glibc on x86-64 with
//! FMA, elsewhere the test is skipped. The number of threads and the sizes of caches have no influence.

use std::{collections::BTreeMap, fs, path::Path};

use engine::Isa;
use serde_json::{Value, json};

use crate::common::{data_file, output, program};

/// Name and settings of each search.
const SEARCHES: [(&str, &[&str]); 3] = [
    (
        "digits, hpe-darts",
        &[
            "--strategy=hpe-darts",
            "--set=supernet.channels=8",
            "--set=supernet.cells_per_stage=2",
            "--set=training.batch_size=36",
            "--set=training.max_steps_per_epoch=3",
            "--set=strategy.hpe-darts.warmup_epochs=2",
            "--set=strategy.hpe-darts.prune_epochs=2",
            "--set=strategy.hpe-darts.pop=[2,1,1]",
            "--set=strategy.hpe-darts.soft_importance=['accuracy','net-perf-proxy','naswot']",
            "--set=strategy.hpe-darts.hard_importance=['naswot','accuracy','net-perf-proxy']",
            "--set=strategy.hpe-darts.importance.images=72",
            "--set=strategy.hpe-darts.importance.proxy_batch_size=24",
        ],
    ),
    (
        "digits, darts",
        &[
            "--strategy=darts",
            "--set=supernet.channels=20",
            "--set=supernet.cells_per_stage=1",
            "--set=training.batch_size=13",
            "--set=training.max_steps_per_epoch=4",
            "--set=training.nesterov=true",
            "--set=strategy.darts.epochs=4",
            "--set=strategy.darts.warmup_epochs=1",
        ],
    ),
    (
        CIFAR10,
        &[
            "--strategy=hpe-darts",
            "--dataset=cifar10",
            "--set=data.verify=false",
            "--set=supernet.channels=16",
            "--set=supernet.cells_per_stage=1",
            "--set=training.batch_size=32",
            "--set=training.max_steps_per_epoch=2",
            "--set=strategy.hpe-darts.warmup_epochs=1",
            "--set=strategy.hpe-darts.prune_epochs=2",
            "--set=strategy.hpe-darts.pop=[4]",
            "--set=strategy.hpe-darts.soft_importance=accuracy",
            "--set=strategy.hpe-darts.hard_importance=net-perf-proxy",
            "--set=strategy.hpe-darts.importance.images=32",
            "--set=strategy.hpe-darts.importance.proxy_batch_size=16",
        ],
    ),
];

/// The one that needs data.
const CIFAR10: &str = "cifar10, hpe-darts";

/// What a search leaves: the hash of each line of its events, and the hash of its weights.
#[derive(Debug, PartialEq)]
struct Bits {
    events: Vec<String>,
    weights: String,
}

/// 64 bits of FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Lines of the events, without the version of the program.
fn events(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut start: Value = serde_json::from_str(&lines[0]).unwrap();
    start.as_object_mut().unwrap().remove("program").expect("the first event names the program's version");
    lines[0] = start.to_string();
    lines
}

/// Hash of names, shapes and values of all tensors, whatever their order in the file.
fn weights(run: &Path) -> String {
    let bytes = fs::read(run.join("checkpoint/weights.safetensors")).unwrap();
    let (length, rest) = bytes.split_at(8);
    let (header, values) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let tensors: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
    let mut all = vec![];
    for (name, tensor) in tensors.iter().filter(|(name, _)| *name != "__metadata__") {
        let at = |i: usize| tensor["data_offsets"][i].as_u64().unwrap() as usize;
        all.extend_from_slice(format!("{name} {} {}\n", tensor["dtype"], tensor["shape"]).as_bytes());
        all.extend_from_slice(&values[at(0)..at(1)]);
    }
    format!("{:016x}", hash(&all))
}

/// What differs, in words; `None` if nothing does.
fn difference(lines: &[String], bits: &Bits, recorded: &Value) -> Option<String> {
    let before: Vec<&str> = recorded["events"].as_str()?.split(' ').collect();
    let mut parts = vec![];
    if let Some(line) =
        (0..before.len().max(lines.len())).find(|&i| before.get(i) != bits.events.get(i).map(|s| &**s).as_ref())
    {
        let text = lines.get(line).map_or("(there is none)", |l| l);
        parts.push(format!(
            "events.jsonl from line {} of {} (recorded: {}) on:\n    {text}",
            line + 1,
            lines.len(),
            before.len()
        ));
    }
    if recorded["weights"] != bits.weights.as_str() {
        parts.push("the final weights".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join("\n  "))
}

#[test]
#[allow(clippy::print_stderr)] // a skipped test must be seen
fn searches_give_the_recorded_bits() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))
        || !Isa::available().contains(&Isa::Avx2)
    {
        eprintln!("SKIPPED: the recorded bits are those of x86-64 with AVX2 and FMA under glibc");
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/guard.json");
    let update = std::env::var_os("UPDATE_GUARD").is_some();
    let mut recorded: Value = fs::read_to_string(&path).map_or(json!({}), |text| serde_json::from_str(&text).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut differences = vec![];
    for (name, settings) in SEARCHES {
        let archive = if name == CIFAR10 { data_file("cifar-10-binary.tar.xz") } else { None };
        if name == CIFAR10 && archive.is_none() {
            assert!(!update, "the guard is recorded where CIFAR-10 is");
            continue;
        }
        for isa in Isa::available() {
            let out = folder.path().join(format!("{name}, {isa}"));
            let mut command = program(folder.path());
            command.env("HPE_DARTS_SIMD", isa.to_string()).args(["search", "--seed=3", "--threads=2"]).args(settings);
            if let Some(archive) = &archive {
                command.arg("--data").arg(archive);
            }
            let (code, _, stderr) = output(command.arg("--out").arg(&out));
            assert_eq!(code, 0, "{name} with {isa}: {stderr}");
            let lines = events(&out);
            let hashes = lines.iter().map(|line| format!("{:08x}", hash(line.as_bytes()) as u32)).collect();
            let bits = Bits { events: hashes, weights: weights(&out) };
            let entry = &mut recorded[name][isa.to_string()];
            if update {
                *entry = json!({ "events": bits.events.join(" "), "weights": bits.weights });
            } else if entry.is_null() {
                differences.push(format!("{name} with {isa}: nothing is recorded"));
            } else if let Some(what) = difference(&lines, &bits, entry) {
                differences.push(format!("{name} with {isa}:\n  {what}"));
            }
        }
    }
    if update {
        fs::write(&path, serde_json::to_string_pretty(&recorded).unwrap() + "\n").unwrap();
        return;
    }
    assert!(
        differences.is_empty(),
        "searches no longer give the recorded bits:\n{}\n\nA run that was begun before cannot be resumed to the same result, \
         and published numbers do not repeat. If the change was to leave the arithmetic and its order as they are, it is \
         wrong. If it was meant to change them, record the guard anew in the same commit and say so in its message: \
         UPDATE_GUARD=1 cargo test -p hpe-darts --test suite guard",
        differences.join("\n")
    );
}
