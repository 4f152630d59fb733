//! What an edge counts. Every family is moved by a test; labels come from configuration and small closed sets.

mod encode;
mod labels;
mod series;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
pub use encode::Readings;
use net::Vital;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use protocol::{id::Name, splice::Totals, switch::Drops, windows::Tally};

use self::{
    labels::{CauseLabel, EndLabel, ListenerLabel, Live, ProbeLabel, RefusedLabel, ReloadLabel, RequestLabel},
    series::Series,
};
use crate::model::{Catalog, ListenProtocol};

/// Counters and gauges of an edge; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    flows: Series<ListenerLabel, Gauge<i64, AtomicI64>>,
    ended: Series<EndLabel, Counter<u64, AtomicU64>>,
    refused: Series<RefusedLabel, Counter<u64, AtomicU64>>,
    up: Series<ListenerLabel, Live>,
    down: Series<ListenerLabel, Live>,
    probes: Series<ProbeLabel, Counter<u64, AtomicU64>>,
    reloads: Family<ReloadLabel, Counter<u64, AtomicU64>>,
    reloads_failed: Counter<u64, AtomicU64>,
    reloaded: Reloaded,
    moved: Series<ListenerLabel, Counter<u64, AtomicU64>>,
    drops: Drops,
    windows: Tally,
    handshakes: Family<CauseLabel, Counter<u64, AtomicU64>>,
    requests: Series<RequestLabel, Counter<u64, AtomicU64>>,
    requests_in_flight: Series<ListenerLabel, Gauge<i64, AtomicI64>>,
    request_duration: Series<ListenerLabel, Histogram, fn() -> Histogram>,
    abuse: Series<RefusedLabel, Counter<u64, AtomicU64>>,
    process: Process,
    /// None before there is a catalog: then nothing is gone.
    known: Arc<ArcSwapOption<Known>>,
}

/// How the last reload went, and when one last went well.
#[derive(Debug, Clone, Default)]
struct Reloaded {
    well: Gauge<i64, AtomicI64>,
    at: Gauge<i64, AtomicI64>,
}

/// Names that series may be about.
#[derive(Debug, Default)]
struct Known {
    listeners: BTreeSet<String>,
    pools: BTreeSet<String>,
}

/// What is known of the process as a whole.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// How its tasks fare.
    pub vital: Vital,
    /// Lines of its log that were lost.
    pub lost_lines: Arc<AtomicU64>,
}

/// Why a client's connection was closed without reaching an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusedFlow {
    /// The listener carries as many as it may.
    MaxConnections,
    /// The connection could not be accepted.
    Accept,
    /// No origin could take it.
    NoPlace,
    /// It failed after bytes had left that may not be sent twice.
    NotReplayable,
    /// The client left before an origin was reached.
    ClientGone,
    /// The TLS handshake failed.
    Handshake,
    /// A load balancer in front did not say whose connection it is.
    ProxyHeader,
    /// The listener is not for clients from there.
    Denied,
    /// Its client has as many open as it may.
    ConnectionsPerSource,
    /// Its client comes too often.
    RatePerSource,
    /// Too many have come of late, whoever they are.
    Rate,
}

impl RefusedFlow {
    const ALL: [Self; 11] = [
        Self::MaxConnections,
        Self::Accept,
        Self::NoPlace,
        Self::NotReplayable,
        Self::ClientGone,
        Self::Handshake,
        Self::ProxyHeader,
        Self::Denied,
        Self::ConnectionsPerSource,
        Self::RatePerSource,
        Self::Rate,
    ];

    /// The word of metrics and explanations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::Accept => "accept",
            Self::NoPlace => "no_place",
            Self::NotReplayable => "not_replayable",
            Self::ClientGone => "client_gone",
            Self::Handshake => "tls_handshake",
            Self::ProxyHeader => "proxy_header",
            Self::Denied => "denied",
            Self::ConnectionsPerSource => "connections_per_source",
            Self::RatePerSource => "rate_per_source",
            Self::Rate => "rate",
        }
    }
}

/// A flow that is over.
#[derive(Debug)]
pub struct FlowEnd<'a> {
    /// Its listener.
    pub listener: &'a Name,
    /// How it ended.
    pub ended: &'static str,
}

/// Counts a flow as open until dropped.
#[derive(Debug)]
pub struct FlowGuard(Gauge<i64, AtomicI64>);

