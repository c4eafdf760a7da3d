//! Files of settings of searches and comparisons, and `--set`. What is accepted can be written and read again.
#![no_main]

use std::{fs, path::Path};

use libfuzzer_sys::fuzz_target;
use nas::{
    compare::{Comparison, Place},
    search::{Config, Request},
};

fuzz_target!(|text: &str| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let file = folder.path().join("config.toml");
    fs::write(&file, text).expect("a file");
    let requests = [
        Request { file: Some(file.clone()), ..Request::default() },
        Request { set: text.lines().map(str::to_owned).collect(), ..Request::default() },
    ];
    for request in requests {
        let Ok(config) = request.resolve() else { continue };
        fs::write(&file, config.to_toml()).expect("a file");
        assert_eq!(Config::read(&file).expect("what was written"), config);
    }
    fs::write(&file, text).expect("a file");
    let _ = Comparison::read(&file, &Place::new(Path::new("out")));
});
