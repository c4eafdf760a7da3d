use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::{DataError, ImageShape};
use crate::random::{self, Purpose};

/// Random changes of training images, applied as torchvision and DARTS do: crop from the image padded with zero
/// pixels, horizontal flip, normalisation, cutout (zeros after normalisation).
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `flip` | true; digits false | | mirror half of the images; He et al. 2016 |
/// | `crop_padding` | 4, digits 1, imagenet16-120 2, own pictures an eighth of their size; divided by `data.downsample` | 0 to the image's side, in pixels | random crop from the padded image, 0: none; He et al. 2016 |
/// | `cutout` | 0; 16 in DARTS' retraining | 0 to the image's side, in pixels | side of an erased square, 0: none; DeVries and Taylor 2017 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Mirror half of the images.
    #[serde(default)]
    pub flip: bool,
    /// Pixels of zero padding on each side before a crop of the image's own size is taken. 0: no crop.
    #[serde(default)]
    pub crop_padding: usize,
    /// Side in pixels of a square set to zero around a random centre; the square may reach over the edge. 0: none.
    #[serde(default)]
    pub cutout: usize,
}

/// What happens to one image. Offsets are drawn even if unused, so settings do not shift each other's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draw {
    flip: bool,
    /// Crop offset in the padded image, `0..=2 * padding`; `padding` is the image itself.
    top: usize,
    left: usize,
    /// Centre of the cutout.
    centre_y: usize,
    centre_x: usize,
}

/// Words of the generator that belong to one sample.
const WORDS_PER_SAMPLE: u128 = 8;

/// Pixel value to normalised value, a table per channel.
#[derive(Debug)]
pub(crate) struct Converter {
    tables: Vec<[f32; 256]>,
}

impl Augmentation {
    /// Images as they are, normalised.
    pub const NONE: Self = Self { flip: false, crop_padding: 0, cutout: 0 };

    /// The same for images whose sides are `factor` times smaller: lengths shrink with them, rounded down. A factor of 0
    /// counts as 1.
    pub fn downsampled(self, factor: usize) -> Self {
        let factor = factor.max(1);
        Self { crop_padding: self.crop_padding / factor, cutout: self.cutout / factor, ..self }
    }

    /// The same for images of `size` pixels, where the lengths are meant for images of `of`.
    pub fn resized(self, size: usize, of: usize) -> Self {
        let length = |length: usize| length.saturating_mul(size) / of.max(1);
        Self { crop_padding: length(self.crop_padding), cutout: length(self.cutout), ..self }
    }

    /// Refuses padding and cutouts that are larger than they could ever be meant: a square of twice the image's side erases
    /// every pixel, wherever its centre lies.
    ///
    /// # Errors
    /// [`DataError::Augmentation`].
    pub fn check(&self, shape: ImageShape) -> Result<(), DataError> {
        let ImageShape { height, width, .. } = shape;
        let side = height.min(width);
        for (setting, value, max) in [("crop_padding", self.crop_padding, side), ("cutout", self.cutout, side)] {
            if value > max {
                return Err(DataError::Augmentation { setting, value, height, width, max });
            }
        }
        Ok(())
    }

    /// The generator of an epoch's draws; `position` is that of the first sample to be drawn for.
    pub(super) fn generator(seed: u64, stream: u64, epoch: u64, position: usize) -> ChaCha8Rng {
        let mut rng = random::generator(seed, Purpose::Augmentation, stream, epoch);
        rng.set_word_pos(position as u128 * WORDS_PER_SAMPLE);
        rng
    }