impl Drop for FlowGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts a request as in flight until dropped.
#[derive(Debug)]
pub struct RequestGuard(Gauge<i64, AtomicI64>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Every way in which a flow ends, every class of codes, and everything that can be too much.
const ENDS: [&str; 8] = ["finished", "local_reset", "remote_reset", "stalled", "link_lost", "idle", "cut", "refused"];
const CODES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
const ABUSES: [&str; 13] = [
    "resets",
    "early_resets",
    "provoked_resets",
    "streams",
    "continuations",
    "head_bytes",
    "slow_head",
    "pings",
    "settings",
    "empty_data",
    "window_updates",
    "idle_frames",
    "other",
];

/// Bounds of the classes of request durations, in seconds.
const DURATIONS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            flows: Series::default(),
            ended: Series::default(),
            refused: Series::default(),
            up: Series::default(),
            down: Series::default(),
            probes: Series::default(),
            reloads: Family::default(),
            reloads_failed: Counter::default(),
            reloaded: Reloaded::default(),
            moved: Series::default(),
            drops: Drops::default(),
            windows: Tally::default(),
            handshakes: Family::default(),
            requests: Series::default(),
            requests_in_flight: Series::default(),
            request_duration: Series::made_by(|| Histogram::new(DURATIONS)),
            abuse: Series::default(),
            process: Process::default(),
            known: Arc::default(),
        }
    }
}

impl Metrics {
    /// All of this process.
    #[must_use]
    pub fn of(process: Process) -> Self {
        Self { process, ..Self::default() }
    }

    /// What a catalog in force has begins at nothing, so that a first event is a change; what it has not any more is
    /// forgotten.
    pub fn know(&self, catalog: &Catalog) {
        let names = |all: &mut dyn Iterator<Item = &Name>| all.map(Name::to_string).collect();
        let listeners = names(&mut catalog.listeners.iter().map(|listener| &listener.name));
        let pools = names(&mut catalog.pools.iter().map(|pool| &pool.name));
        self.known.store(Some(Arc::new(Known { listeners, pools })));
        self.prune();
        for outcome in ["applied", "refused"] {
            drop(self.reloads.get_or_create(&ReloadLabel { outcome }));
        }
        for listener in &catalog.listeners {
            self.begin(&listener.name, listener.protocol);
        }
        for pool in catalog.pools.iter().filter(|pool| pool.monitor.is_some()) {
            self.probes.of(ProbeLabel { pool: pool.name.to_string(), outcome: "healthy" });
        }
    }

    fn begin(&self, listener: &Name, protocol: ListenProtocol) {
        let name = || ListenerLabel { listener: listener.to_string() };
        self.flows.of(name());
        let _ = self.totals(listener);
        for why in RefusedFlow::ALL {
            self.refused.of(RefusedLabel { listener: listener.to_string(), why: why.as_str() });
        }
        match protocol {
            ListenProtocol::Tcp => {}
            ListenProtocol::Udp => drop(self.moved.of(name())),
            ListenProtocol::Http | ListenProtocol::Https => {
                self.requests_in_flight.of(name());
                self.request_duration.of(name());
                for code in CODES {
                    self.requests.of(RequestLabel { listener: listener.to_string(), code });
                }
                for why in ABUSES {
                    self.abuse.of(RefusedLabel { listener: listener.to_string(), why });
                }
            }
        }
        for ended in ENDS {
            self.ended.of(EndLabel { listener: listener.to_string(), ended });
        }
    }

    /// Forgets what is about things that are gone, unless some of it is still there.
    fn prune(&self) {
        let Some(known) = self.known.load_full() else { return };
        let is_known = |listener: &str| known.listeners.contains(listener);
        self.flows.retain(|l, gauge| is_known(&l.listener) || gauge.get() > 0);
        self.ended.retain(|l, _| is_known(&l.listener));
        self.refused.retain(|l, _| is_known(&l.listener));
        self.up.retain(|l, _| is_known(&l.listener));
        self.down.retain(|l, _| is_known(&l.listener));
        self.moved.retain(|l, _| is_known(&l.listener));
        self.requests.retain(|l, _| is_known(&l.listener));
        self.requests_in_flight.retain(|l, gauge| is_known(&l.listener) || gauge.get() > 0);
        self.request_duration.retain(|l, _| is_known(&l.listener));
        self.abuse.retain(|l, _| is_known(&l.listener));
        self.probes.retain(|l, _| known.pools.contains(&l.pool));
    }

    /// A flow has reached its origin.
    #[must_use]
    pub fn flow(&self, listener: &Name) -> FlowGuard {
        let gauge = self.flows.of(ListenerLabel { listener: listener.to_string() });
        gauge.inc();
        FlowGuard(gauge)
    }

    /// The byte counters of a listener, for its flows to add to as they carry.
    #[must_use]
    pub fn totals(&self, listener: &Name) -> Totals {
        let label = ListenerLabel { listener: listener.to_string() };
        Totals { sent: self.up.of(label.clone()).0.clone(), received: self.down.of(label).0.clone() }
    }

    /// A flow is over, however it ended.
    pub fn flow_ended(&self, end: &FlowEnd<'_>) {
        self.ended.of(EndLabel { listener: end.listener.to_string(), ended: end.ended }).inc();
    }

    /// Connections to a listener that reached no origin.
    #[must_use]
    pub fn refused(&self, listener: &Name) -> u64 {
        let label = |why: RefusedFlow| RefusedLabel { listener: listener.to_string(), why: why.as_str() };
        RefusedFlow::ALL.into_iter().map(|why| self.refused.of(label(why)).get()).sum()
    }

