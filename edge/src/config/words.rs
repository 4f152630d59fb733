//! What each word of a setting means, and the words and keys that this version does not serve yet. Lifting one is a
//! matter of this file and the model.

use config::Words;
use http::Method;

use crate::model::{
    ListenProtocol, OnUnhealthy, Paths, PoolSteering, ProxyVersion, ReloadOn, Steering, TlsVersion, Underscores,
};

/// What a monitor speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MonitorType {
    Tcp,
    Http,
    Https,
    Udp,
    Icmp,
}

/// What is spoken to the origins of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpstreamWord {
    Http1,
    H2c,
    Https,
}

/// How a client stays on its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AffinityType {
    None,
    Source,
    SourcePrefix,
    Cookie,
}

/// The key of steering by hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HashWord {
    Source,
    SourcePrefix,
    Host,
    Path,
    Header,
    Cookie,
}

pub(super) const HASH_ON: Words<HashWord> = Words {
    now: &[
        ("source", HashWord::Source),
        ("source_prefix", HashWord::SourcePrefix),
        ("host", HashWord::Host),
        ("path", HashWord::Path),
        ("header", HashWord::Header),
        ("cookie", HashWord::Cookie),
    ],
    later: &["query", "sni"],
};

pub(super) const MONITOR_TYPES: Words<MonitorType> = Words {
    now: &[
        ("tcp", MonitorType::Tcp),
        ("http", MonitorType::Http),
        ("https", MonitorType::Https),
        ("udp", MonitorType::Udp),
        ("icmp", MonitorType::Icmp),
    ],
    later: &[],
};

pub(super) const PATHS: Words<Paths> =
    Words { now: &[("as_sent", Paths::AsSent), ("normalised", Paths::Normalised)], later: &[] };

pub(super) const RELOAD_ON: Words<ReloadOn> =
    Words { now: &[("watch", ReloadOn::Change), ("signal", ReloadOn::Signal)], later: &[] };

pub(super) const SWITCH: Words<bool> = Words { now: &[("on", true), ("off", false)], later: &[] };

pub(super) const TLS_VERSIONS: Words<TlsVersion> =
    Words { now: &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)], later: &[] };

pub(super) const METHODS: Words<Probing> =
    Words { now: &[("GET", Probing::Get), ("HEAD", Probing::Head), ("OPTIONS", Probing::Options)], later: &[] };

/// A request that changes nothing at the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probing {
    Get,
    Head,
    Options,
}

impl Probing {
    pub(super) fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Head => Method::HEAD,
            Self::Options => Method::OPTIONS,
        }
    }
}

pub(super) const STEERINGS: Words<Steering> = Words {
    now: &[
        ("random", Steering::Random),
        ("round_robin", Steering::RoundRobin),
        ("hash", Steering::Hash),
        ("least_connections", Steering::LeastConnections),
        // Flows of an HTTP listener are its requests.
        ("least_outstanding_requests", Steering::LeastOutstanding),
    ],
    later: &["peak_ewma"],
};

pub(super) const POOL_STEERINGS: Words<PoolSteering> = Words {
    now: &[
        ("off", PoolSteering::Off),
        ("random", PoolSteering::Random),
        ("least_connections", PoolSteering::LeastConnections),
        ("least_outstanding_requests", PoolSteering::LeastConnections),
    ],
    later: &["dynamic_latency"],
};

pub(super) const ON_UNHEALTHY: Words<OnUnhealthy> =
    Words { now: &[("move", OnUnhealthy::Move), ("stay", OnUnhealthy::Stay)], later: &[] };

pub(super) const AFFINITY_TYPES: Words<AffinityType> = Words {
    now: &[
        ("none", AffinityType::None),
        ("source", AffinityType::Source),
        ("source_prefix", AffinityType::SourcePrefix),
        ("cookie", AffinityType::Cookie),
    ],
    later: &[],
};

pub(super) const PROTOCOLS: Words<ListenProtocol> = Words {
    now: &[
        ("tcp", ListenProtocol::Tcp),
        ("udp", ListenProtocol::Udp),
        ("http", ListenProtocol::Http),
        ("https", ListenProtocol::Https),
    ],
    later: &[],
};

pub(super) const PROXY_VERSIONS: Words<ProxyVersion> =
    Words { now: &[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2), ("spp", ProxyVersion::Simple)], later: &[] };

pub(super) const UNDERSCORES: Words<Underscores> = Words {
    now: &[("keep", Underscores::Keep), ("drop", Underscores::Drop), ("refuse", Underscores::Refuse)],
    later: &[],
};

pub(super) const UPSTREAMS: Words<UpstreamWord> = Words {
    now: &[("http1", UpstreamWord::Http1), ("h2c", UpstreamWord::H2c), ("https", UpstreamWord::Https)],
    later: &[],
};
