//! Searches `decoders::connector_config` for inputs that break it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| underpass_tests::decoders::connector_config(data));
