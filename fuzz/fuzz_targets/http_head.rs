//! Searches `decoders::http_head` for inputs that break it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| underpass_tests::decoders::http_head(data));
