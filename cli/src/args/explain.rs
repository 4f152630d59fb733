//! `explain` and `trace`: what is said of a flow that might come.

use std::net::{IpAddr, SocketAddr};

use api::explain::Question;
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
    #[command(flatten)]
    pub(crate) said: Said,
    /// Print the edge's answer as it is, in JSON
    #[arg(long, env = "UNDERPASS_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// Flags of `trace`.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The listener that the flow comes to
    #[arg(value_name = "LISTENER")]
    pub(crate) listener: String,
    #[command(flatten)]
    pub(crate) said: Said,
    /// Print the edge's answer as it is, in JSON
    #[arg(long, env = "UNDERPASS_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// What is said of a flow.
#[derive(Debug, Args)]
pub(crate) struct Said {
    /// The client's IP address
    #[arg(long, env = "UNDERPASS_SOURCE", value_name = "IP")]
    source: Option<IpAddr>,
    /// Where the flow was for, if the listener leads each flow there
    #[arg(long, env = "UNDERPASS_DESTINATION", value_name = "IP:PORT")]
    destination: Option<SocketAddr>,
    /// The host that a request asks for
    #[arg(long, env = "UNDERPASS_HOST", value_name = "HOST")]
    host: Option<String>,
    /// The path that a request asks for; unless given /
    #[arg(long, env = "UNDERPASS_PATH", value_name = "PATH")]
    path: Option<String>,
    /// A cookie that a request sends; may be given several times
    #[arg(long = "cookie", env = "UNDERPASS_COOKIE", value_name = "NAME=VALUE")]
    cookies: Vec<String>,
    /// Another field that a request sends; may be given several times. A place goes by no other than Cookie, but the edge may
    /// refuse a request for one
    #[arg(long = "header", env = "UNDERPASS_HEADER", value_name = "NAME:VALUE")]
    headers: Vec<String>,
    /// The server name that a client asks for in its TLS handshake
    #[arg(long, env = "UNDERPASS_SNI", value_name = "NAME")]
    sni: Option<String>,
}

impl Said {
    /// What an edge is asked about it.
    pub(crate) fn question(&self, listener: &str) -> Question {
        Question {
            listener: listener.to_owned(),
            source: self.source.map(|source| source.to_string()),
            destination: self.destination.map(|destination| destination.to_string()),
            host: self.host.clone(),
            path: self.path.clone(),
            cookie: Some(self.cookies.join("; ")).filter(|cookies| !cookies.is_empty()),
            headers: Some(self.headers.join("\n")).filter(|headers| !headers.is_empty()),
            sni: self.sni.clone(),
            flow: None,
        }
    }
}
