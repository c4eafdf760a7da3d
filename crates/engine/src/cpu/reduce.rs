//! FactorizedReduce (Liu et al., DARTS): two 1x1 convolutions of stride 2, the second shifted by one pixel down and right,
//! concatenated. As one product: the taps of an output are two pixels, and each half of the outputs has weights for one.

use super::buffer::Buf;
use super::kernels::matmul::{Output, Taps};
use super::kernels::panel::{BLOCK, Panels, block_addresses};
use super::output::{OutputGrad, Product, Reading};
use super::params::Params;
use super::plane::Plane;
use super::runtime::{Arena, Exec, room};
use super::simd::Isa;
use super::unit::{UnitId, Units};

/// The unit with its packed weights.
#[derive(Clone, Debug)]
pub(crate) struct Reduce {
    pub(crate) unit: UnitId,
    pub(crate) relu: bool,
    from: Plane,
    pub(crate) to: Plane,
    /// `[2 * stored inputs, stored outputs]`.
    pub(crate) panels: Panels,
    forward: Buf,
    /// `[stored outputs, 2 * stored inputs]`.
    back_panels: Panels,
    backward: Buf,
    packed: bool,
}

impl Reduce {
    pub(crate) fn new(isa: Isa, relu: bool, unit: UnitId, from: Plane, to: Plane) -> Self {
        let panels = Panels::new(isa, 2 * from.padded, to.padded);
        let back_panels = Panels::new(isa, to.padded, 2 * from.padded);
        let (forward, backward) = (Buf::default(), Buf::default());
        Reduce { unit, relu, from, to, panels, forward, back_panels, backward, packed: false }
    }

    pub(crate) fn invalidate(&mut self) {
        self.packed = false;
    }

    /// Calls `f` with (half, index in the half's tensor, row, column) of every weight in the matrix of `panels`.
    fn each(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let (inputs, outputs) = (self.from.channels, self.to.channels);
        let halves = [0..outputs / 2, outputs / 2..outputs];
        for (half, columns) in halves.into_iter().enumerate() {
            let first = columns.start;
            for column in columns {
                for input in 0..inputs {
                    let row = half * self.from.padded + self.from.position(input);
                    f(half, (column - first) * inputs + input, row, column);
                }
            }
        }
    }

    pub(crate) fn pack(&mut self, units: &Units, params: &Params) {
        if std::mem::replace(&mut self.packed, true) {
            return;
        }
        let weights = [0, 1].map(|half| params.value(units[self.unit].weights[half]));
        let (mut forward, mut backward) = (std::mem::take(&mut self.forward), std::mem::take(&mut self.backward));
        forward.ensure(self.panels.len());
        backward.ensure(self.back_panels.len());
        self.each(|half, index, row, column| {
            forward[at(&self.panels, row, column)] = weights[half][index];
            backward[at(&self.back_panels, column, row)] = weights[half][index];
        });
        (self.forward, self.backward) = (forward, backward);
    }

    pub(crate) fn unpack_grad(&self, dw: &[f32], units: &Units, params: &mut Params) {
        for wanted in [0, 1] {
            let grads = params.grad_mut(units[self.unit].weights[wanted]);
            self.each(|half, index, row, column| {
                if half == wanted {
                    grads[index] = dw[at(&self.panels, row, column)];
                }
            });
        }
    }

    /// Of an image in rows of `width` pixels.
    fn taps(&self, width: usize) -> Taps {
        let c = self.from.padded;
        Taps {
            height: self.to.height,
            width: self.to.width,
            row: 2 * width * c,
            column: 2 * c,
            segments: 2,
            segment_step: (width + 1) * c,
            segment_len: c,
        }
    }

    /// The output at one position, from its two pixels.
    pub(super) fn at_one(&self, exec: Exec, taps: &[f32], out: &mut [f32]) {
        exec.conv_at_one(taps, &self.forward, &self.panels, out);
    }
}

/// Where a value of a matrix lies in its panels.
fn at(panels: &Panels, row: usize, column: usize) -> usize {
    let (start, step) = panels.block(column / BLOCK);
    start + row * step + column % BLOCK
}

/// The forward pass of a piece's images.
pub(super) struct Forward<'a> {
    of: &'a Reduce,
    product: Product<'a>,
}

impl<'a> Forward<'a> {
    /// Values that [`Forward::new`] takes from an arena.
    pub(super) fn room(of: &Reduce) -> usize {
        Product::room(of.to)
    }

