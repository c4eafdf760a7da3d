//! One picture file to pixels of a given size. The formats are told by content, not by name. Colour profiles are ignored:
//! the values are taken as sRGB, and resizing works on them as they are, as in PIL and torchvision.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use image::error::{ImageError, LimitErrorKind};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::files::shown;

/// Endings of file names that are taken for pictures.
const ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp"];
const READ: &str = "PNG, JPEG, WebP and BMP are read";
/// Largest file in bytes.
const LARGEST_FILE: u64 = 1 << 28;
/// Largest memory of a decoded picture in bytes: 89 million pixels of three bytes.
const LARGEST_PICTURE: u64 = 1 << 28;
/// Longest side of a picture that is asked for.
const LONGEST_SIDE: usize = 4096;

/// What a picture is made into.
///
/// It is turned as its EXIF orientation says, transparency is blended on white, the largest rectangle of the wanted
/// proportions is cut out of its middle (of a square the whole shorter side stays), and that is resized by a triangle filter
/// which takes in all pixels when it shrinks (PIL's and torchvision's antialiased bilinear). A picture that has the size
/// already keeps its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Height in pixels, 1 to 4096.
    pub height: usize,
    /// Width in pixels, 1 to 4096.
    pub width: usize,
    /// 3: red, green and blue; 1: grey (luma of Rec. 709).
    pub channels: usize,
}

/// Why a picture cannot be had, with its path.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", shown(.path))]
pub struct PictureError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: PictureProblem,
}

/// What is wrong with a picture; reads on after the file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureProblem {
    /// The system does not give the file.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A folder, a pipe or a device.
    #[error("is not an ordinary file")]
    NotAFile,
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// A file that is too large to be a picture.
    #[error("has {bytes} bytes, at most {LARGEST_FILE} are read")]
    LargeFile {
        /// Its size.
        bytes: u64,
    },
    /// No picture, or one of an unknown format.
    #[error("is not a picture: {READ}")]
    NoPicture,
    /// A picture of another format.
    #[error("is of the format {format}: {READ}")]
    Format {
        /// The format.
        format: String,
    },
    /// A picture of a known format, but of a kind that nothing decodes.
    #[error("is a {format} of a kind that cannot be decoded: {why}")]
    Unsupported {
        /// The format.
        format: &'static str,
        /// The decoder's reason.
        why: String,
    },
    /// A picture that would need too much memory.
    #[error("is too large to be decoded: {why}")]
    Large {
        /// Its size and the limit.
        why: String,
    },
    /// The end is missing.
    #[error("is a {format} that is cut short")]
    Cut {
        /// The format.
        format: &'static str,
    },
    /// Not what the format demands.
    #[error("is a damaged {format}: {why}")]
    Damaged {
        /// The format.
        format: &'static str,
        /// The decoder's reason.
        why: String,
    },
    /// A size that no picture can be made into.
    #[error(
        "cannot be made into {height}x{width} with {channels} channels, expected sides of 1 to {LONGEST_SIDE} and 1 or 3 channels"
    )]
    Preprocess {
        /// Height asked for.
        height: usize,
        /// Width asked for.
        width: usize,
        /// Channels asked for.
        channels: usize,
    },
}

/// Whether a name in a folder of pictures is not meant to be seen: it begins with a dot, or is what macOS leaves in archives.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX"
}

/// Whether a file is taken for a picture by the ending of its name, in upper or lower case.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&&*ending))
}

/// The picture's pixels, `[H, W, C]`, 0 to 255.
///
/// # Errors
/// [`PictureError`]: no file, no picture, a damaged one or one that is cut short, one that needs too much memory.
pub fn read_picture(path: &Path, preprocess: &Preprocess) -> Result<Vec<u8>, PictureError> {
    let failed = |problem| PictureError { path: path.to_owned(), problem };
    preprocess.check().map_err(failed)?;
    let bytes = read(path).map_err(failed)?;
    decode(&bytes).map(|picture| preprocess.apply(picture)).map_err(failed)
}

