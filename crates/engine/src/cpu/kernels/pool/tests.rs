use super::*;
use crate::cpu::kernels::testing::{Image, SIZES, random};
use crate::cpu::simd::Isa;

/// Every instruction set, size, stride and number of channels, with a source of few values: most windows have ties.
fn each(mut test: impl FnMut(&str, Isa, Window, Image)) {
    for &isa in Isa::available() {
        for (height, width) in SIZES {
            for (stride, channels) in [(1, 16), (2, 16), (1, 48), (2, 32)] {
                let window = Window { stride, height, width, channels };
                let mut src = Image::zeros(height, width, channels, 1);
                let values = random(height * width * channels, 5);
                src.set(|y, x, c| (values[(y * width + x) * channels + c] * 4.0).round() / 4.0);
                // Nothing beyond the border may count.
                src.set_margin(9.0);
                test(&format!("{isa}, {window:?}"), isa, window, src);
            }
        }
    }
}

/// Pixels of the window of output (y, x), in row-major order.
fn pixels(window: Window, y: usize, x: usize) -> impl Iterator<Item = (usize, usize)> {
    let around = move |i: usize, n: usize| (i * window.stride).saturating_sub(1)..(i * window.stride + 2).min(n);
    around(y, window.height).flat_map(move |y| around(x, window.width).map(move |x| (y, x)))
}

fn value(image: &Image, (y, x): (usize, usize), c: usize) -> f64 {
    image.get(y as isize, x as isize, c)
}

/// The first greatest pixel and its value.
fn greatest(src: &Image, window: Window, y: usize, x: usize, c: usize) -> ((usize, usize), f64) {
    let mut best = ((0, 0), f64::NEG_INFINITY);
    for p in pixels(window, y, x) {
        if value(src, p, c) > best.1 {
            best = (p, value(src, p, c));
        }
    }
    best
}

fn mean(src: &Image, window: Window, y: usize, x: usize, c: usize) -> f64 {
    pixels(window, y, x).map(|p| value(src, p, c)).sum::<f64>() / pixels(window, y, x).count() as f64
}

type Forward = unsafe fn(Isa, Window, *const f32, Pitch, *mut f32, Pitch, Option<Moments>);

fn forward(kernel: Forward, isa: Isa, window: Window, src: &Image, moments: Option<Moments>) -> Image {
    let (height, width) = window.outputs();
    let mut out = Image::zeros(height, width, window.channels, 1);
    let pitch = out.pitch;
    // SAFETY: images of the window's size, the output its own.
    unsafe { kernel(isa, window, src.at(0, 0), src.pitch, out.start(), pitch, moments) }
    out
}

fn dy(window: Window) -> Image {
    let (height, width) = window.outputs();
    Image::random(height, width, window.channels, 0, 6)
}

fn gradient_of_max(isa: Isa, window: Window, src: &Image, dy: &Image, mut dsrc: Image) -> Image {
    let (start, pitch) = (dsrc.start(), dsrc.pitch);
    // SAFETY: images of the window's size, the gradient its own.
    unsafe { max_grad(isa, window, src.at(0, 0), src.pitch, dy.at(0, 0), dy.pitch, start, pitch) }
    dsrc
}

fn gradient_of_average(isa: Isa, window: Window, dy: &Image, mut dsrc: Image) -> Image {
    let (start, pitch) = (dsrc.start(), dsrc.pitch);
    // SAFETY: images of the window's size, the gradient its own.
    unsafe { average_grad(isa, window, dy.at(0, 0), dy.pitch, start, pitch) }
    dsrc
}

/// What is there before a gradient is added to it.
fn before(window: Window) -> Image {
    Image::random(window.height, window.width, window.channels, 1, 7)
}

/// Sums of a few values of order 1.
const SLACK: f64 = 16.0 * f32::EPSILON as f64;

#[test]
fn max_takes_the_greatest_pixel_that_exists() {
    each(|what, isa, window, src| {
        let out = forward(max, isa, window, &src, None);
        out.check(what, |y, x, c| (greatest(&src, window, y, x, c).1, 0.0));
    });
}

#[test]
fn average_counts_the_pixels_that_exist() {
    each(|what, isa, window, src| {
        let out = forward(average, isa, window, &src, None);
        out.check(what, |y, x, c| (mean(&src, window, y, x, c), SLACK));
    });
}

