//! The convolution kernels as plain loops with f64 sums: what the fast ones are tested against, and `Kernels::Reference`.

use super::depthwise::Filter;
use super::matmul::{Output, Taps};
use super::panel::{BLOCK, Panels};
use super::pitch::Pitch;

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

/// As [`super::depthwise::forward`].
///
/// # Safety
/// As there.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn depthwise(
    filter: Filter,
    src: *const f32,
    src_pitch: Pitch,
    weights: *const f32,
    height: usize,
    width: usize,
    out: *mut f32,
    out_pitch: Pitch,
) {
    let Filter { size, stride, dilation, channels } = filter;
    for (y, x, c) in each(height, width, channels) {
        let mut sum = 0.0;
        for (ky, kx) in (0..size).flat_map(|ky| (0..size).map(move |kx| (ky, kx))) {
            let at = (y * stride + ky * dilation) * src_pitch.row + (x * stride + kx * dilation) * src_pitch.column;
            // SAFETY: taps and weights are valid by contract.
            sum += unsafe { f64::from(*src.add(at + c)) * f64::from(*weights.add((ky * size + kx) * channels + c)) };
        }
        // SAFETY: outputs are writable by contract.
        unsafe { *out.add(y * out_pitch.row + x * out_pitch.column + c) = sum as f32 }
    }
}

/// As [`super::depthwise::weight_grad`].
///
/// # Safety
/// As there.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn depthwise_weight_grad(
    filter: Filter,
    src: *const f32,
    src_pitch: Pitch,
    dy: *const f32,
    dy_pitch: Pitch,
    height: usize,
    width: usize,
    dw: *mut f32,
) {
    let Filter { size, stride, dilation, channels } = filter;
    for (ky, kx, c) in each(size, size, channels) {
        let mut sum = 0.0;
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let at = (y * stride + ky * dilation) * src_pitch.row + (x * stride + kx * dilation) * src_pitch.column;
            let g = y * dy_pitch.row + x * dy_pitch.column;
            // SAFETY: taps and gradients are valid by contract.
            sum += unsafe { f64::from(*src.add(at + c)) * f64::from(*dy.add(g + c)) };
        }
        // SAFETY: weight gradients are writable by contract.
        unsafe { *dw.add((ky * size + kx) * channels + c) += sum as f32 }
    }
}

/// As [`super::depthwise::data_grad`].
///
/// # Safety
/// As there.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn depthwise_data_grad(
    filter: Filter,
    pad: usize,
    dy: *const f32,
    dy_pitch: Pitch,
    weights: *const f32,
    height: usize,
    width: usize,
    dr: *mut f32,
    dr_pitch: Pitch,
    add: bool,
) {
    let Filter { size, stride, dilation, channels } = filter;
    // The output that a tap of it leads to from a pixel, if it is a whole one; it may lie beyond the border.
    let output = |pixel: usize, tap: usize| {
        let at = (pixel + pad) as isize - (tap * dilation) as isize;
        (at % stride as isize == 0).then_some(at / stride as isize)
    };
    for (y, x, c) in each(height, width, channels) {
        let to = dr.wrapping_add(y * dr_pitch.row + x * dr_pitch.column + c);
        // SAFETY: gradients and weights are valid by contract, zeros around the outputs included.
        unsafe {
            let mut sum = if add { f64::from(*to) } else { 0.0 };
            for (ky, kx) in (0..size).flat_map(|ky| (0..size).map(move |kx| (ky, kx))) {
                if let (Some(oy), Some(ox)) = (output(y, ky), output(x, kx)) {
                    let at = oy * dy_pitch.row as isize + ox * dy_pitch.column as isize + c as isize;
                    sum += f64::from(*dy.offset(at)) * f64::from(*weights.add((ky * size + kx) * channels + c));
                }
            }
            *to = sum as f32;
        }
    }
}

fn each(rows: usize, columns: usize, channels: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..rows).flat_map(move |y| (0..columns).flat_map(move |x| (0..channels).map(move |c| (y, x, c))))
}
