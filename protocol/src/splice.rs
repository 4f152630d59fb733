//! Splice.
