//! CIFAR-10 itself: counts, statistics, the benchmark's split, cached decoding. Skipped, loudly, where it is absent.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hpe_darts_nas as nas;
use nas::data::{
    Augmentation, DatasetName, LoadEvent, LoadOptions, Loader, LoaderOptions, PartName, Source, Split, load_with,
};

/// `HPE_DARTS_DATA`, else `../shared/data` beside the workspace; `None` if `file` is missing.
fn data(file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("HPE_DARTS_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = folder.join(file);
    if !path.exists() {
        // Past the test harness, which swallows what `eprintln!` prints.
        let message = format!("SKIPPED: {} is missing (set HPE_DARTS_DATA to its folder)\n", path.display());
        let _ = io::stderr().write_all(message.as_bytes());
        return None;
    }
    Some(path)
}

#[test]
fn cifar10_is_what_it_should_be() {
    let Some(archive) = data("cifar-10-binary.tar.xz") else { return };
    let home = tempfile::tempdir().unwrap();
    let options = LoadOptions { data: Some(archive), home: Some(home.path().to_owned()), ..LoadOptions::default() };
    let mut events = Vec::new();
    let dataset = load_with(DatasetName::Cifar10, &options, &mut |event| events.push(event)).unwrap();
    assert!(matches!(events[..], [LoadEvent::Decoding { .. }, LoadEvent::Cached { .. }]), "{events:?}");

    assert_eq!(dataset.train().class_counts(10), [5000; 10]);
    assert_eq!(dataset.test().class_counts(10), [1000; 10]);
    let statistics = dataset.train().channel_statistics(dataset.shape(), 255).unwrap();
    for (measured, known) in
        [(&statistics.mean, [0.49140, 0.48216, 0.44653]), (&statistics.std, [0.24703, 0.24349, 0.26159])]
    {
        assert!(measured.iter().zip(known).all(|(m, k)| (m - k).abs() < 6e-6), "{statistics:?}");
    }
    // The first training image is a frog, the first test image a cat.
    assert_eq!(dataset.classes()[dataset.train().labels[0] as usize], "frog");
    assert_eq!(dataset.classes()[dataset.test().labels[0] as usize], "cat");
    assert_eq!(dataset.train().images.to_vec().unwrap()[..6], [59, 62, 63, 43, 46, 45]);

    events.clear();
    let again = load_with(DatasetName::Cifar10, &options, &mut |event| events.push(event)).unwrap();
    assert!(matches!(events[..], [LoadEvent::Reading { .. }]), "{events:?}");
    assert_eq!((dataset.train(), dataset.test()), (again.train(), again.test()));

    // Normalised over the whole part, each channel has mean 0 and deviation 1.
    let source = Source::all(Arc::new(dataset), PartName::Train);
    let (mut sum, mut squares) = ([0.0; 3], [0.0; 3]);
    for batch in Loader::epoch(&source, &LoaderOptions::evaluation(500), 0, 0).unwrap() {
        for pixel in batch.unwrap().images().chunks_exact(3) {
            for c in 0..3 {
                sum[c] += f64::from(pixel[c]);
                squares[c] += f64::from(pixel[c]).powi(2);
            }
        }
    }
    let pixels = 50_000.0 * 1024.0;
    for c in 0..3 {
        assert!((sum[c] / pixels).abs() < 1e-5 && (squares[c] / pixels - 1.0).abs() < 1e-4, "{sum:?} {squares:?}");
    }

    // An epoch of training batches holds every image of the half once.
    let options = LoaderOptions::training(64, Augmentation { flip: true, crop_padding: 4, cutout: 0 }, 1, 0);
    let half = Source::new(source.dataset().clone(), PartName::Train, Split::benchmark().train).unwrap();
    assert_eq!(Loader::epoch(&half, &options, 0, 0).unwrap().count(), 390);
}

#[test]
fn the_benchmark_split_is_the_published_one() {
    let Some(path) = data("nas-bench-201-cifar10-split.json.gz") else { return };
    let published = Split::read(&path, 50_000).unwrap();
    let made = Split::benchmark();
    assert_eq!((made.train, made.valid), (published.train, published.valid));
}
