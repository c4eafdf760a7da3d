//! The matrix kernels as plain loops with f64 sums: what the fast ones are tested against, and `Kernels::Reference`.

use super::matmul::{Output, Taps};
use super::panel::{BLOCK, Panels};

/// As [`super::matmul::conv`].
///
/// # Safety
/// As there.
pub(crate) unsafe fn conv(taps: &Taps, src: *const f32, weights: *const f32, panels: &Panels, out: &Output<'_>) {
    for y in 0..taps.height {
        for x in 0..taps.width {
            for column in 0..panels.columns {
                let (start, step) = panels.block(column / BLOCK);
                let position = y * taps.width + x;
                // SAFETY: taps, weights, outputs and moments are valid by contract.
                unsafe {
                    let o = out.blocks[column / BLOCK].add(position * out.step + column % BLOCK);
                    let mut sum = if out.accumulate { f64::from(*o) } else { 0.0 };
                    for k in 0..taps.len() {
                        let (segment, at) = (k / taps.segment_len, k % taps.segment_len);
                        let s = src.add(y * taps.row + x * taps.column + segment * taps.segment_step + at);
                        sum += f64::from(*s) * f64::from(*weights.add(start + k * step + column % BLOCK));
                    }
                    *o = sum as f32;
                    if let Some(m) = out.moments {
                        let d = *o - *m.pivot.add(column);
                        *m.sums.add(column) += d;
                        *m.sums.add(panels.columns + column) += d * d;
                    }
                }
            }
        }
    }
}

/// As [`super::matmul::weight_grad`].
///
/// # Safety
/// As there.
pub(crate) unsafe fn weight_grad(
    taps: &Taps,
    src: *const f32,
    dy: *const f32,
    dy_row: usize,
    dy_column: usize,
    panels: &Panels,
    dw: *mut f32,
    accumulate: bool,
) {
    for k in 0..taps.len() {
        let (segment, at) = (k / taps.segment_len, k % taps.segment_len);
        for column in 0..panels.columns {
            let (start, step) = panels.block(column / BLOCK);
            // SAFETY: taps, gradients and weights are valid by contract.
            unsafe {
                let d = dw.add(start + k * step + column % BLOCK);
                let mut sum = if accumulate { f64::from(*d) } else { 0.0 };
                for y in 0..taps.height {
                    for x in 0..taps.width {
                        let s = src.add(y * taps.row + x * taps.column + segment * taps.segment_step + at);
                        sum += f64::from(*s) * f64::from(*dy.add(y * dy_row + x * dy_column + column));
                    }
                }
                *d = sum as f32;
            }
        }
    }
}