/// The shorter side of a picture in pixels, without decoding it.
pub(super) fn shorter_side(path: &Path) -> Result<usize, PictureError> {
    let failed = |problem| PictureError { path: path.to_owned(), problem };
    let bytes = read(path).map_err(failed)?;
    let format = sniff(&bytes).map_err(failed)?;
    let dimensions = guarded(format, || ImageReader::with_format(Cursor::new(&bytes), format).into_dimensions());
    dimensions.map(|(width, height)| width.min(height) as usize).map_err(failed)
}

impl Preprocess {
    /// Squares of `size` pixels.
    pub fn square(size: usize, channels: usize) -> Self {
        Self { height: size, width: size, channels }
    }

    /// Whether pictures can be made into it.
    ///
    /// # Errors
    /// [`PictureProblem::Preprocess`].
    pub fn check(&self) -> Result<(), PictureProblem> {
        let Self { height, width, channels } = *self;
        let sides = 1..=LONGEST_SIDE;
        if sides.contains(&height) && sides.contains(&width) && matches!(channels, 1 | 3) {
            return Ok(());
        }
        Err(PictureProblem::Preprocess { height, width, channels })
    }

    fn apply(&self, picture: RgbImage) -> Vec<u8> {
        // Both are at most LONGEST_SIDE.
        let (to_width, to_height) = (self.width as u32, self.height as u32);
        let (width, height) = picture.dimensions();
        let (w, h) = (u64::from(width), u64::from(height));
        // The largest rectangle of the proportions, to the nearest pixel.
        let fit =
            |side: u64, to: u32, of: u32| ((2 * side * u64::from(to) + u64::from(of)) / (2 * u64::from(of))).max(1);
        let (cut_width, cut_height) = if w * u64::from(to_height) > h * u64::from(to_width) {
            (fit(h, to_width, to_height).min(w) as u32, height)
        } else {
            (width, fit(w, to_height, to_width).min(h) as u32)
        };
        let (left, top) = ((width - cut_width) / 2, (height - cut_height) / 2);
        let cut = if (cut_width, cut_height) == (width, height) {
            picture
        } else {
            imageops::crop_imm(&picture, left, top, cut_width, cut_height).to_image()
        };
        let sized = if cut.dimensions() == (to_width, to_height) {
            cut
        } else {
            imageops::resize(&cut, to_width, to_height, imageops::FilterType::Triangle)
        };
        if self.channels == 1 { DynamicImage::from(sized).into_luma8().into_raw() } else { sized.into_raw() }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PictureProblem> {
    // Asked before it is opened: to open a pipe waits for its writer.
    let about = fs::metadata(path)?;
    if !about.is_file() {
        return Err(PictureProblem::NotAFile);
    }
    if about.len() > LARGEST_FILE {
        return Err(PictureProblem::LargeFile { bytes: about.len() });
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE).read_to_end(&mut bytes)?;
    if bytes.is_empty() { Err(PictureProblem::Empty) } else { Ok(bytes) }
}

/// The format by the first bytes.
fn sniff(bytes: &[u8]) -> Result<ImageFormat, PictureProblem> {
    let format = image::guess_format(bytes).map_err(|_| PictureProblem::NoPicture)?;
    match format {
        ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Bmp => Ok(format),
        other => Err(PictureProblem::Format { format: format!("{other:?}").to_uppercase() }),
    }
}

fn decode(bytes: &[u8]) -> Result<RgbImage, PictureProblem> {
    let format = sniff(bytes)?;
    let picture = guarded(format, || {
        let mut limits = Limits::default();
        limits.max_alloc = Some(LARGEST_PICTURE);
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(limits.clone());
        let mut decoder = reader.into_decoder()?;
        // The pixels themselves count as well.
        limits.reserve(decoder.total_bytes())?;
        let orientation = decoder.orientation()?;
        let mut picture = DynamicImage::from_decoder(decoder)?;
        picture.apply_orientation(orientation);
        Ok(picture)
    })
    .map_err(|problem| match problem {
        // Decoders do not always say that it was the end that they ran into.
        PictureProblem::Damaged { .. } if is_cut(format, bytes) => PictureProblem::Cut { format: name(format) },
        other => other,
    })?;
    // The decoder of JPEG makes up what is missing at the end.
    if format == ImageFormat::Jpeg && !ends_as_jpeg(bytes) {
        return Err(PictureProblem::Cut { format: name(format) });
    }
    if picture.width() == 0 || picture.height() == 0 {
        return Err(PictureProblem::Damaged { format: name(format), why: "it has no pixels".to_owned() });
    }
    Ok(if picture.color().has_alpha() { on_white(picture) } else { picture.into_rgb8() })
}

fn on_white(picture: DynamicImage) -> RgbImage {
    let picture = picture.into_rgba8();
    let (width, height) = picture.dimensions();
    let mut blended = RgbImage::new(width, height);
    for (to, from) in blended.pixels_mut().zip(picture.pixels()) {
        let [red, green, blue, alpha] = from.0.map(u32::from);
        let blend = |value: u32| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        to.0 = [blend(red), blend(green), blend(blue)];
    }
    blended
}

/// Runs a decoder. One that panics has met a file that its authors did not think of; that is the file's end, not ours.
fn guarded<T>(format: ImageFormat, run: impl FnOnce() -> Result<T, ImageError>) -> Result<T, PictureProblem> {
    let format = name(format);
    match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Err(_) => Err(PictureProblem::Damaged { format, why: "its decoder failed".to_owned() }),
        Ok(Err(error)) => Err(match error {
            ImageError::Limits(e) => match e.kind() {
                LimitErrorKind::Unsupported { .. } => {
                    PictureProblem::Unsupported { format, why: reason(&e.to_string()) }
                }
                _ => PictureProblem::Large { why: format!("it needs more than {} MiB", LARGEST_PICTURE >> 20) },
            },
            ImageError::Unsupported(e) => PictureProblem::Unsupported { format, why: reason(&e.to_string()) },
            ImageError::IoError(e) if e.kind() == io::ErrorKind::UnexpectedEof => PictureProblem::Cut { format },
            other => PictureProblem::Damaged { format, why: reason(&other.to_string()) },
        }),
    }
}

/// Whether the end of a file that cannot be decoded is missing, by what the file itself says.
fn is_cut(format: ImageFormat, bytes: &[u8]) -> bool {
    match format {
        ImageFormat::Jpeg => !ends_as_jpeg(bytes),
        // `RIFF`, the number of bytes that follow, `WEBP`.
        ImageFormat::WebP => match bytes.get(4..8).and_then(|length| <[u8; 4]>::try_from(length).ok()) {
            Some(length) => (bytes.len() as u64) < 8 + u64::from(u32::from_le_bytes(length)),
            None => true,
        },
        _ => false,
    }
}

/// A decoder's reason in one line and in words: no debugging output of its authors.
fn reason(error: &str) -> String {
    let line = error.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line = match line.split_once(": ") {
        Some((start, rest)) if start.starts_with("Format error decoding") => rest,
        _ => line,
    };
    // Names of variants, as `InvalidBlockLength`, are no words.
    let is_word = |word: &&str| {
        let inner = word.chars().skip(1).filter(|c| c.is_uppercase()).count();
        inner < 2 || !word.chars().any(char::is_lowercase)
    };
    let line = line.split(' ').filter(is_word).collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches(['.', ':', ' ']);
    let is_debug = line.is_empty() || line.contains(['{', '}']) || line.contains("::") || line.contains("Some(");
    if is_debug { "its content is not what the format demands".to_owned() } else { line.to_owned() }
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        _ => "picture",
    }
}

