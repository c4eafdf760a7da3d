//! CIFAR and ImageNet16-120 in the forms that they are published in, binary records and Python pickles: six files of the same
//! bytes, read without their official checksums.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use nas::data::{DatasetName, LoadOptions, load};

const FILES: [(DatasetName, &[&str]); 5] = [
    (
        DatasetName::Cifar10,
        &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"],
    ),
    (
        DatasetName::Cifar10,
        &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch", "batches.meta"],
    ),
    (DatasetName::Cifar100, &["train.bin", "test.bin"]),
    (DatasetName::Cifar100, &["train", "test", "meta"]),
    (
        DatasetName::ImageNet16,
        &[
            "train_data_batch_1", "train_data_batch_2", "train_data_batch_3", "train_data_batch_4", "train_data_batch_5",
            "train_data_batch_6", "train_data_batch_7", "train_data_batch_8", "train_data_batch_9", "train_data_batch_10",
            "val_data",
        ],
    ),
];

fuzz_target!(|input: (u8, &[u8])| {
    let (name, files) = FILES[usize::from(input.0) % FILES.len()];
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    for file in files {
        fs::write(folder.path().join(file), input.1).expect("a file");
    }
    let options = LoadOptions { data: Some(folder.path().to_owned()), verify: false, ..LoadOptions::default() };
    if let Ok(dataset) = load(name, &options) {
        let classes = dataset.classes().len();
        assert_eq!(dataset.train().class_counts(classes).iter().sum::<usize>(), dataset.train().len());
    }
});
