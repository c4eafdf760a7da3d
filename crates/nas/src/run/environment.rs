use std::fs;

use serde::{Deserialize, Serialize};

/// `env.json`: what a run is computed by. Bits are promised for one engine, its kernels and one instruction set; the rest says
/// where a number comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Version of the program.
    pub version: String,
    /// Commit that the program was built from, where that was known.
    pub commit: Option<String>,
    /// Name of the engine.
    pub engine: String,
    /// Kernels that it was asked to use.
    pub kernels: String,
    /// Instruction set that it uses.
    pub instruction_set: String,
    /// Operating system.
    pub os: String,
    /// Architecture of the processor.
    pub architecture: String,
    /// The processor's name where the system tells (Linux).
    pub cpu: Option<String>,
    /// Cores that the program may use.
    pub cores: usize,
    /// Threads that it uses.
    pub threads: Option<usize>,
}

impl Environment {
    /// This process on this machine; `engine`, `kernels` and `instruction_set` are those of the engine.
    pub fn here(engine: &str, kernels: &str, instruction_set: &str, threads: Option<usize>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("HPE_DARTS_COMMIT").map(str::to_owned),
            engine: engine.to_owned(),
            kernels: kernels.to_owned(),
            instruction_set: instruction_set.to_owned(),
            os: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            cpu: cpu_name(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads,
        }
    }

    /// What of the bits' promise differs between the run's start (`self`) and `now`, as a warning; `None` where nothing does.
    /// A record of earlier versions says nothing of engine and instruction set, and nothing is said of them then.
    pub fn other_bits(&self, now: &Self) -> Option<String> {
        let pairs = [
            ("engine", &self.engine, &now.engine),
            ("kernels", &self.kernels, &now.kernels),
            ("instruction set", &self.instruction_set, &now.instruction_set),
            ("version of the program", &self.version, &now.version),
        ];
        let differ = pairs.iter().filter(|(_, then, now)| !then.is_empty() && then != now);
        let mut parts: Vec<String> = differ.map(|(what, then, now)| format!("{what} {then}, now {now}")).collect();
        if let (Some(then), Some(now)) = (&self.commit, &now.commit)
            && then != now
        {
            parts.push(format!("commit {then}, now {now}"));
        }
        if let (Some(then), Some(now)) = (&self.cpu, &now.cpu)
            && then != now
        {
            parts.push(format!("processor {then}, now {now}"));
        }
        (!parts.is_empty())
            .then(|| format!("the run began with {}: what follows may differ in the last bits", parts.join("; ")))
    }
}

fn cpu_name() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_change_the_bits_is_named() {
        let then = Environment::here("cpu", "auto", "AVX-512", Some(2));
        assert_eq!(then.other_bits(&then), None);
        assert_eq!(then.other_bits(&Environment { threads: Some(1), cores: 99, ..then.clone() }), None);
        let now = Environment { instruction_set: "AVX2".to_owned(), ..then.clone() };
        let warning = then.other_bits(&now).unwrap();
        assert!(warning.starts_with("the run began with instruction set AVX-512, now AVX2: "), "{warning}");
        // A record of an earlier version: nothing is known, nothing is said.
        let old: Environment =
            serde_json::from_str(&format!("{{\"version\":\"{}\",\"threads\":2}}", now.version)).unwrap();
        assert_eq!(old.other_bits(&now), None);
    }
}
