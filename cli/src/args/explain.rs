//! `explain`.

use std::net::{IpAddr, SocketAddr};

use clap::Args;

use super::AdminArgs;

/// Flags of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The listener that the flow would come to
    #[arg(value_name = "LISTENER", required_unless_present = "flow")]
    pub(crate) listener: Option<String>,
    /// The id of a flow that has been here, as its line of the access log has it: what became of it, if it was refused, tried
    /// again, kept waiting or slow
    #[arg(long, env = "UNDERPASS_FLOW", value_name = "ID", conflicts_with_all = ["listener", "source", "destination", "host",
        "path", "cookies", "headers", "sni"])]
    pub(crate) flow: Option<String>,
    /// The client's IP address
    #[arg(long, env = "UNDERPASS_SOURCE", value_name = "IP")]
    pub(crate) source: Option<IpAddr>,
    /// Where the flow was for, if the listener leads each flow there
    #[arg(long, env = "UNDERPASS_DESTINATION", value_name = "IP:PORT")]
    pub(crate) destination: Option<SocketAddr>,
    /// The host that a request asks for
    #[arg(long, env = "UNDERPASS_HOST", value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// The path that a request asks for; unless given /
    #[arg(long, env = "UNDERPASS_PATH", value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// A cookie that a request sends; may be given several times
    #[arg(long = "cookie", env = "UNDERPASS_COOKIE", value_name = "NAME=VALUE")]
    pub(crate) cookies: Vec<String>,
    /// Another field that a request sends; may be given several times. A place goes by no other than Cookie, but the edge may refuse a
    /// request for one
    #[arg(long = "header", env = "UNDERPASS_HEADER", value_name = "NAME:VALUE")]
    pub(crate) headers: Vec<String>,
    /// The server name that a client asks for in its TLS handshake
    #[arg(long, env = "UNDERPASS_SNI", value_name = "NAME")]
    pub(crate) sni: Option<String>,
    /// Print the edge's answer as it is, in JSON
    #[arg(long, env = "UNDERPASS_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}