    /// The next sample's draw.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng, shape: ImageShape) -> Draw {
        let mut words = [0u32; WORDS_PER_SAMPLE as usize];
        words.fill_with(|| rng.next_u32());
        // `n` is below 2^16 for any real image: a bias below 2^-16.
        let below = |word: u32, n: usize| ((u64::from(word) * n as u64) >> 32) as usize;
        Draw {
            flip: self.flip && words[0] >> 31 == 1,
            top: below(words[1], 2 * self.crop_padding + 1),
            left: below(words[2], 2 * self.crop_padding + 1),
            centre_y: below(words[3], shape.height),
            centre_x: below(words[4], shape.width),
        }
    }

    /// Writes one augmented, normalised image. `pixels` and `out`: `[H, W, C]`.
    pub(super) fn apply(&self, draw: Draw, pixels: &[u8], shape: ImageShape, convert: &Converter, out: &mut [f32]) {
        match shape.channels {
            1 => self.crop_and_flip::<1>(draw, pixels, shape, convert, out),
            3 => self.crop_and_flip::<3>(draw, pixels, shape, convert, out),
            _ => self.crop_and_flip::<0>(draw, pixels, shape, convert, out),
        }
        if self.cutout > 0 {
            let rows = span(draw.centre_y, self.cutout, shape.height);
            let columns = span(draw.centre_x, self.cutout, shape.width);
            let stride = shape.width * shape.channels;
            for row in out.chunks_exact_mut(stride).take(rows.end).skip(rows.start) {
                row[columns.start * shape.channels..columns.end * shape.channels].fill(0.0);
            }
        }
    }

    /// `C`: channels known while compiling, 0 for any other number.
    fn crop_and_flip<const C: usize>(
        &self,
        draw: Draw,
        pixels: &[u8],
        shape: ImageShape,
        convert: &Converter,
        out: &mut [f32],
    ) {
        let channels = if C == 0 { shape.channels } else { C };
        let tables = &convert.tables[..channels];
        let put = |to: &mut [f32], from: &[u8]| {
            for c in 0..channels {
                to[c] = tables[c][from[c] as usize];
            }
        };
        let ImageShape { height, width, .. } = shape;
        let padding = self.crop_padding;
        // Columns of the output that lie inside the image, and the image column of the first of them.
        let first = padding.saturating_sub(draw.left).min(width);
        let last = (width + padding - draw.left).min(width).max(first);
        let from_column = (first + draw.left).saturating_sub(padding);
        for (y, row) in out.chunks_exact_mut(width * channels).enumerate() {
            let source = (y + draw.top).checked_sub(padding).filter(|&s| s < height);
            if source.is_none() || first > 0 || last < width {
                for pixel in row.chunks_exact_mut(channels) {
                    for (to, table) in pixel.iter_mut().zip(tables) {
                        *to = table[0];
                    }
                }
            }
            let Some(source) = source else { continue };
            let from = &pixels[(source * width + from_column) * channels..][..(last - first) * channels];
            if draw.flip {
                let row = &mut row[(width - last) * channels..(width - first) * channels];
                let mirrored = row.chunks_exact_mut(channels).rev();
                mirrored.zip(from.chunks_exact(channels)).for_each(|(to, from)| put(to, from));
            } else {
                let row = &mut row[first * channels..last * channels];
                row.chunks_exact_mut(channels).zip(from.chunks_exact(channels)).for_each(|(to, from)| put(to, from));
            }
        }
    }
}

/// The part inside `0..size` of a stretch of `length` around `centre`.
fn span(centre: usize, length: usize, size: usize) -> std::ops::Range<usize> {
    let end = (centre + length - length / 2).min(size);
    centre.saturating_sub(length / 2)..end
}

impl Converter {
    /// `(value / pixel_max - mean) / std` in f32, the order of torchvision's `ToTensor` and `Normalize`.
    pub(crate) fn new(pixel_max: u8, mean: &[f32], std: &[f32]) -> Self {
        let table = |(&mean, &std): (&f32, &f32)| {
            std::array::from_fn(|value| (value as f32 / f32::from(pixel_max) - mean) / std)
        };
        Self { tables: mean.iter().zip(std).map(table).collect() }
    }

