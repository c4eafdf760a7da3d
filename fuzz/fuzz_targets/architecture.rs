//! Architectures of every space, in every notation. What is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nas::space;

fuzz_target!(|text: &str| {
    for wanted in std::iter::once(None).chain(space::all().iter().copied().map(Some)) {
        let Ok(genotype) = space::read(text, wanted) else { continue };
        let space = space::find(&genotype.space).expect("a known space");
        let written = space.text(&genotype).expect("a genotype that was read");
        let again = space::read(&written, None).expect("a text that was written");
        assert_eq!(space.text(&again), Ok(written));
        let json = serde_json::to_string(&genotype).expect("JSON");
        assert_eq!(space::read(&json, None).as_ref(), Ok(&genotype));
    }
});
