//! Flags of what runs until it is told to end: `edge` and `connector`.

use std::{path::PathBuf, time::Duration};

use certs::secret::Secret;
use clap::Args;
use protocol::id::Name;

use super::secret;

/// How long flows may take to end, unless told otherwise.
const GRACE_PERIOD: &str = "30s";
/// How long an edge waits for whoever balances in front of it, unless told otherwise.
const PRE_STOP: &str = "0s";

/// Flags of `edge`.
#[derive(Debug, Clone, Args)]
pub(crate) struct EdgeRun {
    /// The edge's name, so that the edges of a fleet can share one file; unless told otherwise the file's
    #[arg(long, env = "UNDERPASS_NAME", value_name = "NAME")]
    pub(crate) name: Option<Name>,
    #[command(flatten)]
    pub(crate) over: EdgeOverrides,
    /// Threads that carry flows; unless told otherwise one a core
    #[arg(long, env = "UNDERPASS_WORKERS", value_name = "NUMBER")]
    pub(crate) workers: Option<usize>,
    /// Takes over from the edge that runs with the same `state_dir`, if one does: its sockets, its connectors, and whoever waits there. It
    /// ends once its flows have
    #[arg(long, env = "UNDERPASS_REPLACE")]
    pub(crate) replace: bool,
    /// How long it goes on as before when it is told to end, but for saying that it is not ready: whoever balances in front
    /// of it has time to notice
    #[arg(long, env = "UNDERPASS_PRE_STOP", value_name = "DURATION", default_value = PRE_STOP,
        value_parser = config::duration)]
    pub(crate) pre_stop: Duration,
    #[command(flatten)]
    pub(crate) grace: Grace,
}

/// Settings of the edge file that any command which reads it may be told otherwise.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct EdgeOverrides {
    /// Where the edge keeps its CA, certificates and tokens
    #[arg(long, env = "UNDERPASS_STATE_DIR", value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// How a service ends.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Grace {
    /// How long open flows may take to finish when it is told to end; told a second time, it ends at once
    #[arg(long, env = "UNDERPASS_GRACE_PERIOD", value_name = "DURATION", default_value = GRACE_PERIOD,
        value_parser = config::duration)]
    pub(crate) grace_period: Duration,
}

/// Flags of `connector`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectorRun {
    /// The join token, as `underpass token create` printed it; needed once. Other users can read it in the process list
    /// unless it is given by --token-file or by its variable
    #[arg(long, env = "UNDERPASS_TOKEN", value_name = "TOKEN", hide_env_values = true, value_parser = secret)]
    pub(crate) token: Option<Secret<String>>,
    /// A file that holds the join token; - is standard input
    #[arg(long, env = "UNDERPASS_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// An edge to dial; unless told otherwise those in the join token
    #[arg(long = "edge", env = "UNDERPASS_EDGE", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) edges: Vec<String>,
    /// A network to serve
    #[arg(long = "route", env = "UNDERPASS_ROUTE", value_name = "VNET=CIDR", value_delimiter = ',')]
    pub(crate) routes: Vec<String>,
    /// What may be dialled at most; unless told otherwise the routes
    #[arg(long, env = "UNDERPASS_ALLOW", value_name = "CIDR:PORTS", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
    /// The connector's name; unless told otherwise the one in its join token
    #[arg(long, env = "UNDERPASS_NAME", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where the connector keeps its identity
    #[arg(long, env = "UNDERPASS_STATE_DIR", value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Links to keep to each edge
    #[arg(long, env = "UNDERPASS_LINKS_PER_EDGE", value_name = "NUMBER")]
    pub(crate) links_per_edge: Option<usize>,
    /// Where to serve /metrics, /livez and /readyz
    #[arg(long, env = "UNDERPASS_ADMIN_LISTEN", value_name = "IP:PORT")]
    pub(crate) admin_listen: Option<String>,
    /// Threads that carry flows; unless told otherwise one a core
    #[arg(long, env = "UNDERPASS_WORKERS", value_name = "NUMBER")]
    pub(crate) workers: Option<usize>,
    /// Takes over from the connector that runs with the same `state_dir`, if one does: it leaves once edges have welcomed this one, and ends
    /// once its flows have
    #[arg(long, env = "UNDERPASS_REPLACE")]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) grace: Grace,
}
