//! Channels of a source in another order, or some of them, among zeros: see [`crate::spec::Gather`].

use super::output::{OutputGrad, Reading};
use super::plane::Plane;
use super::runtime::{Arena, Exec, room};
use super::unit::UnitId;
use crate::spec::Gather as Rule;

/// The unit with where each channel goes.
#[derive(Clone, Debug)]
pub(crate) struct Gather {
    pub(crate) unit: UnitId,
    from: Plane,
    pub(crate) to: Plane,
    /// Channels as stored: of the source, of the output. The others of the output are zeros.
    moves: Vec<(usize, usize)>,
}

impl Gather {
    pub(crate) fn new(rule: Rule, unit: UnitId, from: Plane, to: Plane) -> Self {
        let source = |channel| rule.source(channel, from.channels, to.channels);
        let moves = |channel| Some((from.position(source(channel)?), to.position(channel)));
        Gather { unit, from, to, moves: (0..to.channels).filter_map(moves).collect() }
    }

    /// An image in rows of `width` pixels, to the image `y`.
    ///
    /// # Safety
    /// An image is read, `y` has room for the output.
    pub(super) unsafe fn image(&self, Reading { src, width }: Reading, y: *mut f32) {
        let (c, to) = (self.from.padded, self.to.padded);
        for row in 0..self.to.height {
            // SAFETY: the caller's contract; both have these rows.
            let (x, y) = unsafe {
                let x = std::slice::from_raw_parts(src.add(row * width * c), self.from.width * c);
                (x, std::slice::from_raw_parts_mut(y.add(row * self.to.width * to), self.to.width * to))
            };
            y.fill(0.0);
            for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(to)) {
                self.moves.iter().for_each(|&(from, to)| y[to] = x[from]);
            }
        }
    }
}

/// The backward pass of a piece's images.
pub(super) struct Backward<'a> {
    of: &'a Gather,
    exec: Exec,
    output: OutputGrad,
    own: bool,
    dy: &'a mut [f32],
}

impl<'a> Backward<'a> {
    /// Values that [`Backward::new`] takes from an arena.
    pub(super) fn room(of: &Gather) -> usize {
        room(&[of.to.len()])
    }

    pub(super) fn new<'s: 'a>(
        of: &'a Gather,
        exec: Exec,
        output: OutputGrad,
        own: bool,
        arena: &mut Arena<'s>,
    ) -> Self {
        Backward { of, exec, output, own, dy: arena.take(of.to.len()) }
    }

    /// The batch's image `i`. The gradient of what is read is written, or added where `accumulate`, to `dr`, an image. True
    /// where it was.
    ///
    /// # Safety
    /// `dr` has room for an image.
    pub(super) unsafe fn image(&mut self, i: usize, (dr, accumulate): (*mut f32, bool)) -> bool {
        if !self.own {
            return false;
        }
        let Gather { from, to, moves, .. } = self.of;
        // SAFETY: the caller's contract; the gradient of the output was written by an earlier pass.
        let dr = unsafe {
            self.output.write(self.exec, i, *to, self.dy.as_mut_ptr());
            std::slice::from_raw_parts_mut(dr, from.len())
        };
        if !accumulate {
            dr.fill(0.0);
        }
        for (dr, dy) in dr.chunks_exact_mut(from.padded).zip(self.dy.chunks_exact(to.padded)) {
            moves.iter().for_each(|&(from, to)| dr[from] += dy[to]);
        }
        true
    }
}