    /// A client's connection was closed without reaching an origin.
    pub fn refused_flow(&self, listener: &Name, why: RefusedFlow) {
        self.refused.of(RefusedLabel { listener: listener.to_string(), why: why.as_str() }).inc();
    }

    /// A UDP session goes on over another path, or at another origin.
    pub fn session_moved(&self, listener: &Name) {
        self.moved.of(ListenerLabel { listener: listener.to_string() }).inc();
    }

    /// Payloads of UDP sessions that were thrown away.
    #[must_use]
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// What flows hold of links because nobody takes it.
    #[must_use]
    pub fn windows(&self) -> &Tally {
        &self.windows
    }

    /// A connector, or whoever came to its port, made no connection, by cause.
    pub fn handshake_failed(&self, cause: &'static str) {
        self.handshakes.get_or_create(&CauseLabel { cause }).inc();
    }

    /// An HTTP request has arrived.
    #[must_use]
    pub fn request(&self, listener: &Name) -> RequestGuard {
        let gauge = self.requests_in_flight.of(ListenerLabel { listener: listener.to_string() });
        gauge.inc();
        RequestGuard(gauge)
    }

    /// An HTTP request is over; without a code, the client left before it was answered.
    pub fn request_ended(&self, listener: &Name, code: Option<u16>, taken: Duration) {
        let code = match code {
            None => "none",
            Some(100..=199) => "1xx",
            Some(200..=299) => "2xx",
            Some(300..=399) => "3xx",
            Some(400..=499) => "4xx",
            Some(_) => "5xx",
        };
        let listener = listener.to_string();
        self.requests.of(RequestLabel { listener: listener.clone(), code }).inc();
        self.request_duration.of(ListenerLabel { listener }).observe(taken.as_secs_f64());
    }

    /// An HTTP/2 client was told to go away, by what was too much.
    pub fn abuse(&self, listener: &Name, why: &'static str) {
        self.abuse.of(RefusedLabel { listener: listener.to_string(), why }).inc();
    }

    /// A probe is over: `healthy`, or its reason.
    pub fn probe(&self, pool: &Name, outcome: &'static str) {
        self.probes.of(ProbeLabel { pool: pool.to_string(), outcome }).inc();
    }

    /// Settings were put in force at this time, in seconds since 1970: by a start, or by a reload.
    pub fn in_force(&self, at: i64) {
        self.reloaded.well.set(1);
        self.reloaded.at.set(at);
    }

    /// A reload is over. What it did is in force, if it was not refused.
    pub fn reload(&self, applied: bool) {
        let outcome = if applied { "applied" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabel { outcome }).inc();
        if !applied {
            self.reloads_failed.inc();
            self.reloaded.well.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(listeners: &[&str]) -> Catalog {
        let listener = |(at, name): (usize, &&str)| {
            format!(
                "[[listener]]\nname = \"{name}\"\nprotocol = \"http\"\nlisten = \"127.0.0.1:{}\"\nload_balancer = \"lb\"\n",
                8000 + at
            )
        };
        let listeners: String = listeners.iter().enumerate().map(listener).collect();
        let file = format!(
            "name = \"edge-1\"\n[tunnel]\nlisten = \"127.0.0.1:7843\"\n[[pool]]\nname = \"web\"\n[[pool.origin]]\n\
             name = \"o\"\naddress = \"127.0.0.1:80\"\n[[load_balancer]]\nname = \"lb\"\npools = [\"web\"]\n{listeners}"
        );
        crate::config::parse(&file, "edge.toml".as_ref()).expect("settings").catalog
    }

    #[test]
    fn series_are_there_before_the_first_event_and_gone_with_what_they_are_about() {
        let (metrics, old) = (Metrics::default(), "old".parse().expect("a name"));
        let text = || metrics.encode(Readings::default()).expect("a string takes it");
        metrics.know(&catalog(&["old", "www"]));
        let first = text();
        for sample in [
            "underpass_flows_ended_total{listener=\"old\",ended=\"cut\"} 0",
            "underpass_flows_refused_total{listener=\"old\",why=\"accept\"} 0",
            "underpass_requests_total{listener=\"old\",code=\"5xx\"} 0",
            "underpass_abuse_total{listener=\"old\",why=\"resets\"} 0",
            "underpass_datagrams_dropped_total{reason=\"malformed\"} 0",
            "underpass_reloads_total{outcome=\"refused\"} 0",
        ] {
            assert!(first.contains(sample), "{sample}:\n{first}");
        }
        let open = metrics.flow(&old);
        metrics.know(&catalog(&["www"]));
        metrics.flow_ended(&FlowEnd { listener: &old, ended: "finished" });
        let left = text();
        let of_old: Vec<&str> = left.lines().filter(|line| line.contains("\"old\"")).collect();
        assert_eq!(of_old, ["underpass_flows{listener=\"old\"} 1"], "it is open still");
        drop(open);
        assert!(!text().contains("\"old\"") && text().contains("\"www\""));
    }
}