    pub(super) fn new<'s: 'a>(
        of: &'a Reduce,
        exec: Exec,
        stream: bool,
        pivot: &'a [f32],
        arena: &mut Arena<'s>,
    ) -> Self {
        Forward { of, product: Product::new(exec, of.to, stream, pivot, arena) }
    }

    /// The unit that keeps the output.
    pub(super) fn unit(&self) -> UnitId {
        self.of.unit
    }

    /// Values of an image of the output.
    pub(super) fn len(&self) -> usize {
        self.of.to.len()
    }

    /// To the image `y`.
    ///
    /// # Safety
    /// What is read is there, `y` has room for the output.
    pub(super) unsafe fn image(&mut self, Reading { src, width }: Reading, y: *mut f32) {
        let of = self.of;
        // SAFETY: the caller's contract.
        unsafe { self.product.image(&of.taps(width), src, &of.forward, &of.panels, y) }
    }

    /// Moments, `[2][stored channels]`.
    pub(super) fn sums(self) -> Vec<f64> {
        self.product.sums
    }
}

/// The backward pass of a piece's images.
pub(super) struct Backward<'a> {
    of: &'a Reduce,
    exec: Exec,
    output: OutputGrad,
    omega: bool,
    own: bool,
    dy: &'a mut [f32],
}

impl<'a> Backward<'a> {
    /// Values that [`Backward::new`] takes from an arena.
    pub(super) fn room(of: &Reduce) -> usize {
        room(&[of.to.len()])
    }

    pub(super) fn new<'s: 'a>(
        of: &'a Reduce,
        exec: Exec,
        output: OutputGrad,
        (omega, own): (bool, bool),
        arena: &mut Arena<'s>,
    ) -> Self {
        Backward { of, exec, output, omega, own, dy: arena.take(of.to.len()) }
    }

    /// The batch's image `i`. The gradient of what is read is written, or added where `accumulate`, to `dr`, an image, that of
    /// the packed weights written to `dw`. True where there was one to write to `dr`.
    ///
    /// # Safety
    /// Where weight gradients are wanted what is read is there; `dr` has room for an image.
    pub(super) unsafe fn image(
        &mut self,
        i: usize,
        Reading { src, width }: Reading,
        (dr, accumulate): (*mut f32, bool),
        dw: &mut [f32],
    ) -> bool {
        let (of, exec) = (self.of, self.exec);
        let (from, to) = (of.from, of.to);
        let (c, columns) = (from.padded, to.padded);
        // SAFETY: the caller's contract.
        unsafe {
            self.output.write(exec, i, to, self.dy.as_mut_ptr());
            if self.omega {
                let (dy, row) = (self.dy.as_ptr(), (to.width * columns, columns));
                exec.weight_grad(&of.taps(width), src, dy, row, &of.panels, dw);
            }
            if !self.own {
                return false;
            }
            if !accumulate {
                std::slice::from_raw_parts_mut(dr, from.len()).fill(0.0);
            }
            // A pixel is a tap of one output at most: its gradient is added in place, row by row of the outputs. Products
            // with pixels beyond the border go nowhere.
            let mut beyond = vec![0f32; to.width * 2 * c];
            for y in 0..to.height {
                let dy = self.dy[y * to.width * columns..].as_ptr();
                let inside = 2 * y + 1 < from.height;
                // Pixel 0 of the row of a tap.
                let row = |tap: usize| match tap {
                    0 => dr.wrapping_add(2 * y * from.width * c),
                    _ => dr.wrapping_add(((2 * y + 1) * from.width + 1) * c),
                };
                let mut products = |first: usize, count: usize, inside: bool| {
                    let at = |tap| row(tap).wrapping_add(2 * first * c);
                    let mut blocks = block_addresses(at(0), c);
                    blocks.extend(block_addresses(if inside { at(1) } else { beyond.as_mut_ptr() }, c));
                    let out = Output { step: 2 * c, accumulate: true, ..Output::to(&blocks) };
                    let (taps, dy) = (Taps::rows(count, columns, columns), dy.wrapping_add(first * columns));
                    exec.conv(&taps, dy, &of.backward, &of.back_panels, &out);
                };
                // The last window of an odd side has no second pixel.
                let whole = from.width / 2;
                products(0, whole, inside);
                if whole < to.width {
                    products(whole, 1, false);
                }
            }
        }
        true
    }
}
