//! Whole-system tests: the harness that starts the real binary beside real servers. The tests are in `it/`, the rules
//! about the source itself in `tidy.rs`, and what fuzzing searches in `decoders`.

pub mod decoders;
pub mod harness;
