//! Replays the fuzz corpora, whole and damaged, so that what was found once stays found without a fuzzer.

use std::{fs, panic::catch_unwind, path::PathBuf};

use underpass_tests::decoders::{DECODERS, Decoder};

/// Inputs up to this size are damaged too.
const DAMAGED_MAX: usize = 512;

fn fuzz() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = fuzz().join("corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("a readable folder").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("a readable file"))).collect()
}

fn bears(decode: Decoder, bytes: &[u8], what: impl Fn() -> String) {
    assert!(catch_unwind(|| decode(bytes)).is_ok(), "{}", what());
}

#[test]
fn every_saved_input_is_borne() {
    for (target, decode) in DECODERS {
        let inputs = inputs(target);
        assert!(inputs.len() >= 3, "{target} has a corpus");
        for (path, bytes) in inputs {
            bears(*decode, &bytes, || path.display().to_string());
        }
    }
}

#[test]
fn every_small_input_is_borne_cut_anywhere_and_with_any_bit_flipped() {
    for (target, decode) in DECODERS {
        for (path, bytes) in inputs(target).into_iter().filter(|(_, bytes)| bytes.len() <= DAMAGED_MAX) {
            for end in 0..bytes.len() {
                bears(*decode, &bytes[..end], || format!("{} cut at {end}", path.display()));
            }
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                bears(*decode, &damaged, || format!("{} with bit {bit} flipped", path.display()));
            }
        }
    }
}

#[test]
fn every_decoder_has_a_fuzz_target_and_every_target_a_decoder() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("fuzz/Cargo.toml");
    for (target, _) in DECODERS {
        assert!(manifest.contains(&format!("name = \"{target}\"\n")), "{target} in fuzz/Cargo.toml");
        let source = fs::read_to_string(fuzz().join("fuzz_targets").join(format!("{target}.rs"))).expect(target);
        assert!(source.contains(&format!("decoders::{target}(data)")), "{target} searches its own decoder");
    }
    assert_eq!(fs::read_dir(fuzz().join("fuzz_targets")).expect("targets").count(), DECODERS.len());
    assert_eq!(fs::read_dir(fuzz().join("corpus")).expect("corpora").count(), DECODERS.len());
}
