//! `[[listener]]`: public addresses, none taken twice.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use config::{At, Named, Table};
use protocol::id::Name;

use super::{
    Sites, admission, endpoints::Admin, grants::Grants, http, leads, listener_tls, load_balancers::LoadBalancers,
    pools::Pools, proxies, words::PROTOCOLS,
};
use crate::model::{Leads, ListenProtocol, Listener};

const CONNECTIONS: usize = 10_000;
const CONNECTIONS_MAX: u64 = 1_000_000;
const IDLE_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);

/// Silence after which a UDP session is over, unless the file says otherwise.
const SESSION_IDLE: Duration = Duration::from_secs(60);

/// What a socket is for: one address serves each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    fn of(protocol: ListenProtocol) -> Self {
        match protocol {
            ListenProtocol::Tcp | ListenProtocol::Http | ListenProtocol::Https => Self::Tcp,
            ListenProtocol::Udp => Self::Udp,
        }
    }
}

/// An address that is taken, by whom, and where the file says so.
#[derive(Debug)]
struct Taken {
    transport: Transport,
    address: SocketAddr,
    by: String,
    place: Option<usize>,
}

impl Taken {
    fn by_admin((address, place): (SocketAddr, Option<usize>)) -> Self {
        Self { transport: Transport::Tcp, address, by: "the admin endpoint".to_owned(), place }
    }

    fn by_tunnel(address: SocketAddr) -> Self {
        Self { transport: Transport::Udp, address, by: "the tunnel".to_owned(), place: None }
    }
}

/// All listeners; `sites.tunnel` is where connectors dial in.
pub(super) fn read(
    root: &Table<'_>,
    (grants, load_balancers, pools): (&Grants, &LoadBalancers, &Pools),
    admin: &Admin,
    Sites { tunnel, path }: Sites<'_>,
) -> Named<Name, Arc<Listener>> {
    let admin = admin.taken.map(Taken::by_admin);
    let mut taken: Vec<Taken> = admin.into_iter().chain(tunnel.map(Taken::by_tunnel)).collect();
    Named::read(root, "listener", "listener", |t, name: Option<&Name>| {
        let protocol =
            t.required("protocol", "\"tcp\", \"udp\", \"http\" or \"https\"").and_then(|v| v.word(&PROTOCOLS));
        let listen = t.required("listen", "the public address, such as \"0.0.0.0:5432\"");
        let listen = listen.and_then(|v| v.listen_address());
        let leads = leads::read(t, (grants, load_balancers));
        let max_connections = t.or("max_connections", CONNECTIONS, |v| v.integer(1..=CONNECTIONS_MAX));
        let idle_timeout = t.optional("idle_timeout").and_then(|v| v.duration(IDLE_RANGE)).map(|at| at.value);
        let (replay, idle_timeout) = match protocol {
            Some(ListenProtocol::Udp) => {
                t.refuse("replay", "is for listeners of protocol \"tcp\": UDP payloads may come twice anyway");
                (false, idle_timeout.or(Some(SESSION_IDLE)))
            }
            Some(ListenProtocol::Http | ListenProtocol::Https) => {
                t.refuse(
                    "replay",
                    "is for listeners of protocol \"tcp\": requests are sent again by what HTTP says of them",
                );
                (false, idle_timeout)
            }
            Some(ListenProtocol::Tcp) | None => (t.or("replay", false, |v| v.boolean()), idle_timeout),
        };
        let balancer = match &leads {
            Some(Leads::LoadBalancer(name)) => Some(name),
            Some(Leads::Destination { .. }) | None => None,
        };
        let admission = admission::read(t, protocol);
        let drain = t.or("drain", false, |v| v.boolean());
        let affinity = balancer.and_then(|name| load_balancers.get(name));
        http::check_affinity(t, protocol, affinity.map(|lb| &**lb));
        let http = http::read(t, load_balancers, protocol);
        let tls = listener_tls::read(t, protocol, path);
        let proxies = proxies::read(t);
        let used = balancer.into_iter().chain(http.rules.iter().map(|rule| &rule.load_balancer));
        proxies::check_pools(t, protocol, (used.filter_map(|name| load_balancers.get(name)), pools));
        leads.iter().for_each(|leads| leads::check(t, protocol, (leads, &proxies)));
        if let (Some(protocol), Some(listen)) = (protocol, listen) {
            let by = name.map_or_else(|| "a listener".to_owned(), |name| format!("listener \"{name}\""));
            claim(t, &mut taken, (Transport::of(protocol), listen), by);
        }
        Some(Arc::new(Listener {
            name: name?.clone(),
            protocol: protocol?,
            listen: listen?.value,
            leads: leads?,
            max_connections,
            admission,
            replay,
            idle_timeout,
            proxies,
            tls,
            http,
            drain,
        }))
    })
}

/// Takes an address, or notes who has it.
fn claim(t: &Table<'_>, taken: &mut Vec<Taken>, (transport, listen): (Transport, At<SocketAddr>), by: String) {
    let At { place, value: address } = listen;
    let clashes = |other: &&Taken| other.transport == transport && overlap(other.address, address);
    if let Some(other) = taken.iter().find(clashes) {
        let there = other.place.map_or_else(String::new, |place| format!(" of {}", t.words(place)));
        let wide = if other.address.is_ipv4() == address.is_ipv4() { "" } else { "; [::] takes IPv4 too" };
        let message = format!("`listen` {address} overlaps {} of {}{there}{wide}", other.address, other.by);
        t.wrong(place, message);
    }
    taken.push(Taken { transport, address, by, place: Some(place) });
}

/// Whether two sockets of one transport could not both listen. The IPv6 wildcard takes IPv4 too; port 0 is a free one every time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    if one.port() != other.port() || one.port() == 0 {
        return false;
    }
    let (one, other) = (one.ip().to_canonical(), other.ip().to_canonical());
    one == other || covers(one, other) || covers(other, one)
}

fn covers(wide: IpAddr, narrow: IpAddr) -> bool {
    wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
}
