use super::*;
use crate::cpu::kernels::testing::{Image, SIZES, random};
use crate::cpu::simd::Isa;

/// A filter, its padding, and an image of some size.
#[derive(Clone, Copy, Debug)]
struct Case {
    isa: Isa,
    filter: Filter,
    pad: usize,
    height: usize,
    width: usize,
}

impl Case {
    /// Every instruction set, size, stride and dilation; padding that keeps the size, and none where that leaves outputs.
    fn each(mut test: impl FnMut(Case)) {
        for &isa in Isa::available() {
            for (height, width) in SIZES {
                for (size, channels) in [(3, 16), (3, 48), (5, 16), (5, 32), (1, 16), (2, 16), (4, 16), (MAX_SIZE, 32)]
                {
                    for (stride, dilation) in [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2)] {
                        let filter = Filter { size, stride, dilation, channels };
                        let reach = dilation * (size - 1);
                        for pad in [reach.div_ceil(2), 0] {
                            if height + 2 * pad > reach && width + 2 * pad > reach {
                                test(Case { isa, filter, pad, height, width });
                            }
                        }
                    }
                }
            }
        }
    }

    fn outputs(&self) -> (usize, usize) {
        let n =
            |n: usize| (n + 2 * self.pad - self.filter.dilation * (self.filter.size - 1) - 1) / self.filter.stride + 1;
        (n(self.height), n(self.width))
    }

    fn source(&self) -> Image {
        Image::random(self.height, self.width, self.filter.channels, self.pad, 1)
    }

    fn weights(&self) -> Vec<f32> {
        random(self.filter.size * self.filter.size * self.filter.channels, 2)
    }

    fn dy(&self) -> Image {
        let (height, width) = self.outputs();
        // As far as outputs would reach the image.
        let reach = self.filter.dilation * (self.filter.size - 1);
        Image::random(
            height,
            width,
            self.filter.channels,
            self.pad.max(reach - self.pad).div_ceil(self.filter.stride),
            3,
        )
    }

    /// Calls `f(y, x, tap, sy, sx)` for every tap of every output, `(sy, sx)` its pixel of the source.
    fn taps(&self, mut f: impl FnMut(usize, usize, usize, isize, isize)) {
        let Filter { size, stride, dilation, .. } = self.filter;
        let (height, width) = self.outputs();
        for y in 0..height {
            for x in 0..width {
                for tap in 0..size * size {
                    let at = |i: usize, k: usize| (i * stride + k * dilation) as isize - self.pad as isize;
                    f(y, x, tap, at(y, tap / size), at(x, tap % size));
                }
            }
        }
    }

    fn forward(&self, src: &Image, weights: &[f32]) -> Image {
        let (height, width) = self.outputs();
        let mut out = Image::zeros(height, width, self.filter.channels, 1);
        let (pitch, first) = (out.pitch, -(self.pad as isize));
        // SAFETY: the margin of the source holds every tap; the output is of its own.
        unsafe {
            let (src, src_pitch) = (src.at(first, first), src.pitch);
            forward(self.isa, self.filter, src, src_pitch, weights.as_ptr(), height, width, out.start(), pitch);
        }
        out
    }

    /// Adds to `dr` if it is given.
    fn data_grad(&self, dy: &Image, weights: &[f32], dr: Option<Image>) -> Image {
        let (isa, add, pad) = (self.isa, dr.is_some(), self.pad);
        // What is overwritten is no number before.
        let mut dr = dr.unwrap_or_else(|| {
            let mut dr = Image::zeros(self.height, self.width, self.filter.channels, 1);
            dr.set(|_, _, _| f32::NAN);
            dr
        });
        let (w, pitch) = (weights.as_ptr(), dr.pitch);
        // SAFETY: the margin of dy reaches as far as the filter; the gradient is of its own.
        unsafe {
            data_grad(isa, self.filter, pad, dy.at(0, 0), dy.pitch, w, self.height, self.width, dr.start(), pitch, add);
        }
        dr
    }

    fn weight_grad(&self, src: &Image, dy: &Image, dw: &mut [f32]) {
        let first = -(self.pad as isize);
        // SAFETY: the margin of the source holds every tap; the gradient is of its own.
        unsafe {
            let (g, s) = (dy.at(0, 0), src.at(first, first));
            weight_grad(self.isa, self.filter, s, src.pitch, g, dy.pitch, dy.height, dy.width, dw.as_mut_ptr());
        }
    }
}

/// What `n` sums of products may be off by, as a part of the sum of their absolute values: half a unit in the last
/// place for each product and each sum.
fn slack(n: usize) -> f64 {
    n as f64 * f64::from(f32::EPSILON)
}

/// A sum and the sum of absolute values.
#[derive(Clone, Copy, Default)]
struct Sum(f64, f64);

impl Sum {
    fn add(&mut self, v: f64) {
        self.0 += v;
        self.1 += v.abs();
    }

    fn within(self, slack: f64) -> (f64, f64) {
        (self.0, slack * self.1)
    }
}

#[test]
fn forward_agrees_with_plain_loops() {
    Case::each(|case| {
        let (src, weights, c) = (case.source(), case.weights(), case.filter.channels);
        let out = case.forward(&src, &weights);
        let mut expected = vec![Sum::default(); out.height * out.width * c];
        case.taps(|y, x, tap, sy, sx| {
            for (i, sum) in expected[(y * out.width + x) * c..][..c].iter_mut().enumerate() {
                sum.add(src.get(sy, sx, i) * f64::from(weights[tap * c + i]));
            }
        });
        let slack = slack(case.filter.size.pow(2));
        out.check(&format!("{case:?}"), |y, x, i| expected[(y * out.width + x) * c + i].within(slack));
    });
}