    /// Appends pixels `[..., C]`, normalised.
    pub(crate) fn append(&self, pixels: &[u8], to: &mut Vec<f32>) {
        let channels = self.tables.len();
        to.extend(pixels.iter().enumerate().map(|(i, &value)| self.tables[i % channels][value as usize]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The obvious version: pad, cut out of it, mirror, normalise, blank.
    fn reference(a: &Augmentation, d: Draw, pixels: &[u8], shape: ImageShape, convert: &Converter) -> Vec<f32> {
        let ImageShape { height, width, channels } = shape;
        let p = a.crop_padding as isize;
        let mut out = vec![0.0; shape.len()];
        for y in 0..height {
            for x in 0..width {
                let unflipped = if d.flip { width - 1 - x } else { x };
                let (sy, sx) = ((y + d.top) as isize - p, (unflipped + d.left) as isize - p);
                let inside = (0..height as isize).contains(&sy) && (0..width as isize).contains(&sx);
                let half = (a.cutout / 2) as isize;
                let hit = |at: usize, centre: usize| {
                    let offset = at as isize - centre as isize;
                    -half <= offset && offset < a.cutout as isize - half
                };
                for c in 0..channels {
                    let value = if inside { pixels[(sy as usize * width + sx as usize) * channels + c] } else { 0 };
                    let blank = hit(y, d.centre_y) && hit(x, d.centre_x);
                    out[(y * width + x) * channels + c] = if blank { 0.0 } else { convert.tables[c][value as usize] };
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn equals_the_reference(
            height in 1usize..9, width in 1usize..9, channels in 1usize..5,
            flip: bool, padding in 0usize..9, cutout in 0usize..17, seed: u64,
        ) {
            let shape = ImageShape { height, width, channels };
            let side = height.min(width);
            let a = Augmentation { flip, crop_padding: padding.min(side), cutout: cutout.min(side) };
            a.check(shape).unwrap();
            let mean: Vec<f32> = (0..channels).map(|c| 0.3 + 0.1 * c as f32).collect();
            let convert = Converter::new(255, &mean, &vec![0.25; channels]);
            let pixels: Vec<u8> = (0..shape.len()).map(|i| (i * 37 % 255 + 1) as u8).collect();
            let mut rng = Augmentation::generator(seed, 0, 0, 0);
            for _ in 0..4 {
                let draw = a.draw(&mut rng, shape);
                prop_assert!(draw.top <= 2 * a.crop_padding && draw.left <= 2 * a.crop_padding);
                let mut out = vec![f32::NAN; shape.len()];
                a.apply(draw, &pixels, shape, &convert, &mut out);
                prop_assert_eq!(out, reference(&a, draw, &pixels, shape, &convert));
            }
        }

        #[test]
        fn draws_depend_on_the_position_only(seed: u64, epoch in 0u64..5, position in 0usize..1000) {
            let shape = ImageShape { height: 32, width: 32, channels: 3 };
            let a = Augmentation { flip: true, crop_padding: 4, cutout: 16 };
            let mut from_start = Augmentation::generator(seed, 0, epoch, 0);
            let walked = (0..=position).map(|_| a.draw(&mut from_start, shape)).last().unwrap();
            let jumped = a.draw(&mut Augmentation::generator(seed, 0, epoch, position), shape);
            prop_assert_eq!(walked, jumped);
        }
    }

    #[test]
    fn no_augmentation_is_the_normalised_image() {
        let shape = ImageShape { height: 1, width: 2, channels: 3 };
        let convert = Converter::new(255, &[0.5, 0.25, 0.0], &[0.5, 0.25, 1.0]);
        let draw = Augmentation::NONE.draw(&mut Augmentation::generator(1, 0, 0, 0), shape);
        let mut out = [0.0; 6];
        Augmentation::NONE.apply(draw, &[0, 0, 0, 255, 255, 255], shape, &convert, &mut out);
        assert_eq!(out, [-1.0, -1.0, 0.0, 1.0, 3.0, 1.0]);
    }

    #[test]
    fn draws_are_spread_evenly() {
        let shape = ImageShape { height: 32, width: 32, channels: 3 };
        let a = Augmentation { flip: true, crop_padding: 4, cutout: 16 };
        let mut rng = Augmentation::generator(3, 0, 0, 0);
        let (mut flips, mut tops, mut lefts) = (0, [0; 9], [0; 9]);
        for _ in 0..9000 {
            let draw = a.draw(&mut rng, shape);
            flips += u32::from(draw.flip);
            tops[draw.top] += 1;
            lefts[draw.left] += 1;
        }
        // Five standard deviations: 47 for the flips, 30 for each offset.
        assert!((4265..=4735).contains(&flips), "{flips}");
        assert!(tops.iter().chain(&lefts).all(|n| (850..=1150).contains(n)), "{tops:?} {lefts:?}");
    }

    #[test]
    fn oversized_settings_are_refused() {
        let shape = ImageShape { height: 8, width: 8, channels: 1 };
        let error = Augmentation { crop_padding: 9, ..Augmentation::NONE }.check(shape).unwrap_err();
        assert_eq!(error.to_string(), "crop_padding 9 is too large for images of 8x8, at most 8");
        assert!(Augmentation { cutout: usize::MAX, ..Augmentation::NONE }.check(shape).is_err());
        assert!(Augmentation { crop_padding: 8, cutout: 8, flip: true }.check(shape).is_ok());
    }
}
