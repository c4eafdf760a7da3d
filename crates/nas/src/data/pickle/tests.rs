use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Made by `tests/pickles/make_fixtures.py`.
fn fixtures() -> BTreeMap<String, Vec<u8>> {
    let all: BTreeMap<String, String> =
        serde_json::from_str(include_str!("../../../tests/fixtures/pickles.json")).unwrap();
    let bytes =
        |hex: String| (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    all.into_iter().map(|(name, hex)| (name, bytes(hex))).collect()
}

fn refused(bytes: &[u8]) -> String {
    Pickle::read(bytes).unwrap_err()
}

fn data(bytes: &[u8], columns: usize) -> Result<(usize, Vec<u8>), String> {
    let pickle = Pickle::read(bytes)?;
    let (rows, data) = pickle.byte_matrix(pickle.entry("data")?, columns)?;
    Ok((rows, data.into_owned()))
}

#[test]
fn all_protocols_and_numpys_give_the_same() {
    let expected: Vec<u8> = (0..36).map(|i| (i * 7 + 250) as u8).collect();
    let mut read = 0;
    for (name, bytes) in fixtures() {
        if name.starts_with("calls") || name == "of floats" {
            continue;
        }
        let pickle = Pickle::read(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(data(&bytes, 12).unwrap(), (3, expected.clone()), "{name}");
        let labels = pickle.entry("labels").and_then(|list| pickle.integers(list));
        assert_eq!(labels.unwrap(), [3, 0, 300], "{name}");
        read += 1;
    }
    assert_eq!(read, 15);
}

#[test]
fn nothing_is_run_and_what_does_not_fit_is_said() {
    let all = fixtures();
    for name in ["calls a program", "calls a program protocol 4"] {
        let text = refused(&all[name]);
        assert!(text.contains("refuses to run `posix.system`"), "{text}");
    }
    assert_eq!(data(&all["of floats"], 12).unwrap_err(), "an array of f4, expected u1");
    let good = &all["numpy2 protocol 2"];
    assert_eq!(data(good, 9).unwrap_err(), "an array of 3 x 12 with 36 bytes, expected rows of 9");
    let pickle = Pickle::read(good).unwrap();
    assert_eq!(pickle.entry("fine_labels").unwrap_err(), "it has no entry 'fine_labels'");
    assert_eq!(pickle.integers(pickle.entry("data").unwrap()).unwrap_err(), "no list");
    assert_eq!(refused(b""), "byte 0: the file ends too early");
    assert_eq!(refused(b"\x80\x09."), "byte 0: protocol 9, expected 0 to 5");
    assert_eq!(refused(b"hello"), "byte 0: nothing was remembered as 101");
    assert_eq!(refused(b"cbuiltins\neval\n."), "byte 0: refuses to run `builtins.eval`");
    assert_eq!(refused(b"("), "byte 1: the file ends too early");
    assert_eq!(refused(b"K\x01)R."), "byte 3: refuses to call a value");
    assert_eq!(Pickle::read(b"N.").unwrap().entry("x").unwrap_err(), "it is not a dictionary");
    // Asks for more than there is.
    assert_eq!(refused(b"B\xff\xff\xff\xff"), "byte 0: the file ends too early");
    assert_eq!(refused(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff"), "byte 0: the file ends too early");
}

#[test]
fn values_are_limited_and_lists_may_hold_themselves() {
    let many = vec![b'N'; (1 << 23) + 1];
    assert!(refused(&many).ends_with("has more than 8388608 values"));
    // A text that is remembered, encoded again and again.
    let mut again = [&b"X\x50\0\0\0"[..], &[b'a'; 0x50], b"q\0c_codecs\nencode\nq\x01X\x06\0\0\0latin1q\x02"].concat();
    (0..20).for_each(|_| again.extend(b"h\x01h\0h\x02\x86R"));
    assert!(refused(&again).ends_with("encodes more text than there is"), "{}", refused(&again));
    let long = [&b"cnumpy\ndtype\nX\x50\0\0\0"[..], &[b'u'; 0x50], b"\x85R."].concat();
    assert!(refused(&long).ends_with("a type of elements with a name of more than 64 bytes"));
    // l = []; l.append(l)
    let own = Pickle::read(b"]q\x00h\x00a.").unwrap();
    assert!(own.integers(own.root).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = data(&bytes, 12);
    }

    #[test]
    fn no_opcodes_panic(ops in proptest::collection::vec(proptest::sample::select(OPCODES.to_vec()), 0..200)) {
        let _ = data(&ops, 12);
    }

    #[test]
    fn no_changed_pickle_panics(which in 0usize..18, at in 0usize..2000, with: u8, cut in 0usize..2000) {
        let all: Vec<Vec<u8>> = fixtures().into_values().collect();
        let mut bytes = all[which % all.len()].clone();
        let (at, cut) = (at % bytes.len(), cut % bytes.len());
        let _ = data(&bytes[..cut], 12);
        bytes[at] = with;
        let _ = data(&bytes, 12);
        let _ = Pickle::read(&bytes).and_then(|pickle| pickle.integers(pickle.entry("labels")?));
    }
}

/// So that random pickles get somewhere; some of these are operands as well.
const OPCODES: &[u8] =
    b"(.012NKMJIL\x8a\x8bFGSVTUBC\x8e\x96X\x8c\x8d)]}tld\x85\x86\x87aesupqr\x94ghjc\x93Rb\n\x00\x01\x02\x80\x95";