#[test]
fn data_grad_agrees_with_plain_loops() {
    Case::each(|case| {
        let (dy, weights, c) = (case.dy(), case.weights(), case.filter.channels);
        let mut expected = vec![Sum::default(); case.height * case.width * c];
        case.taps(|y, x, tap, sy, sx| {
            if (0..case.height as isize).contains(&sy) && (0..case.width as isize).contains(&sx) {
                let at = (sy as usize * case.width + sx as usize) * c;
                for (i, sum) in expected[at..][..c].iter_mut().enumerate() {
                    sum.add(dy.get(y as isize, x as isize, i) * f64::from(weights[tap * c + i]));
                }
            }
        });
        let slack = slack(case.filter.size.pow(2) + 1);
        let dr = case.data_grad(&dy, &weights, None);
        dr.check(&format!("{case:?}"), |y, x, i| expected[(y * case.width + x) * c + i].within(slack));

        let before = Image::random(case.height, case.width, c, 1, 4);
        let dr = case.data_grad(&dy, &weights, Some(before.clone()));
        dr.check(&format!("{case:?}, added"), |y, x, i| {
            let mut sum = expected[(y * case.width + x) * c + i];
            sum.add(before.get(y as isize, x as isize, i));
            sum.within(slack)
        });
    });
}

#[test]
fn weight_grad_agrees_with_plain_loops() {
    Case::each(|case| {
        let (src, dy, c) = (case.source(), case.dy(), case.filter.channels);
        let before = case.weights();
        let mut expected: Vec<Sum> = before.iter().map(|&w| Sum(f64::from(w), f64::from(w).abs())).collect();
        case.taps(|y, x, tap, sy, sx| {
            for i in 0..c {
                expected[tap * c + i].add(src.get(sy, sx, i) * dy.get(y as isize, x as isize, i));
            }
        });
        let mut dw = before;
        case.weight_grad(&src, &dy, &mut dw);
        // Far below one rounding per product.
        let slack = slack(8);
        for (i, (&got, expected)) in dw.iter().zip(expected).enumerate() {
            let (value, error) = expected.within(slack);
            assert!((f64::from(got) - value).abs() <= error, "{case:?}: tap {i}: {got}, not {value} +- {error:e}");
        }
    });
}

#[test]
fn gradients_are_adjoint_to_forward() {
    Case::each(|case| {
        let (src, weights, dy) = (case.source(), case.weights(), case.dy());
        let product = case.forward(&src, &weights).dot(&dy);
        let through_data = src.dot(&case.data_grad(&dy, &weights, None));
        let mut dw = vec![0.0; weights.len()];
        case.weight_grad(&src, &dy, &mut dw);
        let through_weights: f64 = dw.iter().zip(&weights).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        // Random signs: the error of n products of order 1 grows as their root, times that of the sums they enter.
        let products = dy.height * dy.width * weights.len();
        let error = 4.0 * f64::from(f32::EPSILON) * (products as f64).sqrt();
        assert!((product - through_data).abs() <= error, "{case:?}: {product} and {through_data} by the data");
        assert!((product - through_weights).abs() <= error, "{case:?}: {product} and {through_weights} by the weights");
    });
}

#[test]
fn rows_may_come_in_blocks() {
    Case::each(|case| {
        let (src, weights, dy) = (case.source(), case.weights(), case.dy());
        let (whole, whole_grad) = (case.forward(&src, &weights), case.data_grad(&dy, &weights, None));
        let stride = case.filter.stride;
        let mut out = Image::zeros(whole.height, whole.width, case.filter.channels, 1);
        let mut dr = Image::zeros(case.height, case.width, case.filter.channels, 1);
        let first = -(case.pad as isize);
        for y in (0..out.height.max(case.height.div_ceil(stride))).step_by(3) {
            let (pitch, grad_pitch) = (out.pitch, dr.pitch);
            let rows = out.height.saturating_sub(y).min(3);
            let grad_rows = case.height.saturating_sub(y * stride).min(3 * stride);
            let w = weights.as_ptr();
            // SAFETY: as for the whole image; rows that do not exist are not touched.
            unsafe {
                let at = src.at(first, first).wrapping_add(y * stride * src.pitch.row);
                let to = out.start().wrapping_add(y * pitch.row);
                forward(case.isa, case.filter, at, src.pitch, w, rows, out.width, to, pitch);
                let at = dy.at(0, 0).wrapping_add(y * dy.pitch.row);
                let to = dr.start().wrapping_add(y * stride * grad_pitch.row);
                let (isa, filter, pad) = (case.isa, case.filter, case.pad);
                data_grad(isa, filter, pad, at, dy.pitch, w, grad_rows, case.width, to, grad_pitch, false);
            }
        }
        let same = |image: &Image, y: usize, x: usize, c: usize| (image.get(y as isize, x as isize, c), 0.0);
        out.check(&format!("{case:?}"), |y, x, c| same(&whole, y, x, c));
        dr.check(&format!("{case:?}"), |y, x, c| same(&whole_grad, y, x, c));
    });
}
