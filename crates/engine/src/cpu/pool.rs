//! Pooling, windows clipped at the border. Without weights, the pools of one geometry that read a source are one.

use super::kernels::elementwise as elem;
use super::kernels::matmul::Moments;
use super::kernels::pitch::Pitch;
use super::kernels::pool as kernel;
use super::output::{OutputGrad, Reading};
use super::pieces::add_f64;
use super::plane::Plane;
use super::runtime::{Arena, Exec, room};
use super::unit::UnitId;
use crate::spec::Window;

/// Pools of one geometry: their outputs are one tensor, which the first member keeps.
#[derive(Clone, Debug)]
pub(crate) struct PoolGroup {
    pub(crate) members: Vec<UnitId>,
    /// Of the ReLU of the source (averages without a kernel).
    pub(crate) relu: bool,
    pub(crate) window: Window,
    /// Maxima, not averages.
    pub(crate) max: bool,
    /// Batch normalisation follows.
    pub(crate) normalised: bool,
    pub(crate) from: Plane,
    pub(crate) to: Plane,
}

impl PoolGroup {
    /// Whether there are kernels for this window: for maxima, and for averages with their moments.
    pub(crate) fn has_kernel(window: Window) -> bool {
        matches!(window, Window { kernel: 3, stride: 1 | 2, padding: 1, dilation: 1, partial: false })
    }

    /// What the kernels for windows of 3x3 are told; `None` for other windows.
    fn kernel(&self) -> Option<kernel::Window> {
        let Plane { height, width, padded: channels, .. } = self.from;
        let window = kernel::Window { stride: self.window.stride, height, width, channels };
        let has_kernel = Self::has_kernel(self.window) && !self.relu;
        debug_assert!(!has_kernel || window.outputs() == (self.to.height, self.to.width));
        has_kernel.then_some(window)
    }
}

fn pitch(p: Plane) -> Pitch {
    Pitch { row: p.width * p.padded, column: p.padded }
}

/// Calls `f(offset in the source, offset in the result, 1 / pixels of the window)` for every pixel of every window; rows of
/// the source are `width` pixels.
fn each(from: Plane, width: usize, window: Window, to: Plane, mut f: impl FnMut(usize, usize, f32)) {
    let along = |at: usize, len: usize| {
        let first = at * window.stride;
        first.saturating_sub(window.padding)..(first + window.kernel - window.padding).min(len)
    };
    for y in 0..to.height {
        let rows = along(y, from.height);
        for x in 0..to.width {
            let columns = along(x, from.width);
            let weight = 1.0 / (rows.len() * columns.len()) as f32;
            for row in rows.clone() {
                for column in columns.clone() {
                    f((row * width + column) * from.padded, (y * to.width + x) * to.padded, weight);
                }
            }
        }
    }
}

/// `out` = the averages of an image in rows of `width` pixels.
fn average(x: &[f32], from: Plane, width: usize, window: Window, to: Plane, out: &mut [f32]) {
    out.fill(0.0);
    each(from, width, window, to, |i, o, weight| {
        for (out, &x) in out[o..][..from.padded].iter_mut().zip(&x[i..][..from.padded]) {
            *out += weight * x;
        }
    });
}

/// Calls `f(channel, offset of the maximum in the source, offset in the result)`; of equal values the first is the maximum.
fn maxima(x: &[f32], from: Plane, width: usize, window: Window, to: Plane, mut f: impl FnMut(usize, usize, usize)) {
    let mut best: Vec<Option<usize>> = vec![None; from.padded];
    let mut at = 0;
    let mut put_out = |best: &mut [Option<usize>], at: usize| {
        for (c, best) in best.iter_mut().enumerate() {
            best.take().into_iter().for_each(|i| f(c, i, at));
        }
    };
    each(from, width, window, to, |i, o, _| {
        if o != at {
            put_out(&mut best, at);
            at = o;
        }
        for (c, best) in best.iter_mut().enumerate() {
            if best.is_none_or(|best| x[i + c] > x[best + c]) {
                *best = Some(i);
            }
        }
    });
    put_out(&mut best, at);
}

/// Adds the gradient of the source, given `dy`, that of the averages.
fn add_adjoint(dy: &[f32], from: Plane, window: Window, to: Plane, gx: &mut [f32]) {
    each(from, from.width, window, to, |i, o, weight| {
        for (gx, &dy) in gx[i..][..from.padded].iter_mut().zip(&dy[o..][..from.padded]) {
            *gx += weight * dy;
        }
    });
}

/// The forward pass of a piece's images.
pub(super) struct Forward<'a> {
    of: &'a PoolGroup,
    exec: Exec,
    pivot: &'a [f32],
    part: &'a mut [f32],
    pub(super) sums: Vec<f64>,
}

impl<'a> Forward<'a> {
    /// Values that [`Forward::new`] takes from an arena.
    pub(super) fn room(of: &PoolGroup) -> usize {
        room(&[2 * of.to.padded])
    }

    pub(super) fn new<'s: 'a>(of: &'a PoolGroup, exec: Exec, pivot: &'a [f32], arena: &mut Arena<'s>) -> Self {
        let len = 2 * of.to.padded;
        Forward { of, exec, pivot, part: arena.zeros(len), sums: vec![0.0; len] }
    }

    /// The unit that keeps the output.
    pub(super) fn unit(&self) -> UnitId {
        self.of.members[0]
    }

