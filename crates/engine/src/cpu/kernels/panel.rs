//! Packed weights: the layout that the matrix kernels read and write.
//!
//! A `[K, columns]` matrix, columns a multiple of [`BLOCK`], is stored as panels of one to three blocks of 16 columns,
//! as many as the registers hold well, each panel `[K][width]` contiguous; the last panel may be narrower.

use crate::cpu::simd::Isa;

/// Output channels of one block; activations are padded to a multiple of it.
pub(crate) const BLOCK: usize = 16;

/// `n` rounded up to whole blocks.
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(BLOCK)
}

/// Addresses of the blocks of `channels` values, a multiple of [`BLOCK`], from `start` on.
pub(crate) fn block_addresses(start: *mut f32, channels: usize) -> Vec<*mut f32> {
    (0..channels / BLOCK).map(|b| start.wrapping_add(b * BLOCK)).collect()
}

/// Where the panels of a `[k, columns]` matrix lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panels {
    /// Rows of the matrix.
    pub(crate) k: usize,
    /// Columns, a multiple of [`BLOCK`].
    pub(crate) columns: usize,
    /// Blocks in a full panel.
    pub(crate) blocks: usize,
}

impl Panels {
    pub(crate) fn new(isa: Isa, k: usize, columns: usize) -> Self {
        debug_assert_eq!(columns % BLOCK, 0);
        let blocks = match isa {
            Isa::Avx512 if (columns / BLOCK).is_multiple_of(3) => 3,
            Isa::Avx512 => 2,
            Isa::Avx2 | Isa::Neon | Isa::Portable => 1,
        };
        Panels { k, columns, blocks }
    }

    /// Values of the whole matrix.
    pub(crate) fn len(&self) -> usize {
        self.k * self.columns
    }

    /// Start of the 16 values of row 0 in column block `block`, and the distance to the next row.
    pub(crate) fn block(&self, block: usize) -> (usize, usize) {
        let first = block / self.blocks * self.blocks;
        let width = self.blocks.min(self.columns / BLOCK - first) * BLOCK;
        (first * BLOCK * self.k + (block - first) * BLOCK, width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_tile_the_matrix_without_overlap() {
        for isa in [Isa::Portable, Isa::Avx512] {
            for blocks in 1..6 {
                let p = Panels::new(isa, 7, blocks * BLOCK);
                let mut seen = vec![false; p.len()];
                for b in 0..blocks {
                    let (start, step) = p.block(b);
                    for k in 0..p.k {
                        for lane in 0..BLOCK {
                            assert!(!std::mem::replace(&mut seen[start + k * step + lane], true));
                        }
                    }
                }
                assert!(seen.into_iter().all(|s| s));
            }
        }
    }
}
