//! The shape of the lab: who runs where, which addresses are pretended and which are real. Pure.
//!
//! The third number of an origin's real address is the connector that reaches it there, so an origin knows which
//! connector carried a connection by the address it was reached at, and can say so.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
};

/// Both VNets have it: that is the point.
pub(super) const CIDR: &str = "10.7.0.0/24";
/// Links each connector keeps to each edge.
pub(super) const LINKS_PER_EDGE: usize = 2;

/// A separate private network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Vnet {
    Red,
    Blue,
}

impl Vnet {
    pub(super) const ALL: [Self; 2] = [Self::Red, Self::Blue];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Blue => "blue",
        }
    }

    /// The connector's enrolled name; replicas share it.
    pub(super) fn connector(self) -> &'static str {
        match self {
            Self::Red => "dc-red",
            Self::Blue => "dc-blue",
        }
    }
}

/// What an origin and its clients say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Speech {
    /// HTTP/1.1.
    Http,
    /// A greeting line from the server, then an echo, over TCP.
    Echo,
    /// DNS over UDP: any question is answered with a text.
    Dns,
}

impl Speech {
    /// What the listener before such origins is.
    pub(super) fn protocol(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Echo => "tcp",
            Self::Dns => "udp",
        }
    }
}

/// One thing that is load-balanced: a listener at every edge, a pool, and a door at each origin of its VNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) vnet: Vnet,
    pub(super) speech: Speech,
}

/// In the order of every edge's listeners.
pub(super) const SERVICES: [Service; 5] = [
    Service { name: "red-http", vnet: Vnet::Red, speech: Speech::Http },
    Service { name: "blue-http", vnet: Vnet::Blue, speech: Speech::Http },
    Service { name: "red-echo", vnet: Vnet::Red, speech: Speech::Echo },
    Service { name: "red-dns", vnet: Vnet::Red, speech: Speech::Dns },
    Service { name: "blue-dns", vnet: Vnet::Blue, speech: Speech::Dns },
];

/// The one listener over two services: HTTPS, a cookie that keeps a client on its origin, and a rule.
pub(super) struct Www {
    /// Its name, and its load balancer's.
    pub(super) name: &'static str,
    /// Leads here, with the cookie.
    pub(super) pool: &'static Service,
    /// Paths that begin so lead elsewhere.
    pub(super) path: &'static str,
    /// There.
    pub(super) other: &'static Service,
}

/// Every edge has it.
pub(super) const WWW: Www = Www { name: "www", pool: &SERVICES[0], path: "/blue/", other: &SERVICES[1] };

/// A connector process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) name: &'static str,
    pub(super) vnet: Vnet,
    number: u8,
}

/// Two replicas reach red, one reaches blue.
pub(super) const REPLICAS: [Replica; 3] = [
    Replica { name: "connector-1", vnet: Vnet::Red, number: 1 },
    Replica { name: "connector-2", vnet: Vnet::Red, number: 2 },
    Replica { name: "connector-3", vnet: Vnet::Blue, number: 3 },
];

/// Connector processes that serve a VNet.
pub(super) fn replicas_of(vnet: Vnet) -> impl Iterator<Item = &'static Replica> {
    REPLICAS.iter().filter(move |replica| replica.vnet == vnet)
}

/// A server in a private network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) vnet: Vnet,
    host: u8,
}

/// Blue's are at the very addresses of red's first two.
pub(super) const SERVERS: [Server; 5] = [
    Server { name: "red-1", vnet: Vnet::Red, host: 11 },
    Server { name: "red-2", vnet: Vnet::Red, host: 12 },
    Server { name: "red-3", vnet: Vnet::Red, host: 13 },
    Server { name: "blue-1", vnet: Vnet::Blue, host: 11 },
    Server { name: "blue-2", vnet: Vnet::Blue, host: 12 },
];

/// Servers of a VNet.
pub(super) fn servers_of(vnet: Vnet) -> impl Iterator<Item = &'static Server> {
    SERVERS.iter().filter(move |server| server.vnet == vnet)
}

/// Second number of the first ground's addresses.
const FRIENDLY: u8 = 71;

/// Where on loopback the private networks really are. Several labs at once stand on several grounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ground {
    second: u8,
    lift: u16,
}

