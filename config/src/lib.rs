//! Reading settings: a TOML file, or an object in JSON, as a tree in which every value knows its place, typed getters that note
//! each mistake and go on, and the list of all mistakes at the end.
//!
//! It knows no setting of any program and no other crate of the workspace: what keys there are, what they mean and how
//! they fit together is checked by the rooms that own them.

mod difference;
mod document;
mod kind;
mod log_filter;
mod mistakes;
mod named;
mod near;
mod notes;
mod path;
mod source;
mod spec;
mod survey;
mod table;
mod tree;
mod value;
mod written;

pub use difference::Object;
pub use document::SIZE_MAX;
pub use kind::FileKind;
pub use log_filter::{BadLogFilter, LogFilter};
pub use mistakes::{Mistake, Mistakes, Place};
pub use named::{Named, Seen};
pub use near::hint;
pub use path::beside;
pub use spec::Spec;
pub use survey::{Key, Keys, Kind, Survey};
pub use table::Table;
pub use value::{At, Later, Value, Words, cidr, duration, spell};

#[cfg(test)]
mod tests;
