//! Depthwise convolution and 1x1 convolution of one image in one go: what lies between stays in the cache.

use super::buffer::Buf;
use super::dense::{Dense, Geometry};
use super::kernels::depthwise::Filter;
use super::kernels::matmul::{Output, Taps};
use super::kernels::panel::block_addresses;
use super::kernels::pitch::Pitch;
use super::output::{OutputGrad, Product, Reading};
use super::params::Params;
use super::plane::Plane;
use super::runtime::{Arena, Exec, room};
use super::simd::Isa;
use super::unit::{UnitId, Units};
use crate::spec::Window;

/// A unit of a depthwise and a 1x1 convolution with its packed weights.
#[derive(Clone, Debug)]
pub(crate) struct Separable {
    pub(crate) relu: bool,
    pub(crate) window: Window,
    from: Plane,
    filter: Filter,
    /// `[kernel^2, stored channels]`.
    pub(crate) depthwise: Buf,
    packed: bool,
    /// Of the depthwise convolution's output.
    pub(crate) pointwise: Dense,
}

impl Separable {
    pub(crate) fn new(isa: Isa, relu: bool, window: Window, unit: UnitId, from: Plane, to: Plane) -> Self {
        let Window { kernel: size, stride, dilation, .. } = window;
        let between = Plane { height: to.height, width: to.width, ..from };
        let geometry = Geometry { relu: false, kernel: 1, stride: 1, padding: 0, from: between, to, winograd: false };
        Separable {
            relu,
            window,
            from,
            filter: Filter { size, stride, dilation, channels: from.padded },
            depthwise: Buf::zeros(size * size * from.padded),
            packed: false,
            pointwise: Dense::new(isa, geometry, vec![unit], 1),
        }
    }

    pub(crate) fn invalidate(&mut self) {
        self.packed = false;
        self.pointwise.invalidate();
    }

    pub(crate) fn pack(&mut self, isa: Isa, units: &Units, params: &Params, backward: bool) {
        self.pointwise.pack(isa, units, params);
        if backward {
            self.pointwise.pack_backward(isa, units, params);
        }
        if std::mem::replace(&mut self.packed, true) {
            return;
        }
        let weights = params.value(units[self.pointwise.members[0]].weights[0]);
        let taps = self.filter.size * self.filter.size;
        for (channel, weights) in weights.chunks_exact(taps).enumerate() {
            let at = self.from.position(channel);
            for (tap, &weight) in weights.iter().enumerate() {
                self.depthwise[tap * self.from.padded + at] = weight;
            }
        }
    }

    pub(crate) fn unpack_grad(&self, dw: &[f32], units: &Units, params: &mut Params) {
        let (depthwise, pointwise) = dw.split_at(self.depthwise.len());
        self.pointwise.unpack_grad(pointwise, units, params);
        let taps = self.filter.size * self.filter.size;
        let grads = params.grad_mut(units[self.pointwise.members[0]].weights[0]);
        for (channel, grads) in grads.chunks_exact_mut(taps).enumerate() {
            let at = self.from.position(channel);
            for (tap, grad) in grads.iter_mut().enumerate() {
                *grad = depthwise[tap * self.from.padded + at];
            }
        }
    }

    /// Shape between the convolutions.
    fn between(&self) -> Plane {
        self.pointwise.geometry.from
    }

    /// The depthwise convolution of a padded image whose first tap is `src`, rows of `width` pixels, to `d`.
    ///
    /// # Safety
    /// `src` holds the taps, `d` has room for the output.
    unsafe fn convolve(&self, exec: Exec, src: *const f32, width: usize, d: *mut f32) {
        let (between, c) = (self.between(), self.from.padded);
        let (from, to) = (Pitch { row: width * c, column: c }, Pitch { row: between.width * c, column: c });
        let outputs = (between.height, between.width);
        // SAFETY: the caller's contract.
        unsafe { exec.depthwise(self.filter, (src, from), &self.depthwise, outputs, (d, to)) }
    }

    /// Zeros around the outputs that the depthwise data gradient reads.
    fn margin(&self) -> usize {
        self.window.padding.div_ceil(self.window.stride)
    }

    /// The output at one position, from the taps of it: `[kernel^2, stored channels]`.
    pub(super) fn at_one(&self, exec: Exec, taps: &[f32], out: &mut [f32]) {
        let c = self.from.padded;
        let mut between = vec![0f32; c];
        for (x, w) in taps.chunks_exact(c).zip(self.depthwise.chunks_exact(c)) {
            for ((d, x), w) in between.iter_mut().zip(x).zip(w) {
                *d += x * w;
            }
        }
        self.pointwise.at_one(exec, &between, out);
    }
}

/// The forward pass of a piece's images.
pub(super) struct Forward<'a> {
    of: &'a Separable,
    d: &'a mut [f32],
    product: Product<'a>,
}

impl<'a> Forward<'a> {
    /// Values that [`Forward::new`] takes from an arena.
    pub(super) fn room(of: &Separable) -> usize {
        room(&[of.between().len()]) + Product::room(of.pointwise.geometry.to)
    }

