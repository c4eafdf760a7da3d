//! Archives of data sets: the bytes as they are, and as the names and contents of a tar's members. Nothing is written outside of the
//! program's own folder.
#![no_main]

use std::{fs, io::Write};

use libfuzzer_sys::fuzz_target;
use nas::data::{DatasetName, LoadOptions, load};

fuzz_target!(|input: (bool, Vec<(String, Vec<u8>)>, &[u8])| {
    let (compressed, members, raw) = input;
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let archive = folder.path().join("data/cifar.tar");
    fs::create_dir(folder.path().join("data")).expect("a folder");
    let read = |bytes: &[u8]| {
        fs::write(&archive, bytes).expect("a file");
        for name in [DatasetName::Cifar10, DatasetName::Cifar100, DatasetName::ImageNet16] {
            let home = Some(folder.path().join("home"));
            let _ = load(name, &LoadOptions { data: Some(archive.clone()), home, verify: false, ..LoadOptions::default() });
        }
    };
    read(raw);
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in &members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        // Names that a builder refuses, `../x` say, go into the header as they are.
        let bytes = name.as_bytes();
        let place = &mut header.as_old_mut().name;
        let length = bytes.len().min(place.len());
        place[..length].copy_from_slice(&bytes[..length]);
        header.set_cksum();
        tar.append(&header, &content[..]).expect("a member");
    }
    let tar = tar.into_inner().expect("a tar");
    if compressed {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&tar).expect("memory");
        read(&encoder.finish().expect("memory"));
    } else {
        read(&tar);
    }
    let mut names: Vec<_> = fs::read_dir(folder.path()).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    names.sort();
    assert!(names == ["data"] || names == ["data", "home"], "{names:?}");
});