/// Whether the marker for the end of a JPEG comes where one is expected: behind segments and coded data, not inside them
/// (a preview has an end of its own).
fn ends_as_jpeg(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let (Some(&first), Some(&marker)) = (bytes.get(at), bytes.get(at + 1)) {
        at += match (first, marker) {
            (0xff, 0xd9) => return true,
            // A segment with its length; what follows its content is looked at byte by byte.
            (0xff, 0xc0..=0xcf | 0xda..=0xfe) => match (bytes.get(at + 2), bytes.get(at + 3)) {
                (Some(&high), Some(&low)) => 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
            (0xff, 0xff) => 1,
            // Coded data, an escaped 0xff, a restart.
            (0xff, _) => 2,
            _ => 1,
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, GrayImage, ImageBuffer, Luma, Rgba, RgbaImage};
    use proptest::prelude::*;

    /// Made by Pillow 13: 8x8, cyan 0, magenta and yellow 255, which is red.
    const CMYK: &str = "ffd8ffee000e41646f626500640000000000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f13201513121213271c1e17202e2931302e29\
        2d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a51524fffc000140800080008044311004d11005911004b1100ffc4\
        0014000100000000000000000000000000000007ffc40014100100000000000000000000000000000000ffda000e0443004d0059004b0000\
        3f004e180c09cfffd9";
    /// Made by Pillow 13: progressive, 16 wide and 8 high, blue on the left, red on the right, to be turned to the right
    /// (EXIF orientation 6).
    const TURNED: &str = "ffd8ffe000104a46494600010100000100010000ffe100224578696600004d4d002a00000008000101120003000000010006000000000000\
        ffdb0043000302020302020303030304030304050805050404050a070706080c0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515\
        150c0f171816141812141514ffdb00430103040405040509050509140d0b0d1414141414141414141414141414141414141414141414141414\
        141414141414141414141414141414141414141414141414ffc20011080008001003012200021101031101ffc40016000101010000000000\
        0000000000000000000608ffc4001501010100000000000000000000000000000607ffda000c03010002100310000001cf77c38a37ffc400\
        14100100000000000000000000000000000010ffda00080101000105023fffc40018110002030000000000000000000000000000074482c2\
        ffda0008010301013f015e4aa68fffc40018110002030000000000000000000000000000074482c2ffda0008010201013f0166c3be0fffc4\
        0014100100000000000000000000000000000010ffda0008010100063f023fffc40014100100000000000000000000000000000010ffda00\
        08010100013f213fffda000c0301000200030000001077ffc40014110100000000000000000000000000000000ffda0008010301013f102f\
        ffc40014110100000000000000000000000000000000ffda0008010201013f1017ffc40014100100000000000000000000000000000010ff\
        da0008010100013f103fffd9";

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
        digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn read_as(bytes: &[u8], preprocess: &Preprocess) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, bytes).unwrap();
        read_picture(&path, preprocess).map_err(|e| e.to_string().replace(&path.display().to_string(), "FILE"))
    }

    /// 12 wide and 9 high.
    fn sample() -> RgbImage {
        RgbImage::from_raw(12, 9, (0..12 * 9 * 3u32).map(|i| (i * 37 % 251) as u8).collect()).unwrap()
    }

    #[test]
    fn every_format_is_told_by_its_content() {
        let whole = Preprocess { height: 9, width: 12, channels: 3 };
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
            let bytes = encoded(&sample().into(), format);
            assert_eq!(read_as(&bytes, &whole).unwrap(), sample().into_raw(), "{format:?}");
        }
        let flat = RgbImage::from_pixel(12, 9, image::Rgb([200, 100, 50]));
        let jpeg = read_as(&encoded(&flat.into(), ImageFormat::Jpeg), &whole).unwrap();
        assert!(jpeg.chunks(3).all(|p| p.iter().zip([200u8, 100, 50]).all(|(a, b)| a.abs_diff(b) <= 2)), "{jpeg:?}");
        for name in ["a.png", "b.JPG", "c.JpEg", "d.webp", "e.bmp", ".x.png"] {
            assert!(is_picture(Path::new(name)), "{name}");
        }
        for name in ["png", "a.txt", "a.png.part", ".png", "a.gif", "a"] {
            assert!(!is_picture(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn every_kind_of_pixel_becomes_red_green_blue_or_grey() {
        let one = |picture: DynamicImage, channels| {
            let whole = Preprocess { height: picture.height() as usize, width: picture.width() as usize, channels };
            read_as(&encoded(&picture, ImageFormat::Png), &whole).unwrap()
        };
        let grey = GrayImage::from_raw(2, 1, vec![7, 250]).unwrap();
        assert_eq!(one(grey.clone().into(), 1), [7, 250]);
        assert_eq!(one(grey.into(), 3), [7, 7, 7, 250, 250, 250]);
        let see_through = GrayAlphaImage::from_raw(2, 1, vec![7, 255, 0, 0]).unwrap();
        assert_eq!(one(see_through.into(), 1), [7, 255]);
        let rgba = RgbaImage::from_raw(3, 1, vec![10, 20, 30, 255, 9, 9, 9, 0, 0, 100, 255, 51]).unwrap();
        assert_eq!(one(rgba.into(), 3), [10, 20, 30, 255, 255, 255, 204, 224, 255]);
        let deep = ImageBuffer::<Luma<u16>, _>::from_raw(3, 1, vec![0u16, 32_896, 65_535]).unwrap();
        assert_eq!(one(deep.into(), 1), [0, 128, 255]);
        let deep = ImageBuffer::<Rgba<u16>, _>::from_raw(1, 1, vec![65_535u16, 0, 0, 65_535]).unwrap();
        assert_eq!(one(deep.into(), 3), [255, 0, 0]);
        // A palette of two colours, the second one see-through, 1 bit a pixel.
        let palette =
            hex("89504e470d0a1a0a0000000d4948445200000002000000010103000000ceecedc900000006504c5445ff000000ff00d287ef\
             710000000274524e53ff00e5b7304a0000000a49444154789c63700000004200412937f4ef0000000049454e44ae426082");
        assert_eq!(
            read_as(&palette, &Preprocess { height: 1, width: 2, channels: 3 }).unwrap(),
            [255, 0, 0, 255, 255, 255]
        );
        let cmyk = read_as(&hex(CMYK), &Preprocess::square(8, 3)).unwrap();
        assert!(cmyk.chunks(3).all(|p| p[0] > 245 && p[1] < 10 && p[2] < 10), "{cmyk:?}");
    }

    #[test]
    fn pictures_are_turned_as_they_say() {
        let turned = read_as(&hex(TURNED), &Preprocess { height: 16, width: 8, channels: 3 }).unwrap();
        let (blue, red) = (&turned[(2 * 8 + 4) * 3..][..3], &turned[(13 * 8 + 4) * 3..][..3]);
        assert!(red[0] > 200 && red[2] < 60 && blue[2] > 200 && blue[0] < 60, "{red:?} {blue:?}");
    }

    #[test]
    fn the_middle_is_resized_as_pillow_does() {
        let png = encoded(&sample().into(), ImageFormat::Png);
        // Image.fromarray(...).crop((1, 0, 10, 9)).resize((4, 4), Image.BILINEAR)
        let pillow = [
            130, 117, 114, 119, 134, 121, 136, 128, 131, 138, 140, 121, 119, 139, 125, 138, 130, 144, 117, 122, 120,
            122, 121, 113, 136, 114, 119, 135, 112, 120, 125, 119, 122, 116, 138, 126, 117, 119, 116, 129, 121, 127,
            123, 138, 130, 140, 127, 145,
        ];
        let ours = read_as(&png, &Preprocess::square(4, 3)).unwrap();
        assert!(ours.iter().zip(pillow).all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 1), "{ours:?}");
        let dot = encoded(&RgbImage::from_pixel(1, 1, image::Rgb([1, 2, 3])).into(), ImageFormat::Png);
        assert_eq!(read_as(&dot, &Preprocess { height: 2, width: 3, channels: 3 }).unwrap(), [1, 2, 3].repeat(6));
        let line = encoded(&GrayImage::from_pixel(1, 5000, Luma([9])).into(), ImageFormat::Png);
        assert_eq!(read_as(&line, &Preprocess { height: 1, width: 30, channels: 1 }).unwrap(), [9; 30]);
    }

    #[test]
    fn what_is_no_picture_is_said_in_words() {
        let error = |bytes: &[u8]| read_as(bytes, &Preprocess::square(4, 3)).unwrap_err();
        assert_eq!(error(b""), "FILE is empty");
        assert_eq!(error(b"hello"), "FILE is not a picture: PNG, JPEG, WebP and BMP are read");
        assert_eq!(error(b"GIF89a"), "FILE is of the format GIF: PNG, JPEG, WebP and BMP are read");
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp] {
            let bytes = encoded(&sample().into(), format);
            for cut in [12, bytes.len() / 2, bytes.len() - 16] {
                let text = error(&bytes[..cut]);
                let damaged = format == ImageFormat::Bmp && text.contains("damaged");
                assert!(text.contains("cut short") || damaged, "{format:?} {cut}: {text}");
            }
        }
        let path = tempfile::tempdir().unwrap();
        let text = read_picture(path.path(), &Preprocess::square(4, 3)).unwrap_err().to_string();
        assert!(text.ends_with("is not an ordinary file"), "{text}");
        let text = read_picture(&path.path().join("none.png"), &Preprocess::square(4, 3)).unwrap_err().to_string();
        assert!(text.contains("none.png cannot be read: "), "{text}");
        let text = read_as(b"x", &Preprocess { height: 0, width: 1, channels: 2 }).unwrap_err();
        assert!(text.contains("cannot be made into 0x1 with 2 channels, expected sides of 1 to 4096"), "{text}");
    }

    #[test]
    fn reasons_are_one_line_in_words() {
        assert_eq!(reason("Format error decoding Jpeg: No start.\nmore\n"), "No start");
        assert_eq!(reason("Bad chunk: ChunkType { type: IHDR }"), "its content is not what the format demands");
        assert_eq!(reason("Corrupt stream. InvalidBlockLength"), "Corrupt stream");
        assert_eq!(reason("An IHDR chunk is missing."), "An IHDR chunk is missing");
        assert_eq!(reason("\n"), "its content is not what the format demands");
    }

    #[test]
    fn a_bomb_is_an_error() {
        // The head of a PNG that says it has 60,000 x 60,000 pixels of 16-bit RGBA.
        let mut png = encoded(&sample().into(), ImageFormat::Png);
        png[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        png[24..26].copy_from_slice(&[16, 6]);
        let mut crc = flate2::Crc::new();
        crc.update(&png[12..29]);
        png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let text = read_as(&png, &Preprocess::square(4, 3)).unwrap_err();
        assert!(text.contains("is too large to be decoded: it needs more than 256 MiB"), "{text}");
        let mut bmp = encoded(&sample().into(), ImageFormat::Bmp);
        bmp[18..26].copy_from_slice(&[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);
        let text = read_as(&bmp, &Preprocess::square(4, 3)).unwrap_err();
        assert!(text.contains("is too large to be decoded"), "{text}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_bytes_panic(at in 0usize..1000, with: u8, cut in 0usize..1000, noise: Vec<u8>) {
            let pictures = [
                encoded(&sample().into(), ImageFormat::Png),
                encoded(&sample().into(), ImageFormat::Jpeg),
                encoded(&sample().into(), ImageFormat::WebP),
                encoded(&sample().into(), ImageFormat::Bmp),
                hex(CMYK),
                hex(TURNED),
            ];
            for mut bytes in pictures {
                let (at, cut) = (at % bytes.len(), cut % bytes.len());
                let _ = decode(&bytes[..cut]);
                bytes[at] = with;
                let _ = decode(&bytes);
                bytes.truncate(4);
                bytes.extend(&noise);
                let _ = decode(&bytes);
            }
        }

        #[test]
        fn sizes_are_what_was_asked_for(width in 1u32..60, height in 1u32..60, to_w in 1usize..40, to_h in 1usize..40, grey: bool) {
            let picture = RgbImage::from_pixel(width, height, image::Rgb([9, 9, 9]));
            let preprocess = Preprocess { height: to_h, width: to_w, channels: if grey { 1 } else { 3 } };
            prop_assert_eq!(preprocess.apply(picture), vec![9; to_h * to_w * preprocess.channels]);
        }
    }
}
