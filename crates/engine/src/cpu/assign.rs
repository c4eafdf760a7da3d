//! Gives the values of a plan their memory: one buffer each where a backward pass follows, else each buffer to one value after the
//! other.

use super::buffers::{Buffers, Free};
use super::group::Group;
use super::plan::{Origin, Plan};
use super::pool::PoolGroup;
use super::unit::Units;

impl Plan {
    /// Gives sources and outputs their buffers.
    pub(super) fn assign(&mut self, units: &Units) {
        let count = self.sources.len();
        // The pass in which a source is read for the last time, as it is or as what its units leave.
        let mut last: Vec<usize> = (0..count).collect();
        let mut last_output = vec![0; units.len()];
        for (s, last) in last.iter_mut().enumerate() {
            *last = self.readers(s).fold(s, usize::max);
            // A source that is read through its normalisation keeps the output in use.
            if let Origin::Unit { unit, stored: false, .. } = self.sources[s].origin {
                last_output[unit] = last_output[unit].max(*last);
            }
        }
        for (unit, target) in self.targets.iter().enumerate() {
            last_output[unit] = last_output[unit].max(target.unwrap_or(0));
        }
        for group in self.sources.iter().flat_map(|s| &s.groups) {
            if let Group::Pool(PoolGroup { members, .. }) = group {
                let end = members.iter().map(|&unit| last_output[unit]).fold(0, usize::max);
                last_output[members[0]] = end;
            }
        }
        // The batch normalisation of a source has no output of its own and reads the source instead.
        for s in (0..count).rev() {
            let through = self.sources[s].norms.iter().map(|&n| last[n]).fold(last[s], usize::max);
            last[s] = through;
        }
        self.keep = Buffers { sources: vec![None; count], units: vec![None; units.len()], lens: vec![] };
        self.pass = self.keep.clone();
        let mut free = Free::default();
        let mut ends: Vec<(usize, usize)> = vec![];
        for (s, source) in self.sources.iter().enumerate() {
            let written = match source.origin {
                Origin::Image | Origin::Concat(_) => false,
                Origin::Mix { .. } => true,
                Origin::Unit { stored, .. } => stored,
            };
            let outputs = source.groups.iter().flat_map(|g| g.outputs());
            let own = written.then_some((None, source.plane.len(), last[s]));
            let outputs = outputs.map(|&u| (Some(u), units[u].to.len(), last_output[u]));
            for (unit, len, end) in own.into_iter().chain(outputs) {
                let (kept, passing) = (self.keep.lens.len(), free.take(&mut self.pass.lens, len));
                self.keep.lens.push(len);
                ends.push((end, passing));
                match unit {
                    None => (self.keep.sources[s], self.pass.sources[s]) = (Some(kept), Some(passing)),
                    Some(u) => (self.keep.units[u], self.pass.units[u]) = (Some(kept), Some(passing)),
                }
            }
            ends.retain(|&(end, buffer)| {
                if end <= s {
                    free.give(buffer);
                }
                end > s
            });
        }
        self.assign_grads();
        self.share();
        for group in self.sources.iter().flat_map(|s| &s.groups) {
            if let Group::Pool(PoolGroup { members, .. }) = group {
                for buffers in [&mut self.keep, &mut self.pass] {
                    members.iter().for_each(|&unit| buffers.units[unit] = buffers.units[members[0]]);
                }
            }
        }
    }

    /// Gradients are needed from the pass of their source on, backwards, to that of the first source that it reads.
    fn assign_grads(&mut self) {
        let count = self.sources.len();
        let mut first: Vec<usize> = (0..count).collect();
        for source in 0..count {
            for reader in self.readers(source) {
                first[reader] = first[reader].min(source);
            }
        }
        self.grads = vec![None; count];
        let mut free = Free::default();
        let mut starts: Vec<(usize, usize)> = vec![];
        for s in (0..count).rev() {
            // The gradient of a concatenation is written as those of its parts.
            let written = match &self.sources[s].origin {
                Origin::Image => vec![],
                Origin::Mix { .. } | Origin::Unit { .. } => vec![s],
                Origin::Concat(parts) => parts.clone(),
            };
            for s in written.into_iter().filter(|&s| self.grads[s].is_none()).collect::<Vec<_>>() {
                let buffer = free.take(&mut self.grad_lens, self.sources[s].plane.len());
                self.grads[s] = Some(buffer);
                starts.push((first[s], buffer));
            }
            starts.retain(|&(start, buffer)| {
                if start >= s {
                    free.give(buffer);
                }
                start < s
            });
        }
    }

    /// A pass that keeps nothing uses the buffers of one that keeps everything: as many of them as it needs.
    fn share(&mut self) {
        let mut kept: Vec<usize> = (0..self.keep.lens.len()).collect();
        kept.sort_by_key(|&b| std::cmp::Reverse(self.keep.lens[b]));
        let mut order: Vec<usize> = (0..self.pass.lens.len()).collect();
        order.sort_by_key(|&b| std::cmp::Reverse(self.pass.lens[b]));
        let mut to = vec![0; order.len()];
        for (&passing, &kept) in order.iter().zip(&kept) {
            to[passing] = kept;
        }
        let mut lens = vec![0; self.keep.lens.len()];
        self.pass.lens.iter().zip(&to).for_each(|(&len, &kept)| lens[kept] = len);
        let Buffers { sources, units, .. } = &mut self.pass;
        sources.iter_mut().chain(units).flatten().for_each(|buffer| *buffer = to[*buffer]);
        self.pass.lens = lens;
    }
}
