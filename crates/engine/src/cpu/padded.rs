//! A source as convolutions read it.

use super::kernels::elementwise::{self as elem, Term};
use super::kernels::panel::BLOCK;
use super::output::Reading;
use super::plan::Source;
use super::plane::Plane;
use super::runtime::Exec;

/// Scale and shift through which a source is read; `None` where it is written as it is.
pub(super) type Affine<'a> = Option<(&'a [f32], &'a [f32])>;

/// An image of a source as convolutions read it: its ReLU, or itself, in a border of zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct Padded {
    plane: Plane,
    relu: bool,
    border: usize,
    height: usize,
    width: usize,
}

impl Padded {
    /// What the convolutions of a source with (or without) ReLU read; `None` where there are none, and where they can read
    /// the source itself.
    pub(super) fn of(source: &Source, relu: bool, affine: Affine<'_>) -> Option<Self> {
        let plane = source.plane;
        let borders = source.groups.iter().filter_map(|g| g.border());
        let border = borders.filter(|(of, _)| *of == relu).map(|(_, border)| border).max()?;
        if !relu && border == 0 && affine.is_none() {
            return None;
        }
        let (height, width) = match source.tiling().filter(|_| relu) {
            Some(tiling) => tiling.padded(),
            None => (plane.height + 2 * border, plane.width + 2 * border),
        };
        Some(Padded { plane, relu, border, height, width })
    }

    /// Values of it.
    pub(super) fn len(&self) -> usize {
        self.height * self.width * self.plane.padded
    }

    /// What a group that needs a border of `padding` reads, of a copy `r`.
    pub(super) fn reading(&self, padding: usize, r: &[f32]) -> Reading {
        let skip = self.border - padding;
        Reading { src: r[(skip * self.width + skip) * self.plane.padded..].as_ptr(), width: self.width }
    }

    /// The row `y` of the image.
    pub(super) fn row(&self, y: usize) -> usize {
        ((self.border + y) * self.width + self.border) * self.plane.padded
    }

    /// Reads an image into `r`, whose border is zeros.
    ///
    /// # Safety
    /// `x` holds an image, `r` has the length.
    pub(super) unsafe fn fill(&self, exec: Exec, x: *const f32, affine: Affine<'_>, r: &mut [f32]) {
        let (p, to, step) = (self.plane, r[self.row(0)..].as_mut_ptr(), self.width * self.plane.padded);
        let row = p.width * p.padded;
        // SAFETY: the caller's contract.
        unsafe {
            match affine {
                Some((scale, shift)) if self.relu => {
                    let (scale, shift) = (scale.as_ptr(), shift.as_ptr());
                    elem::scale_shift_relu(exec.isa, x, scale, shift, p.height, p.width, p.padded, to, step);
                }
                Some((scale, shift)) => {
                    for y in 0..p.height {
                        let term = Term { src: x.add(y * row), scale: scale.as_ptr() };
                        elem::mix(exec.isa, to.add(y * step), &[term], shift.as_ptr(), p.width, p.padded);
                    }
                }
                // Images of any number of channels.
                None if !p.padded.is_multiple_of(BLOCK) => {
                    for y in 0..p.height {
                        to.add(y * step).copy_from_nonoverlapping(x.add(y * row), row);
                    }
                }
                None => elem::pad(exec.isa, x, p.height, row, self.relu, to, step),
            }
        }
    }
}