impl Ground {
    /// Every ground there is, the friendliest first. The ports are lifted where something on the machine has taken the
    /// usual ones on every address.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let on = |lift| (FRIENDLY..=201).step_by(2).map(move |second| Self { second, lift });
        [0, 10_000, 20_000].into_iter().flat_map(on)
    }

    /// Whether whoever has it listens at 127.0.0.1: one lab at a time does, so that two that start together do not both
    /// find the same ports free.
    pub(super) fn is_friendly(self) -> bool {
        self.second == FRIENDLY
    }

    /// The address edges and connectors listen at: the usual one if friendly, else one of the ground's own, so that labs
    /// side by side do not meet.
    pub(super) fn host(self) -> Ipv4Addr {
        if self.is_friendly() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(127, self.second, 0, 1) }
    }

    /// The port of a service at every origin.
    pub(super) fn port(self, speech: Speech) -> u16 {
        let port = match speech {
            Speech::Http => 8080,
            Speech::Echo => 7000,
            Speech::Dns => 5300,
        };
        port + self.lift
    }

    /// What an edge calls the origin.
    pub(super) fn address(self, server: &Server, speech: Speech) -> SocketAddr {
        (Ipv4Addr::new(10, 7, 0, server.host), self.port(speech)).into()
    }

    /// Where a replica really finds it.
    pub(super) fn real(self, server: &Server, replica: &Replica, speech: Speech) -> SocketAddr {
        let ip = Ipv4Addr::new(127, self.second(replica.vnet), replica.number, server.host);
        (ip, self.port(speech)).into()
    }

    /// The network that a replica puts in place of [`CIDR`].
    pub(super) fn real_cidr(self, replica: &Replica) -> String {
        format!("127.{}.{}.0/24", self.second(replica.vnet), replica.number)
    }

    fn second(self, vnet: Vnet) -> u8 {
        match vnet {
            Vnet::Red => self.second,
            Vnet::Blue => self.second + 1,
        }
    }
}

/// Where an edge listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EdgePlan {
    pub(super) name: &'static str,
    pub(super) tunnel: SocketAddr,
    pub(super) admin: SocketAddr,
    /// In the order of [`SERVICES`].
    pub(super) listeners: [SocketAddr; SERVICES.len()],
    /// Of [`WWW`].
    pub(super) www: SocketAddr,
}

/// Ports of a whole lab: each edge has those of its listeners, a tunnel and an admin endpoint, each connector the last.
pub(super) const PORTS: usize = 2 * (SERVICES.len() + 3) + REPLICAS.len();

/// All addresses of one lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) ground: Ground,
    pub(super) edges: [EdgePlan; 2],
    /// Admin endpoints, in the order of [`REPLICAS`].
    pub(super) admins: [SocketAddr; REPLICAS.len()],
}

impl Plan {
    /// Asks for one address after the other; `pick` is told the port that would be friendly.
    pub(super) fn new(ground: Ground, mut pick: impl FnMut(u16) -> SocketAddr) -> Self {
        let mut edge = |name, below: u16, first: u16| EdgePlan {
            name,
            tunnel: pick(below + 3),
            admin: pick(below + 2),
            listeners: [0, 1, 2, 3, 4].map(|next| pick(first + next)),
            www: pick(first + 442),
        };
        let edges = [edge("edge-1", 7840, 8001), edge("edge-2", 7850, 8101)];
        Self { ground, edges, admins: [pick(7841), pick(7851), pick(7861)] }
    }
}

/// What an origin says of itself, one line, as the answer to every request and as its greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saying {
    pub(super) vnet: String,
    pub(super) origin: String,
    pub(super) address: SocketAddr,
    pub(super) real: SocketAddr,
    pub(super) via: String,
}

impl Saying {
    /// What this server says to whom this replica brings.
    pub(super) fn of(ground: Ground, server: &Server, replica: &Replica, speech: Speech) -> Self {
        Self {
            vnet: server.vnet.name().to_owned(),
            origin: server.name.to_owned(),
            address: ground.address(server, speech),
            real: ground.real(server, replica, speech),
            via: replica.name.to_owned(),
        }
    }

