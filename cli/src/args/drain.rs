//! The flags of `drain` and `undrain`.

use std::time::Duration;

use clap::{Args, ValueEnum, builder::FalseyValueParser};

use super::AdminArgs;

/// How long a drain is waited for, unless told otherwise.
const DRAIN_TIMEOUT: &str = "5m";

/// What can be drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DrainKind {
    /// A connector, or one replica of it
    Connector,
    /// An origin of a pool
    Origin,
    /// All origins of a pool
    Pool,
    /// A load balancer
    LoadBalancer,
    /// A listener
    Listener,
}

/// Which thing is drained, or filled again.
#[derive(Debug, Args)]
pub(crate) struct DrainSubject {
    /// What it is
    #[arg(value_name = "KIND")]
    pub(crate) kind: DrainKind,
    /// Its name; of one replica CONNECTOR/REPLICA, of an origin POOL/ORIGIN
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Flags of `drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) subject: DrainSubject,
    /// Wait until it is empty, with a line a second about what is left
    #[arg(long, env = "UNDERPASS_WAIT", value_parser = FalseyValueParser::new())]
    pub(crate) wait: bool,
    /// How long to wait; what is not empty then ends the command with 1, and stays drained
    #[arg(long, env = "UNDERPASS_TIMEOUT", value_name = "DURATION", default_value = DRAIN_TIMEOUT,
        value_parser = config::duration)]
    pub(crate) timeout: Duration,
    /// Print the edge's answers as they are, in JSON, one a line
    #[arg(long, env = "UNDERPASS_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// Flags of `undrain`.
#[derive(Debug, Args)]
pub(crate) struct UndrainArgs {
    #[command(flatten)]
    pub(crate) subject: DrainSubject,
    /// Print the edge's answer as it is, in JSON
    #[arg(long, env = "UNDERPASS_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}