    pub(super) fn new<'s: 'a>(
        of: &'a Separable,
        exec: Exec,
        stream: bool,
        pivot: &'a [f32],
        arena: &mut Arena<'s>,
    ) -> Self {
        let d = arena.take(of.between().len());
        Forward { of, d, product: Product::new(exec, of.pointwise.geometry.to, stream, pivot, arena) }
    }

    /// Values of an image of the output.
    pub(super) fn len(&self) -> usize {
        self.of.pointwise.geometry.to.len()
    }

    /// To the image `y`.
    ///
    /// # Safety
    /// What is read is there, `y` has room for the output.
    pub(super) unsafe fn image(&mut self, Reading { src, width }: Reading, y: *mut f32) {
        let (dense, between, c) = (&self.of.pointwise, self.of.between(), self.of.from.padded);
        let taps = Taps::rows(between.pixels(), c, c);
        // SAFETY: the caller's contract; `d` has room for what lies between.
        unsafe {
            self.of.convolve(self.product.exec, src, width, self.d.as_mut_ptr());
            self.product.image(&taps, self.d.as_ptr(), &dense.forward, &dense.panels, y);
        }
    }

    /// Moments, `[2][stored channels]`.
    pub(super) fn sums(self) -> Vec<f64> {
        self.product.sums
    }
}

/// The backward pass of a piece's images.
pub(super) struct Backward<'a> {
    of: &'a Separable,
    exec: Exec,
    output: OutputGrad,
    omega: bool,
    own: bool,
    /// The depthwise convolution's output, the gradient of the 1x1 convolution's, and that of the former in a border of
    /// zeros.
    d: &'a mut [f32],
    dy: &'a mut [f32],
    dd: &'a mut [f32],
}

impl<'a> Backward<'a> {
    fn sizes(of: &Separable) -> [usize; 3] {
        let (between, margin) = (of.between(), of.margin());
        let framed = (between.height + 2 * margin) * (between.width + 2 * margin) * between.padded;
        [between.len(), of.pointwise.geometry.to.len(), framed]
    }

    /// Values that [`Backward::new`] takes from an arena.
    pub(super) fn room(of: &Separable) -> usize {
        room(&Self::sizes(of))
    }

    pub(super) fn new<'s: 'a>(
        of: &'a Separable,
        exec: Exec,
        output: OutputGrad,
        (omega, own): (bool, bool),
        arena: &mut Arena<'s>,
    ) -> Self {
        let sizes = Self::sizes(of);
        let (d, dy, dd) = (arena.take(sizes[0]), arena.take(sizes[1]), arena.zeros(sizes[2]));
        Backward { of, exec, output, omega, own, d, dy, dd }
    }

    /// The batch's image `i`. The gradient of what is read is written, or added where `accumulate`, to `dr`, an image, those of
    /// the depthwise and of the packed pointwise weights written to `dw`. True where there was one to write to `dr`.
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
        let (of, exec, dense) = (self.of, self.exec, &self.of.pointwise);
        let (from, between, to) = (of.from, of.between(), dense.geometry.to);
        let (c, columns, margin) = (from.padded, to.padded, of.margin());
        let framed = between.width + 2 * margin;
        let first = (margin * framed + margin) * c;
        let (depthwise_dw, pointwise_dw) = dw.split_at_mut(if self.omega { of.depthwise.len() } else { 0 });
        // SAFETY: the caller's contract; lengths are those of `sizes`.
        unsafe {
            self.output.write(exec, i, to, self.dy.as_mut_ptr());
            let row = (to.width * columns, columns);
            if self.omega {
                of.convolve(exec, src, width, self.d.as_mut_ptr());
                let taps = dense.geometry.taps(between.width);
                exec.weight_grad(&taps, self.d.as_ptr(), self.dy.as_ptr(), row, &dense.panels, pointwise_dw);
                depthwise_dw.fill(0.0);
            }
            for y in 0..between.height {
                let dd = self.dd[first + y * framed * c..].as_mut_ptr();
                let blocks = block_addresses(dd, c);
                let (taps, dy) = (Taps::rows(to.width, columns, columns), self.dy[y * row.0..].as_ptr());
                let out = Output { step: c, ..Output::to(&blocks) };
                exec.conv(&taps, dy, &dense.backward, &dense.back_panels, &out);
            }
            let (dd, pitch) = (self.dd[first..].as_ptr(), Pitch { row: framed * c, column: c });
            if self.omega {
                let source = Pitch { row: width * c, column: c };
                let outputs = (between.height, between.width);
                exec.depthwise_weight_grad(of.filter, (src, source), (dd, pitch), outputs, depthwise_dw);
            }
            if self.own {
                let to = (dr, Pitch { row: from.width * c, column: c });
                let (pixels, padding) = ((from.height, from.width), of.window.padding);
                exec.depthwise_data_grad(of.filter, padding, (dd, pitch), &of.depthwise, pixels, to, accumulate);
            }
        }
        self.own
    }
}
