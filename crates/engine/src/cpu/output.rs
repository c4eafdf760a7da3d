//! What the passes of a source hand to the groups of units that read it.

use super::buffer::Ptr;
use super::kernels::elementwise as elem;
use super::kernels::matmul::{Moments, Output, Taps};
use super::kernels::panel::{Panels, block_addresses};
use super::pieces::add_f64;
use super::plane::Plane;
use super::runtime::{Arena, Exec, room};

/// An image as a group reads it: the first tap of its first output, and the pixels of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) src: *const f32,
    pub(super) width: usize,
}

/// Where the gradient of a unit's output comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputGrad {
    /// Gradient of what reads the output.
    pub(super) g: Ptr,
    /// The output before normalisation.
    pub(super) y: Ptr,
    pub(super) norm: elem::NormGrad,
    /// `g` is the gradient of the output itself.
    pub(super) direct: bool,
    /// What drop-path multiplies `g` by, of each image; null where nothing is dropped.
    pub(super) factors: *const f32,
}

// SAFETY: addresses only; each use says why its accesses are disjoint.
unsafe impl Send for OutputGrad {}
// SAFETY: as above.
unsafe impl Sync for OutputGrad {}

impl OutputGrad {
    /// Calls `f` with the coefficients of image `i`, of `c` channels.
    ///
    /// # Safety
    /// The image is one of the batch.
    pub(super) unsafe fn norm_of<T>(&self, i: usize, c: usize, f: impl FnOnce(elem::NormGrad) -> T) -> T {
        if self.factors.is_null() {
            return f(self.norm);
        }
        // SAFETY: the caller's contract; coefficients are of all channels.
        let a: Vec<f32> = unsafe {
            let factor = *self.factors.add(i);
            (0..c).map(|k| factor * *self.norm.a.add(k)).collect()
        };
        f(elem::NormGrad { a: a.as_ptr(), ..self.norm })
    }

    /// Writes the gradient of an output before its normalisation, of image `i`.
    ///
    /// # Safety
    /// `to` has room for an image.
    pub(super) unsafe fn write(&self, exec: Exec, i: usize, p: Plane, to: *mut f32) {
        let o = i * p.len();
        // SAFETY: the caller's contract.
        unsafe {
            let (g, y, row) = (self.g.at(o), self.y.at(o), p.width * p.padded);
            if self.direct {
                return to.copy_from_nonoverlapping(g, p.len());
            }
            self.norm_of(i, p.padded, |norm| {
                elem::norm_grad(exec.isa, g, y, norm, p.height, p.width, p.padded, to, row, p.padded);
            });
        }
    }
}

/// A matrix product whose result is a unit's output, image by image, and its moments.
pub(super) struct Product<'a> {
    pub(super) exec: Exec,
    to: Plane,
    /// Outputs are written past the caches.
    stream: bool,
    /// A value near the mean of every output channel.
    pivot: &'a [f32],
    /// As `sums`, of an image.
    part: &'a mut [f32],
    /// Moments, `[2][stored channels]`.
    pub(super) sums: Vec<f64>,
}

impl<'a> Product<'a> {
    /// Values that [`Product::new`] takes from an arena.
    pub(super) fn room(to: Plane) -> usize {
        room(&[2 * to.padded])
    }

    pub(super) fn new<'s: 'a>(exec: Exec, to: Plane, stream: bool, pivot: &'a [f32], arena: &mut Arena<'s>) -> Self {
        let len = 2 * to.padded;
        Product { exec, to, stream, pivot, part: arena.zeros(len), sums: vec![0.0; len] }
    }

    /// One image, to `y`.
    ///
    /// # Safety
    /// `src` holds the taps, `y` has room for the output.
    pub(super) unsafe fn image(&mut self, taps: &Taps, src: *const f32, weights: &[f32], panels: &Panels, y: *mut f32) {
        let blocks = block_addresses(y, self.to.padded);
        let moments = Moments { pivot: self.pivot.as_ptr(), sums: self.part.as_mut_ptr() };
        let out = Output { step: self.to.padded, stream: self.stream, moments: Some(moments), ..Output::to(&blocks) };
        // SAFETY: the caller's contract.
        unsafe { self.exec.conv(taps, src, weights, panels, &out) }
        add_f64(&mut self.sums, self.part);
        self.part.fill(0.0);
    }
}
