//! Pictures of every format, whatever their ending says.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use nas::data::{Preprocess, read_picture};

fuzz_target!(|input: (u8, &[u8])| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let ending = ["png", "jpg", "webp", "bmp"][usize::from(input.0) % 4];
    let file = folder.path().join(format!("picture.{ending}"));
    fs::write(&file, input.1).expect("a file");
    for channels in [1, 3] {
        if let Ok(pixels) = read_picture(&file, &Preprocess::square(16, channels)) {
            assert_eq!(pixels.len(), 16 * 16 * channels);
        }
    }
});
