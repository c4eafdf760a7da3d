//! Which memory the values of a pass lie in.

/// Which buffer holds what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers {
    /// Of each source that is written as it is.
    pub(crate) sources: Vec<Option<usize>>,
    /// Of each unit's output before normalisation.
    pub(crate) units: Vec<Option<usize>>,
    /// Values an image of each buffer needs.
    pub(crate) lens: Vec<usize>,
}

/// Buffers that are free for reuse.
#[derive(Debug, Default)]
pub(super) struct Free(Vec<usize>);

impl Free {
    /// A buffer for `len` values: the best that is free, a new one else.
    pub(super) fn take(&mut self, lens: &mut Vec<usize>, len: usize) -> usize {
        let fits = |&i: &usize| lens[self.0[i]] >= len;
        let all = 0..self.0.len();
        // Of those that fit alike the one that was freed last, which is still in the cache.
        let best = all.clone().rev().filter(fits).min_by_key(|&i| lens[self.0[i]]);
        match best.or_else(|| all.max_by_key(|&i| lens[self.0[i]])) {
            Some(i) => {
                let buffer = self.0.remove(i);
                lens[buffer] = lens[buffer].max(len);
                buffer
            }
            None => {
                lens.push(len);
                lens.len() - 1
            }
        }
    }

    pub(super) fn give(&mut self, buffer: usize) {
        self.0.push(buffer);
    }
}
