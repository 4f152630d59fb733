//! The binary as its users meet it, by running it.

mod check;
mod commands;
mod dir;
#[cfg(feature = "lab")]
mod lab;
mod services;
mod tokens;
mod units;
