//! connector

pub mod config;
