//! Where the edge itself is reached: `[tunnel]`, `ca` and `[admin]`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use config::{At, Seen, Table, Value, beside};
use protocol::id::{Host, Target};

use crate::model::{AdminConfig, CaFiles, TunnelConfig};

/// Where connectors dial in unless the file says otherwise.
pub(super) const TUNNEL_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7843);
/// Where the admin endpoint listens unless the file says otherwise.
pub(super) const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7842);

const ADVERTISE: &str = "what a join token tells a connector to dial, such as [\"edge-1.example.com:7843\"]";

/// The admin endpoint.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) config: AdminConfig,
    /// The address it takes, and where the file says so; absent: a mistake was noted.
    pub(super) taken: Option<(SocketAddr, Option<usize>)>,
}

/// `[tunnel]`, and the CA's files, which may stand at the top of the file or in `[tunnel]`.
pub(super) fn tunnel(root: &Table<'_>, path: &Path) -> (Option<TunnelConfig>, Option<CaFiles>) {
    let ca = root.table("ca", |t| ca(t, path));
    let Some((tunnel, inner_ca)) = root.table("tunnel", |t| (tunnel_config(t), ca_inside(t, path, ca.is_some())))
    else {
        if !root.has("tunnel") {
            root.lacking(root.place(), format!("[tunnel] is missing: its `advertise` is {ADVERTISE}"));
        }
        return (None, ca.flatten());
    };
    (tunnel, ca.flatten().or(inner_ca))
}

fn tunnel_config(t: &Table<'_>) -> Option<TunnelConfig> {
    let listen = match t.optional("listen") {
        None => Some(TUNNEL_LISTEN),
        Some(value) => value.listen_address().map(|at| at.value),
    };
    let advertise = match t.optional("advertise") {
        Some(value) => Some(advertise(t, value)?),
        None => None,
    };
    let listen = listen?;
    if let Some(advertise) = advertise {
        return Some(TunnelConfig { listen, advertise });
    }
    if listen.ip().is_unspecified() || listen.port() == 0 {
        t.lacking(
            t.place(),
            format!("`advertise` is missing in `tunnel`, since nobody can dial {listen}: {ADVERTISE}"),
        );
        return None;
    }
    let itself = Target { host: Host::Ip(listen.ip().to_canonical()), port: listen.port() };
    Some(TunnelConfig { listen, advertise: vec![itself] })
}

fn advertise(t: &Table<'_>, value: Value<'_>) -> Option<Vec<Target>> {
    let items = value.some_items()?;
    let mut seen = Seen::default();
    let targets: Vec<_> = items.iter().map(|v| advertised(t, v, &mut seen)).collect();
    targets.into_iter().collect()
}

fn advertised(t: &Table<'_>, v: &Value<'_>, seen: &mut Seen<Target>) -> Option<Target> {
    let At { place, value } = v.parsed::<Target>()?;
    if let Host::Ip(ip) = value.host
        && (ip.is_unspecified() || ip.is_multicast())
    {
        v.wrong(format_args!("cannot be \"{value}\": nobody can dial {ip}"));
        return None;
    }
    if seen.insert(place, value.clone()).is_some() {
        t.wrong(place, format!("`advertise` names \"{value}\" twice"));
    }
    Some(value)
}

fn ca(t: &Table<'_>, path: &Path) -> Option<CaFiles> {
    let file = |key, what: &str| t.required(key, what).and_then(|v| v.string()).map(|at| beside(path, at.value));
    let certificate = file("certificate", "the PEM file of the CA's certificate");
    let key = file("key", "the PEM file of the CA's key");
    Some(CaFiles { certificate: certificate?, key: key? })
}

fn ca_inside(t: &Table<'_>, path: &Path, twice: bool) -> Option<CaFiles> {
    let found = t.table("ca", |ca_table| (ca_table.place(), ca(ca_table, path)));
    let (place, files) = found?;
    if twice {
        t.wrong(place, "`ca` is given twice, at the top of the file and in [tunnel]");
    }
    files
}

/// `[admin]`.
pub(super) fn admin(root: &Table<'_>) -> Admin {
    root.table("admin", admin_config).unwrap_or_else(|| Admin {
        config: AdminConfig { listen: ADMIN_LISTEN, authenticate_reads: false, hosts: Vec::new(), reveal_id: false },
        taken: Some((ADMIN_LISTEN, None)),
    })
}

fn admin_config(t: &Table<'_>) -> Admin {
    let value = t.optional("listen");
    let listen = value.and_then(|v| v.listen_address());
    let authenticate_reads = t.or("authenticate_reads", false, |v| v.boolean());
    let hosts = t.or("hosts", Vec::new(), |v| Some(v.items()?.iter().filter_map(host).collect()));
    let reveal_id = t.or("reveal_id", false, |v| v.boolean());
    if let Some(At { place, value }) = listen
        && !value.ip().to_canonical().is_loopback()
        && !authenticate_reads
    {
        let right = "give `authenticate_reads = true`, or listen on 127.0.0.1 or [::1]";
        t.wrong(place, format!("`listen` {value} is beyond loopback, where everything needs the admin token: {right}"));
    }
    let taken = match value {
        None => Some((ADMIN_LISTEN, None)),
        Some(_) => listen.map(|at| (at.value, Some(at.place))),
    };
    let listen = listen.map_or(ADMIN_LISTEN, |at| at.value);
    Admin { config: AdminConfig { listen, authenticate_reads, hosts, reveal_id }, taken }
}

/// A name a Host header may carry, in lower case, without port.
fn host(v: &Value<'_>) -> Option<String> {
    let name = v.read("a host name", |text| match Host::name(text) {
        Ok(Host::Name(name)) => Ok(name.to_ascii_lowercase()),
        Ok(Host::Ip(_)) | Err(_) => Err("a host name has letters, digits, '-', '_' and '.', and no port"),
    });
    name.map(|at| at.value)
}