    /// Values of an image of the output.
    pub(super) fn len(&self) -> usize {
        self.of.to.len()
    }

    /// To the image `y`.
    ///
    /// # Safety
    /// An image is read, `y` has room for the output.
    pub(super) unsafe fn image(&mut self, reading: Reading, y: *mut f32) {
        let PoolGroup { from, to, window, max, normalised, .. } = *self.of;
        let isa = self.exec.isa;
        let moments = normalised.then_some(Moments { pivot: self.pivot.as_ptr(), sums: self.part.as_mut_ptr() });
        // SAFETY: the caller's contract; room for the sums.
        unsafe {
            match self.of.kernel() {
                Some(w) if max => kernel::max(isa, w, reading.src, pitch(from), y, pitch(to), moments),
                Some(w) => kernel::average(isa, w, reading.src, pitch(from), y, pitch(to), moments),
                None => {
                    let len = ((from.height - 1) * reading.width + from.width) * from.padded;
                    let x = std::slice::from_raw_parts(reading.src, len);
                    let y = std::slice::from_raw_parts_mut(y, to.len());
                    if max {
                        maxima(x, from, reading.width, window, to, |c, i, o| y[o + c] = x[i + c]);
                    } else {
                        average(x, from, reading.width, window, to, y);
                    }
                }
            }
        }
        add_f64(&mut self.sums, self.part);
        self.part.fill(0.0);
    }
}

/// The backward pass of a piece's images.
pub(super) struct Backward<'a> {
    of: &'a PoolGroup,
    exec: Exec,
    outputs: &'a [OutputGrad],
    own: bool,
    /// The gradient of the output, and of one member's.
    dy: &'a mut [f32],
    one: &'a mut [f32],
}

impl<'a> Backward<'a> {
    /// Values that [`Backward::new`] takes from an arena.
    pub(super) fn room(of: &PoolGroup) -> usize {
        room(&[of.to.len(), of.to.len()])
    }

    pub(super) fn new<'s: 'a>(
        of: &'a PoolGroup,
        exec: Exec,
        outputs: &'a [OutputGrad],
        own: bool,
        arena: &mut Arena<'s>,
    ) -> Self {
        let len = of.to.len();
        Backward { of, exec, outputs, own, dy: arena.take(len), one: arena.take(len) }
    }

    /// The batch's image `i`. The gradient of what is read is written, or added where `accumulate`, to `dr`, an image. True
    /// where it was.
    ///
    /// # Safety
    /// An image is read; `dr` has room for one.
    pub(super) unsafe fn image(&mut self, i: usize, reading: Reading, (dr, accumulate): (*mut f32, bool)) -> bool {
        let PoolGroup { from, to, window, max, .. } = *self.of;
        if !self.own {
            return false;
        }
        // SAFETY: the caller's contract; the gradients and outputs were written by earlier passes.
        unsafe {
            if !accumulate {
                std::slice::from_raw_parts_mut(dr, from.len()).fill(0.0);
            }
            let (isa, dy) = (self.exec.isa, self.dy.as_mut_ptr());
            for (k, output) in self.outputs.iter().enumerate() {
                let to_write = if k == 0 { dy } else { self.one.as_mut_ptr() };
                output.write(self.exec, i, to, to_write);
                if k > 0 {
                    elem::rows(isa, to_write, to.len(), 1, to.len(), dy, to.len(), true);
                }
            }
            match self.of.kernel() {
                Some(w) if max => kernel::max_grad(isa, w, reading.src, pitch(from), dy, pitch(to), dr, pitch(from)),
                Some(w) => kernel::average_grad(isa, w, dy, pitch(to), dr, pitch(from)),
                None if max => {
                    let x = std::slice::from_raw_parts(reading.src, from.len());
                    let dr = std::slice::from_raw_parts_mut(dr, from.len());
                    maxima(x, from, from.width, window, to, |c, i, o| dr[i + c] += self.dy[o + c]);
                }
                None => add_adjoint(self.dy, from, window, to, std::slice::from_raw_parts_mut(dr, from.len())),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_what_there_is_of_a_window_and_the_adjoint_fits() {
        for (kernel, stride, padding) in [(2, 2, 0), (3, 1, 1), (3, 2, 1), (5, 3, 0)] {
            let window = Window { kernel, stride, padding, dilation: 1, partial: true };
            for (h, w) in [(5, 7), (8, 8), (5, 5)] {
                let from = Plane::new(h, w, 3);
                let to = Plane::new(window.outputs(h).unwrap(), window.outputs(w).unwrap(), 3);
                let x: Vec<f32> = (0..from.len()).map(|i| ((i * 37) % 101) as f32).collect();
                let mut out = vec![f32::NAN; to.len()];
                average(&x, from, w, window, to, &mut out);
                // Of ones the average is one.
                let mut ones = vec![0.0; to.len()];
                average(&vec![1.0; from.len()], from, w, window, to, &mut ones);
                assert!(ones.iter().all(|v| (v - 1.0).abs() < 1e-6));
                let dy: Vec<f32> = (0..to.len()).map(|i| ((i * 53) % 89) as f32).collect();
                let mut gx = vec![0.0; from.len()];
                add_adjoint(&dy, from, window, to, &mut gx);
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
                let (one, other) = (dot(&out, &dy), dot(&x, &gx));
                assert!((one - other).abs() < 1e-5 * one, "{one} {other}");
            }
        }
    }
}
