//! The real NAS-Bench-201 results: order, sizes, optima. Needs `nas-bench-201.csv.gz`.
#![allow(clippy::print_stderr)]

use std::path::PathBuf;

use hpe_darts_nas::{
    benchmark::{BenchmarkDataset, Column, Epochs, Import, Split, Table, import},
    space::nas_bench_201::{Arch, benchmark_shape},
};

/// The CSV file in `HPE_DARTS_DATA`, else in `../shared/data` beside the workspace.
fn csv() -> Option<PathBuf> {
    let folder = std::env::var_os("HPE_DARTS_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let file = folder.join("nas-bench-201.csv.gz");
    let there = file.is_file();
    if !there {
        eprintln!("SKIPPED: {} is missing; set HPE_DARTS_DATA to its folder", file.display());
    }
    there.then_some(file)
}

#[test]
fn import_accepts_every_row_so_the_order_is_the_benchmarks() {
    let Some(csv) = csv() else { return };
    let Import { table, ignored } = import(&csv).unwrap();
    assert_eq!(ignored, ["unique_str"]);
    assert_eq!(table.columns().count(), Column::ALL.len());
    let seeds = [Column::Cifar10TestSeed0, Column::Cifar10TestSeed1, Column::Cifar10TestSeed2];
    let known = seeds.map(|c| table.column(c).unwrap().iter().filter(|v| !v.is_nan()).count());
    assert_eq!(known, [15_625, 5_439 + 7_961, 7_961]);
}

#[test]
fn parameters_and_multiply_adds_equal_the_tables_for_every_architecture_and_data_set() {
    let Some(csv) = csv() else { return };
    let table = import(&csv).unwrap().table;
    let mut compared = 0;
    for dataset in BenchmarkDataset::ALL {
        let shape = benchmark_shape(dataset.image_side(), dataset.classes());
        for arch in Arch::all() {
            let cost = arch.network_spec(&shape).graph().unwrap().cost();
            // The table has six decimals of millions of parameters and five of multiply-adds, so both are exact.
            let parameters = table.value(Column::params(dataset), arch).unwrap() * 1e6;
            let multiply_adds = table.value(Column::flops(dataset), arch).unwrap() * 1e6;
            assert_eq!(cost.parameters, parameters.round() as u64, "{} {arch}", dataset.name());
            assert_eq!(cost.multiply_adds, multiply_adds.round() as u64, "{} {arch}", dataset.name());
            compared += 1;
        }
    }
    assert_eq!(compared, 3 * 15_625);
}

#[test]
fn the_published_optima_are_the_best_of_their_columns() {
    let Some(csv) = csv() else { return };
    let table = import(&csv).unwrap().table;
    for (column, index, accuracy) in [
        (Column::Cifar10Valid, 6111, 91.6067),
        (Column::Cifar10Test, 6111, 94.3733),
        (Column::Cifar100Valid, 9930, 73.4933),
        (Column::Cifar100Test, 9930, 73.5133),
        (Column::ImageNet16Valid, 10_676, 46.7333),
        (Column::ImageNet16Test, 857, 47.3111),
    ] {
        let (arch, best) = table.best(column).unwrap();
        assert_eq!(arch.index(), index, "{column}");
        assert!((best - accuracy).abs() < 1e-4, "{column}: {best}");
        assert_eq!(table.rank(column, arch), Some(1));
    }
    let all_skip = table.query(Arch::new([1; 6]).unwrap());
    assert_eq!(all_skip.index, 1835);
    assert!((all_skip.cifar10.valid - 39.77).abs() < 0.01 && (all_skip.cifar10.test - 54.30).abs() < 0.01);
    let strongest: Arch =
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
            .parse()
            .unwrap();
    let result = table.query(strongest);
    let published = [91.55, 94.36, 73.49, 73.51, 46.37, 46.34];
    let pairs = [result.cifar10, result.cifar100, result.imagenet16_120];
    for (found, published) in pairs.iter().flat_map(|a| [a.valid, a.test]).zip(published) {
        assert!((found - published).abs() < 0.006, "{found} {published}");
    }
}

#[test]
fn the_table_file_is_small_and_holds_what_the_csv_file_does() {
    let Some(csv) = csv() else { return };
    let table = import(&csv).unwrap().table;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.table");
    assert!(table.save(&path).unwrap() < 4_000_000);
    let read = Table::open(&path).unwrap();
    for &column in Column::ALL {
        for arch in Arch::all() {
            assert_eq!(read.value(column, arch), table.value(column, arch), "{column} {arch}");
        }
    }
    for dataset in BenchmarkDataset::ALL {
        let short = read.accuracy(dataset, Split::Valid, Epochs::Twelve, Arch::from_index(0).unwrap());
        assert_eq!(short, [63.364, 31.84, 18.4667][dataset as usize]);
    }
    assert_eq!(read.train_seconds(BenchmarkDataset::Cifar10, Arch::from_index(1).unwrap()), 2169.6414);
}
