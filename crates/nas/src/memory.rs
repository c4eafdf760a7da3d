//! How much memory a plan takes, and whether this machine has it.

use std::fmt;

use engine::{EngineError, Engines, Memory, NetworkSpec};
use serde::Serialize;
use sysinfo::{MemoryRefreshKind, ProcessesToUpdate, System};

/// Batches of a loader that are under way: being made, ready, in use.
const BATCHES: u64 = 5;
/// Copies of weights and momentum while a checkpoint is written: tensors, and the bytes of the file.
const COPIES: u64 = 2;

/// What a plan takes, in bytes, beside its data set, which is in memory once there is a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryNeed {
    /// The network in training.
    pub network: Memory,
    /// Batches of images.
    pub batches: u64,
    /// While a checkpoint is written.
    pub checkpoint: u64,
    /// All of it.
    pub total: u64,
}

impl MemoryNeed {
    /// Of a network that trains on batches of `train` images and is run on batches of `evaluate`, from `loaders` sources at a
    /// time.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn of(
        engines: &dyn Engines,
        spec: &NetworkSpec,
        train: usize,
        evaluate: usize,
        loaders: usize,
    ) -> Result<Self, EngineError> {
        let network = engines.memory(spec, train, evaluate)?;
        let image = (spec.image.len() * size_of::<f32>()) as u64;
        let batches = image.saturating_mul((train.max(evaluate) * loaders) as u64).saturating_mul(BATCHES);
        // Weights and momentum.
        let saved = 2 * size_of::<f32>() as u64 * spec.graph()?.parameters().map(values).sum::<u64>();
        let checkpoint = COPIES.saturating_mul(saved);
        let total = network.total().saturating_add(batches).saturating_add(checkpoint);
        Ok(Self { network, batches, checkpoint, total })
    }

    /// Whether this process can have it now.
    ///
    /// # Errors
    /// [`TooLarge`]: it cannot, whatever else ends.
    pub fn check(&self) -> Result<Fit, TooLarge> {
        Room::of_process().map_or(Ok(Fit::Unknown), |room| room.holds(self.total))
    }
}

fn values(parameter: engine::Parameter<'_>) -> u64 {
    parameter.shape.iter().map(|&side| side as u64).product()
}

impl fmt::Display for MemoryNeed {
    /// For people: all of it, and the larger parts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Memory { weights, activations, work } = self.network;
        let rest = work.saturating_add(self.batches).saturating_add(self.checkpoint);
        write!(
            f,
            "{} (weights {}, activations {}, the rest {})",
            Bytes(self.total),
            Bytes(weights),
            Bytes(activations),
            Bytes(rest)
        )
    }
}

/// Whether a plan fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It does.
    Fits,
    /// Only once other programs have given some back: so much is free, in bytes.
    Tight(u64),
    /// The system does not tell.
    Unknown,
}

/// A plan that takes more memory than there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this needs {} of memory, and there are {} for it at most ({bound})", Bytes(*.needed), Bytes(*.most))]
pub struct TooLarge {
    /// Bytes that it needs.
    pub needed: u64,
    /// Bytes that it could have.
    pub most: u64,
    /// What sets the bound.
    pub bound: Bound,
}

impl TooLarge {
    /// What the user can do.
    pub fn hint(self) -> String {
        let less = "a smaller batch (training.batch_size) or network (channels, cells) needs less";
        match self.bound {
            Bound::Machine => format!("{less}; --dry-run shows how much"),
            Bound::Group => format!("{less}, or raise the memory limit of the container"),
            Bound::AddressSpace => format!("{less}, or raise the limit: `ulimit -v`"),
        }
    }
}

/// What bounds the memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Memory and swap of the machine.
    Machine,
    /// The limit of a control group, as containers have it.
    Group,
    /// The largest address space (`ulimit -v`).
    AddressSpace,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "memory and swap of this machine",
            Self::Group => "the limit of this container",
            Self::AddressSpace => "the limit of the address space",
        })
    }
}

/// What this process can have beside what it has, in bytes.
#[derive(Clone, Copy, Debug)]
struct Room {
    free: u64,
    most: (u64, Bound),
}

impl Room {
    /// `None` where the system does not tell.
    fn of_process() -> Option<Self> {
        let pid = sysinfo::get_current_pid().ok()?;
        let mut system = System::new();
        system.refresh_memory_specifics(MemoryRefreshKind::everything());
        system.refresh_processes(ProcessesToUpdate::Some(&[pid]), false);
        let (resident, address_space) = system.process(pid).map(|p| (p.memory(), p.virtual_memory()))?;
        let total = system.total_memory();
        if total == 0 {
            return None;
        }
        let machine = total.saturating_add(system.total_swap()).saturating_sub(resident);
        let free = system.available_memory().saturating_add(system.free_swap());
        let group = system.cgroup_limits().filter(|limits| limits.total_memory < total);
        let group = group.map(|limits| (limits.total_memory.saturating_sub(limits.rss), Bound::Group));
        let limit = address_space_limit().map(|limit| (limit.saturating_sub(address_space), Bound::AddressSpace));
        let bounds = [Some((machine, Bound::Machine)), group, limit].into_iter().flatten();
        let most = bounds.min_by_key(|(bytes, _)| *bytes)?;
        Some(Self { free: free.min(most.0), most })
    }

    fn holds(self, needed: u64) -> Result<Fit, TooLarge> {
        let (most, bound) = self.most;
        match needed {
            _ if needed > most => Err(TooLarge { needed, most, bound }),
            _ if needed > self.free => Ok(Fit::Tight(self.free)),
            _ => Ok(Fit::Fits),
        }
    }
}

#[cfg(unix)]
fn address_space_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

#[cfg(not(unix))]
fn address_space_limit() -> Option<u64> {
    None
}

/// A number of bytes for people: `3.2 GB`, of 1000 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        // As it would be rounded: 999.96 kB is 1.0 MB.
        while value >= 999.95 && unit + 1 < UNITS.len() {
            value /= 1000.0;
            unit += 1;
        }
        let digits = usize::from(unit > 0 && value < 99.95);
        write!(f, "{value:.digits$} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        let text = |bytes| Bytes(bytes).to_string();
        assert_eq!([0, 999, 1000, 99_940, 99_960].map(text), ["0 bytes", "999 bytes", "1.0 kB", "99.9 kB", "100 kB"]);
        assert_eq!([999_960, 1_250_000_000, u64::MAX].map(text), ["1.0 MB", "1.2 GB", "18447 PB"]);
    }

    #[test]
    fn what_does_not_fit_is_told_from_what_does_not_fit_now() {
        let room = Room { free: 100, most: (1000, Bound::AddressSpace) };
        assert_eq!(room.holds(100), Ok(Fit::Fits));
        assert_eq!(room.holds(1000), Ok(Fit::Tight(100)));
        let error = room.holds(1001).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this needs 1.0 kB of memory, and there are 1.0 kB for it at most (the limit of the address space)"
        );
        assert!(error.hint().contains("ulimit"));
    }

    #[test]
    fn the_machine_is_asked() {
        if cfg!(target_os = "linux") {
            let room = Room::of_process().unwrap();
            assert!(room.free > 1 << 20 && room.free <= room.most.0, "{room:?}");
        }
        let all = MemoryNeed { total: u64::MAX, ..MemoryNeed::default() };
        assert!(all.check().is_err() || cfg!(not(target_os = "linux")));
    }
}
