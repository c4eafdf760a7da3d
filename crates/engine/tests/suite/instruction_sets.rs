//! The other tests run with the best instruction set of the machine; here the engine's run again with each lesser one.

use std::process::Command;

use hpe_darts_engine::{CpuEngines, Engines, Isa, Kernels, Options};

/// What `Isa::detect` reads.
const VARIABLE: &str = "HPE_DARTS_SIMD";

#[test]
fn every_instruction_set_passes() {
    let (_, lesser) = Isa::available().split_last().unwrap();
    for isa in lesser {
        // A process of its own: the variable is read by every network that is made.
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["conformance::", "gradients::", "laws::", "pytorch::engine", "in_use"])
            .env(VARIABLE, isa.to_string())
            .env("PROPTEST_CASES", "60")
            .env("PROPTEST_RNG_SEED", "2")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{isa}:\n{text}");
        assert!(text.contains("the_instruction_set_asked_for_is_in_use ... ok"), "{isa} ran no tests:\n{text}");
    }
}

#[test]
fn the_instruction_set_asked_for_is_in_use() {
    let asked = std::env::var(VARIABLE).ok().and_then(|name| name.parse().ok());
    let info = CpuEngines::new(Options { threads: 1, kernels: Kernels::Auto }).unwrap().info();
    assert_eq!(info.instruction_set, asked.unwrap_or(*Isa::available().last().unwrap()).to_string());
}
