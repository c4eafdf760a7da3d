//! The stem: 3x3 convolution of the image, batch normalisation.

use crate::buffer::{Buf, Ptr};
use crate::kernels::elementwise::{self as elem, Term};
use crate::kernels::matmul::{Moments, Output, Taps};
use crate::kernels::panel::BLOCK;
use crate::layers::conv::ConvGroup;
use crate::layers::norm::Norm;
use crate::layers::{Mode, Plane, Terms};
use crate::params::Params;
use crate::run::{Arena, Run, add_f64, total};
use crate::simd::Isa;

/// Convolution `[C, image channels, 3, 3]` and its normalisation.
#[derive(Clone, Debug)]
pub(crate) struct Stem {
    image_channels: usize,
    plane: Plane,
    group: ConvGroup,
    pub(crate) norm: Norm,
    y: Buf,
    pub(crate) output: Buf,
}

impl Stem {
    pub(crate) fn new(
        isa: Isa,
        plane: Plane,
        image_channels: usize,
        params: &mut Params,
        mut init: impl FnMut(usize) -> f32,
    ) -> Self {
        let shape = [plane.channels, image_channels, 3, 3];
        let weight = params.add("stem.conv.weight".to_owned(), &shape, || init(9 * image_channels));
        Stem {
            image_channels,
            plane,
            group: ConvGroup::new(isa, 3, (image_channels, image_channels), plane.channels, false, vec![weight]),
            norm: Norm::affine(params, "stem.bn".to_owned(), plane.channels, plane.padded),
            y: Buf::default(),
            output: Buf::default(),
        }
    }

    /// The weights changed.
    pub(crate) fn invalidate(&mut self) {
        self.group.invalidate();
    }

    fn taps(&self) -> Taps {
        let p = self.plane;
        Taps::square(3, 1, p.height, p.width, p.width + 2, self.image_channels)
    }

    /// Copies an image into the interior of a zeroed padded one.
    fn pad(&self, image: &[f32], padded: &mut [f32]) {
        let (p, c) = (self.plane, self.image_channels);
        let row = p.width * c;
        for (y, from) in image.chunks_exact(row).enumerate() {
            padded[((y + 1) * (p.width + 2) + 1) * c..][..row].copy_from_slice(from);
        }
    }

    /// `images: [n, H, W, image channels]`; the result is `output`.
    pub(crate) fn forward(&mut self, run: Run<'_>, images: &[f32], params: &Params, mode: Mode) {
        let (p, exec) = (self.plane, run.exec());
        let (len, image_len) = (p.len(), p.pixels() * self.image_channels);
        self.group.pack(exec.isa, params);
        self.y.ensure(run.n * len);
        self.output.ensure(run.n * len);
        let (y, out) = (self.y.ptr(), self.output.ptr());
        let padded_len = (p.height + 2) * (p.width + 2) * self.image_channels;
        let pivot = self.pivot(run, &images[..image_len]);
        let this = &*self;
        let sums = run.each_chunk(Arena::room(padded_len) + Arena::room(2 * p.padded), |chunk, arena| {
            let padded = arena.zeros(padded_len);
            let part = arena.take(2 * p.padded);
            let mut sums = vec![0f64; 2 * p.padded];
            for i in chunk {
                this.pad(&images[i * image_len..][..image_len], padded);
                part.fill(0.0);
                // SAFETY: image i of y belongs to this thread.
                unsafe {
                    let blocks: Vec<_> = (0..p.padded / BLOCK).map(|b| y.at(i * len + b * BLOCK)).collect();
                    let moments = Moments { pivot: pivot.as_ptr(), sums: part.as_mut_ptr() };
                    let out = Output { step: p.padded, moments: Some(moments), ..Output::to(&blocks) };
                    exec.conv(&this.taps(), padded.as_ptr(), &this.group.forward, &this.group.panels, &out);
                }
                add_f64(&mut sums, part);
            }
            sums
        });
        if mode == Mode::Running {
            self.norm.set_running(params);
        } else {
            let sums = total(&sums);
            let count = (run.n * p.pixels()) as f64;
            self.norm.set_batch(params, &sums, &sums[p.padded..], &pivot, count, mode == Mode::Train);
        }
        let this = &*self;
        run.each_chunk(0, |chunk, _| {
            for i in chunk {
                // SAFETY: image i of the output belongs to this thread.
                unsafe {
                    let term = Term { src: y.at(i * len), scale: this.norm.scale.as_ptr() };
                    elem::mix(exec.isa, out.at(i * len), &[term], this.norm.shift.as_ptr(), p.pixels(), p.padded);
                }
            }
        });
    }

