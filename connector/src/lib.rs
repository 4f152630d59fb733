//! The connector: the agent inside a private network. It dials out, permits, dials origins and carries bytes; it parses
//! nothing that it carries.

mod admin;
pub mod config;
pub mod connector;
mod link;
mod metrics;
mod serve;
