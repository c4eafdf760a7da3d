//! What the passes of a source hand to the groups of units that read it.

use super::buffer::Ptr;
use super::kernels::elementwise as elem;
use super::plane::Plane;
use super::runtime::Exec;

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
}

// SAFETY: addresses only; each use says why its accesses are disjoint.
unsafe impl Send for OutputGrad {}
// SAFETY: as above.
unsafe impl Sync for OutputGrad {}

impl OutputGrad {
    /// Writes the gradient of an output before its normalisation, of the image at `o`.
    ///
    /// # Safety
    /// `to` has room for an image.
    pub(super) unsafe fn write(&self, exec: Exec, o: usize, p: Plane, to: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe {
            let (g, y, row) = (self.g.at(o), self.y.at(o), p.width * p.padded);
            if self.direct {
                return to.copy_from_nonoverlapping(g, p.len());
            }
            elem::norm_grad(exec.isa, g, y, self.norm, p.height, p.width, p.padded, to, row, p.padded);
        }
    }
}