#[test]
fn max_passes_nan_on() {
    for &isa in Isa::available() {
        let window = Window { stride: 1, height: 7, width: 5, channels: 16 };
        let mut src = Image::random(7, 5, 16, 1, 8);
        let clean = src.clone();
        src.set(|y, x, c| if (y, x, c) == (3, 2, 4) { f32::NAN } else { value(&clean, (y, x), c) as f32 });
        let out = forward(max, isa, window, &src, None);
        for y in 0..7_usize {
            for x in 0..5_usize {
                for c in 0..16 {
                    let near = y.abs_diff(3) <= 1 && x.abs_diff(2) <= 1 && c == 4;
                    assert_eq!(value(&out, (y, x), c).is_nan(), near, "{isa}: ({y}, {x}, {c})");
                }
            }
        }
    }
}

#[test]
fn the_first_greatest_pixel_takes_the_gradient() {
    each(|what, isa, window, src| {
        let (dy, before) = (dy(window), before(window));
        let c = window.channels;
        let mut expected = vec![0.0; window.height * window.width * c];
        for y in 0..dy.height {
            for x in 0..dy.width {
                for i in 0..c {
                    let ((py, px), _) = greatest(&src, window, y, x, i);
                    expected[(py * window.width + px) * c + i] += value(&dy, (y, x), i);
                }
            }
        }
        let dsrc = gradient_of_max(isa, window, &src, &dy, before.clone());
        dsrc.check(what, |y, x, i| (expected[(y * window.width + x) * c + i] + value(&before, (y, x), i), SLACK));
    });
}

#[test]
fn every_pixel_of_a_window_takes_its_share_of_the_gradient() {
    each(|what, isa, window, _| {
        let (dy, before) = (dy(window), before(window));
        let c = window.channels;
        let mut expected = vec![0.0; window.height * window.width * c];
        for y in 0..dy.height {
            for x in 0..dy.width {
                let share = 1.0 / pixels(window, y, x).count() as f64;
                for (py, px) in pixels(window, y, x) {
                    for i in 0..c {
                        expected[(py * window.width + px) * c + i] += share * value(&dy, (y, x), i);
                    }
                }
            }
        }
        let dsrc = gradient_of_average(isa, window, &dy, before.clone());
        dsrc.check(what, |y, x, i| (expected[(y * window.width + x) * c + i] + value(&before, (y, x), i), SLACK));
    });
}

#[test]
fn gradients_are_adjoint_to_forward() {
    each(|what, isa, window, src| {
        let dy = dy(window);
        let zeros = || Image::zeros(window.height, window.width, window.channels, 1);
        // Where the choice of pixels is fixed, max pooling is linear too.
        let pairs = [
            (forward(max, isa, window, &src, None), gradient_of_max(isa, window, &src, &dy, zeros())),
            (forward(average, isa, window, &src, None), gradient_of_average(isa, window, &dy, zeros())),
        ];
        for (out, dsrc) in pairs {
            let (product, adjoint) = (out.dot(&dy), src.dot(&dsrc));
            let error = SLACK * ((dy.height * dy.width * dy.channels) as f64).sqrt();
            assert!((product - adjoint).abs() <= error, "{what}: {product} and {adjoint}");
        }
    });
}

#[test]
fn moments_are_of_the_outputs() {
    each(|what, isa, window, src| {
        let channels = window.channels;
        let (pivot, before) = (random(channels, 9), random(2 * channels, 10));
        for kernel in [max as Forward, average as Forward] {
            let mut sums = before.clone();
            let moments = Moments { pivot: pivot.as_ptr(), sums: sums.as_mut_ptr() };
            let out = forward(kernel, isa, window, &src, Some(moments));
            for c in 0..channels {
                let mut expected = [f64::from(before[c]), f64::from(before[channels + c])];
                let mut absolute = expected.map(f64::abs);
                for y in 0..out.height {
                    for x in 0..out.width {
                        let d = value(&out, (y, x), c) - f64::from(pivot[c]);
                        expected[0] += d;
                        expected[1] += d * d;
                        absolute[0] += d.abs();
                        absolute[1] += d * d;
                    }
                }
                for (i, got) in [sums[c], sums[channels + c]].into_iter().enumerate() {
                    let (value, error) = (expected[i], SLACK * absolute[i]);
                    assert!(
                        (f64::from(got) - value).abs() <= error,
                        "{what}: channel {c}: {got}, not {value} +- {error:e}"
                    );
                }
            }
        }
    });
}
