//! TLS to origins: the keys `ca`, `verify` and `server_name` of a pool's `tls` and of `https` monitors.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use config::{Table, beside};
use protocol::id::Host;
use rustls::pki_types::ServerName;

use crate::model::{Origin, OriginTls, Trust, Upstream};

/// The keys.
pub(super) const KEYS: [&str; 3] = ["ca", "verify", "server_name"];

/// What a table says; what it leaves out is for another to say.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    ca: Option<PathBuf>,
    verify: Option<bool>,
    server_name: Option<ServerName<'static>>,
}

impl Given {
    /// The keys of a table.
    pub(super) fn read(t: &Table<'_>, path: &Path) -> Self {
        let ca = t.optional("ca");
        let verify = t.optional("verify").and_then(|v| v.boolean());
        if let (Some(ca), Some(false)) = (&ca, verify) {
            t.wrong(ca.place(), "`ca` has no use beside `verify = false`, which believes anybody");
        }
        let server_name = t.optional("server_name").and_then(|v| v.read("a host name", server_name));
        Self {
            ca: ca.and_then(|v| v.string()).map(|at| beside(path, at.value)),
            verify,
            server_name: server_name.map(|at| at.value),
        }
    }

    /// Settings, with what is left out here taken from there.
    pub(super) fn over(&self, base: &OriginTls) -> OriginTls {
        let trust = match (&self.ca, self.verify) {
            (_, Some(false)) => Trust::Anybody,
            (Some(ca), _) => Trust::Ca(ca.clone()),
            // Who says `verify = true` where nothing is verified means the system's authorities.
            (None, Some(true)) if base.trust == Trust::Anybody => Trust::System,
            (None, Some(true) | None) => base.trust.clone(),
        };
        OriginTls { trust, server_name: self.server_name.clone().or_else(|| base.server_name.clone()) }
    }
}

/// Settings where nobody says anything.
pub(super) fn plain() -> OriginTls {
    OriginTls { trust: Trust::System, server_name: None }
}

/// Notes origins whose host can be no server's name, where that is the name to go by.
pub(super) fn check_names(t: &Table<'_>, speaks: &Upstream, origins: &[Arc<Origin>]) {
    let Upstream::Https(tls) = speaks else { return };
    if tls.server_name.is_some() {
        return;
    }
    for origin in origins {
        if let Host::Name(name) = &origin.address.host
            && ServerName::try_from(name.as_str()).is_err()
        {
            let right = "give `server_name`";
            t.lacking(
                t.place(),
                format!("`{name}`, the host of origin \"{}\", is no name for TLS: {right}", origin.name),
            );
        }
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, &'static str> {
    ServerName::try_from(text.to_owned()).map_err(|_| "a server's name is a DNS name or an IP address, without port")
}
