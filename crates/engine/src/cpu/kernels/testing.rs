//! Images for the tests of kernels: with margins, gaps that no kernel may touch, and values from a seed.

use super::pitch::Pitch;
use crate::cpu::buffer::Buf;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Sizes that leave every kind of remainder of a tile, down to a single pixel.
pub(super) const SIZES: [(usize, usize); 6] = [(1, 1), (1, 9), (6, 1), (7, 5), (33, 9), (32, 32)];

/// `[height, width, channels]` with `margin` pixels on each side, and NaN between pixels and rows.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    margin: usize,
    pub(super) pitch: Pitch,
    values: Buf,
}

impl Image {
    /// Zeros.
    pub(super) fn zeros(height: usize, width: usize, channels: usize, margin: usize) -> Image {
        let column = channels + 16;
        let pitch = Pitch { row: (width + 2 * margin) * column + 32, column };
        let mut values = Buf::zeros((height + 2 * margin) * pitch.row);
        values.fill(f32::NAN);
        let mut image = Image { height, width, channels, margin, pitch, values };
        for y in 0..height + 2 * margin {
            for x in 0..width + 2 * margin {
                image.values[y * pitch.row + x * column..][..channels].fill(0.0);
            }
        }
        image
    }

    /// Random values between -1 and 1, the margin zero.
    pub(super) fn random(height: usize, width: usize, channels: usize, margin: usize, seed: u64) -> Image {
        let mut image = Image::zeros(height, width, channels, margin);
        let values = random(height * width * channels, seed);
        image.set(|y, x, c| values[(y * width + x) * channels + c]);
        image
    }

    fn index(&self, y: isize, x: isize) -> usize {
        let (y, x) = (y + self.margin as isize, x + self.margin as isize);
        y as usize * self.pitch.row + x as usize * self.pitch.column
    }

    pub(super) fn set(&mut self, value: impl Fn(usize, usize, usize) -> f32) {
        for y in 0..self.height {
            for x in 0..self.width {
                let at = self.index(y as isize, x as isize);
                for c in 0..self.channels {
                    self.values[at + c] = value(y, x, c);
                }
            }
        }
    }

    /// Fills the margin.
    pub(super) fn set_margin(&mut self, value: f32) {
        let margin = self.margin as isize;
        for y in -margin..self.height as isize + margin {
            for x in -margin..self.width as isize + margin {
                if !self.has(y, x) {
                    let at = self.index(y, x);
                    self.values[at..][..self.channels].fill(value);
                }
            }
        }
    }

    /// Zero beyond the border.
    pub(super) fn get(&self, y: isize, x: isize, c: usize) -> f64 {
        if self.has(y, x) { f64::from(self.values[self.index(y, x) + c]) } else { 0.0 }
    }

    pub(super) fn has(&self, y: isize, x: isize) -> bool {
        (0..self.height as isize).contains(&y) && (0..self.width as isize).contains(&x)
    }

    /// Address of a pixel of the image or its margin.
    pub(super) fn at(&self, y: isize, x: isize) -> *const f32 {
        self.values[self.index(y, x)..].as_ptr()
    }

    /// Address of pixel (0, 0).
    pub(super) fn start(&mut self) -> *mut f32 {
        let at = self.index(0, 0);
        self.values[at..].as_mut_ptr()
    }

    /// Holds every value against `expected(y, x, c)`, a value and the error that it may have; margin and gaps against
    /// what they were.
    pub(super) fn check(&self, what: &str, expected: impl Fn(usize, usize, usize) -> (f64, f64)) {
        let mut untouched = Image::zeros(self.height, self.width, self.channels, self.margin);
        for y in 0..self.height {
            for x in 0..self.width {
                for c in 0..self.channels {
                    let (value, error) = expected(y, x, c);
                    let got = self.get(y as isize, x as isize, c);
                    assert!((got - value).abs() <= error, "{what}: ({y}, {x}, {c}): {got}, not {value} +- {error:e}");
                }
            }
        }
        untouched.set(|y, x, c| self.get(y as isize, x as isize, c) as f32);
        let bits = |image: &Image| image.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(self) == bits(&untouched), "{what}: wrote outside of the image");
    }

    /// Inner product with an image of the same size.
    pub(super) fn dot(&self, other: &Image) -> f64 {
        let mut sum = 0.0;
        for y in 0..self.height as isize {
            for x in 0..self.width as isize {
                sum += (0..self.channels).map(|c| self.get(y, x, c) * other.get(y, x, c)).sum::<f64>();
            }
        }
        sum
    }
}

/// Values between -1 and 1.
pub(super) fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| (rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}