    /// Reads a line; anything else than exactly such a line is none.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_suffix('\n')?.split(' ');
        let mut word = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
        let saying = Self {
            vnet: word("vnet")?.to_owned(),
            origin: word("origin")?.to_owned(),
            address: word("address")?.parse().ok()?,
            real: word("real")?.parse().ok()?,
            via: word("via")?.to_owned(),
        };
        words.next().is_none().then_some(saying)
    }

    /// Whether some origin of this service would say this.
    pub(super) fn is_true(&self, ground: Ground, service: &Service) -> bool {
        servers_of(service.vnet)
            .flat_map(|server| replicas_of(service.vnet).map(move |replica| (server, replica)))
            .any(|(server, replica)| *self == Self::of(ground, server, replica, service.speech))
    }
}

impl fmt::Display for Saying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vnet, origin, address, real, via } = self;
        writeln!(f, "vnet={vnet} origin={origin} address={address} real={real} via={via}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn both_vnets_hold_the_same_addresses_at_different_real_ones() {
        for ground in Ground::all() {
            let at = |vnet| servers_of(vnet).map(|s| ground.address(s, Speech::Http)).collect::<BTreeSet<_>>();
            assert!(at(Vnet::Blue).is_subset(&at(Vnet::Red)));
            let pairs = || SERVERS.iter().flat_map(|s| replicas_of(s.vnet).map(move |r| (s, r)));
            let real: BTreeSet<_> = [Speech::Http, Speech::Echo, Speech::Dns]
                .into_iter()
                .flat_map(|speech| pairs().map(move |(s, r)| ground.real(s, r, speech)))
                .collect();
            assert_eq!(real.len(), 3 * pairs().count(), "{ground:?}");
            assert!(real.iter().all(|at| at.ip().is_loopback() && at.port() != 0), "{ground:?}");
        }
    }

    #[test]
    fn a_lab_asks_for_as_many_ports_as_it_says() {
        let mut asked = BTreeSet::new();
        let ground = Ground::all().next().expect("there are grounds");
        Plan::new(ground, |port| {
            assert!(asked.insert(port), "{port} is asked for twice");
            ([127, 0, 0, 1], port).into()
        });
        assert_eq!(asked.len(), PORTS);
    }

    #[test]
    fn grounds_do_not_meet() {
        let all: Vec<_> = Ground::all().map(|g| g.real(&SERVERS[4], &REPLICAS[2], Speech::Http)).collect();
        let red: Vec<_> = Ground::all().map(|g| g.real(&SERVERS[0], &REPLICAS[0], Speech::Http)).collect();
        let different: BTreeSet<_> = all.iter().chain(&red).collect();
        assert_eq!(different.len(), all.len() * 2);
    }

    #[test]
    fn a_saying_is_read_as_it_was_written() {
        let ground = Ground::all().next().expect("there are grounds");
        let saying = Saying::of(ground, &SERVERS[0], &REPLICAS[1], Speech::Http);
        let line = "vnet=red origin=red-1 address=10.7.0.11:8080 real=127.71.2.11:8080 via=connector-2\n";
        assert_eq!(saying.to_string(), line);
        assert_eq!(Saying::parse(line), Some(saying.clone()));
        assert!(saying.is_true(ground, &SERVICES[0]));
        assert!(!saying.is_true(ground, &SERVICES[1]), "red does not answer for blue");
        assert!(!saying.is_true(ground, &SERVICES[2]), "an HTTP origin does not answer for the echo");
    }

    #[test]
    fn what_is_no_saying_is_not_read_as_one() {
        let good = "vnet=red origin=red-1 address=10.7.0.11:8080 real=127.71.2.11:8080 via=connector-2\n";
        for bad in [
            "",
            "\n",
            good.trim_end(),
            &good.replace("vnet", "VNet"),
            &good.replace("8080 ", "x "),
            &good.replace('\n', " more\n"),
            &format!("{good}{good}"),
        ] {
            assert_eq!(Saying::parse(bad), None, "{bad:?}");
        }
        let ground = Ground::all().next().expect("there are grounds");
        let swapped = Saying::parse(&good.replace("origin=red-1", "origin=red-2")).expect("it is well formed");
        assert!(!swapped.is_true(ground, &SERVICES[0]), "red-2 has another address");
    }
}