    /// The convolution at the middle pixel of the first image.
    fn pivot(&self, run: Run<'_>, image: &[f32]) -> Vec<f32> {
        let (p, c) = (self.plane, self.image_channels);
        let mut padded = vec![0f32; (p.height + 2) * (p.width + 2) * c];
        self.pad(image, &mut padded);
        let mut pivot = vec![0f32; p.padded];
        let blocks: Vec<*mut f32> = pivot.chunks_mut(BLOCK).map(<[f32]>::as_mut_ptr).collect();
        let out = Output::to(&blocks);
        let taps = Taps { height: 1, width: 1, ..self.taps() };
        let at = (p.height / 2 * (p.width + 2) + p.width / 2) * c;
        // SAFETY: one position inside the padded image.
        unsafe { run.exec().conv(&taps, padded[at..].as_ptr(), &self.group.forward, &self.group.panels, &out) }
        pivot
    }

    /// Gradients of the parameters, given `g = dL/d output`.
    pub(crate) fn backward(&mut self, run: Run<'_>, images: &[f32], g: Ptr, params: &mut Params) {
        let (p, exec) = (self.plane, run.exec());
        let (len, image_len) = (p.len(), p.pixels() * self.image_channels);
        let y = self.y.ptr();
        correlate_norm(run, p, g, y, &mut self.norm, params, true);
        let padded_len = (p.height + 2) * (p.width + 2) * self.image_channels;
        let dw_len = self.group.panels.len();
        let this = &*self;
        run.each_chunk_sum(Arena::room(padded_len) + Arena::room(len), dw_len, |chunk, arena, dw| {
            let start = chunk.start;
            let padded = arena.zeros(padded_len);
            let dy = arena.take(len);
            for i in chunk {
                this.pad(&images[i * image_len..][..image_len], padded);
                // SAFETY: g and y are only read; dw belongs to the chunk.
                unsafe {
                    let (g, y) = (g.at(i * len), y.at(i * len));
                    let step = (p.width * p.padded, p.padded);
                    elem::norm_grad(
                        exec.isa,
                        g,
                        y,
                        this.norm.grad(),
                        p.height,
                        p.width,
                        p.padded,
                        dy.as_mut_ptr(),
                        step.0,
                        step.1,
                    );
                    exec.weight_grad(
                        &this.taps(),
                        padded.as_ptr(),
                        dy.as_ptr(),
                        step,
                        &this.group.panels,
                        dw.as_mut_ptr(),
                        i > start,
                    );
                }
            }
        });
        run.sum_partials(dw_len, |dw| self.group.unpack_grad(dw, params));
    }
}

/// Backward sums of `norm(y)` under the gradient `g`, both `[n, H, W, padded]`: sets the coefficients of `norm` and the
/// gradients of its parameters.
pub(crate) fn correlate_norm(
    run: Run<'_>,
    p: Plane,
    g: Ptr,
    y: Ptr,
    norm: &mut Norm,
    params: &mut Params,
    omega: bool,
) {
    let term = Terms(vec![Term { src: y.0, scale: norm.mean.as_ptr() }]);
    let sums = run.each_chunk(Arena::room(2 * p.padded), |chunk, arena| {
        let part = arena.take(2 * p.padded);
        let mut sums = vec![0f64; 2 * p.padded];
        let mut here = vec![];
        for i in chunk {
            let o = i * p.len();
            term.at(o, &mut here);
            // SAFETY: g and y are only read.
            unsafe { elem::correlate(run.exec().isa, g.at(o), &here, p.pixels(), p.padded, part.as_mut_ptr()) }
            add_f64(&mut sums, part);
        }
        sums
    });
    let sums = total(&sums);
    norm.backward(params, &sums, &sums[p.padded..], 1.0, (run.n * p.pixels()) as f64, omega);
}
