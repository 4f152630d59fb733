//! The connector: the agent inside a private network. It dials out, permits, dials origins and carries bytes; it parses
//! nothing that it carries.

pub mod admin;
pub mod config;
pub mod connector;
pub mod link;
pub mod metrics;
pub mod reloads;
pub mod serve;
