//! What an edge counts. Every family is moved by a test; labels come from configuration and small closed sets.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use net::Vital;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet, text::encode},
    metrics::{MetricType, TypedMetric, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use protocol::{id::Name, splice::Totals, switch::Drops};

/// Counters and gauges of an edge; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    flows: Family<ListenerLabel, Gauge<i64, AtomicI64>>,
    ended: Family<EndLabel, Counter<u64, AtomicU64>>,
    refused: Family<RefusedLabel, Counter<u64, AtomicU64>>,
    up: Family<ListenerLabel, Live>,
    down: Family<ListenerLabel, Live>,
    probes: Family<ProbeLabel, Counter<u64, AtomicU64>>,
    reloads: Family<ReloadLabel, Counter<u64, AtomicU64>>,
    moved: Family<ListenerLabel, Counter<u64, AtomicU64>>,
    drops: Drops,
    requests: Family<RequestLabel, Counter<u64, AtomicU64>>,
    requests_in_flight: Family<ListenerLabel, Gauge<i64, AtomicI64>>,
    request_duration: Family<ListenerLabel, Histogram, fn() -> Histogram>,
    abuse: Family<RefusedLabel, Counter<u64, AtomicU64>>,
    process: Process,
}

/// What is known of the process as a whole.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// How its tasks fare.
    pub vital: Vital,
    /// Lines of its log that were lost.
    pub lost_lines: Arc<AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    listener: String,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    listener: String,
    ended: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabel {
    listener: String,
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabel {
    pool: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    task: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedLabel {
    reason: &'static str,
}

/// A counter that others add to while they work.
#[derive(Debug, Clone, Default)]
struct Live(Arc<AtomicU64>);

impl TypedMetric for Live {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Live {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.0.load(Ordering::Relaxed), None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
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
}

impl RefusedFlow {
    fn as_str(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::Accept => "accept",
            Self::NoPlace => "no_place",
            Self::NotReplayable => "not_replayable",
            Self::ClientGone => "client_gone",
            Self::Handshake => "tls_handshake",
            Self::ProxyHeader => "proxy_header",
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

/// Bounds of the classes of request durations, in seconds.
const DURATIONS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            flows: Family::default(),
            ended: Family::default(),
            refused: Family::default(),
            up: Family::default(),
            down: Family::default(),
            probes: Family::default(),
            reloads: Family::default(),
            moved: Family::default(),
            drops: Drops::default(),
            requests: Family::default(),
            requests_in_flight: Family::default(),
            request_duration: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            abuse: Family::default(),
            process: Process::default(),
        }
    }
}

/// Gauges that are read from the rooms when metrics are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Readings {
    /// Links registered.
    pub links: usize,
    /// Of them, links that new flows may be placed on.
    pub links_up: usize,
    /// Streams open over all links.
    pub streams: usize,
    /// Origins that are healthy.
    pub origins_healthy: usize,
    /// Origins configured.
    pub origins: usize,
}

impl Metrics {
    /// All of this process.
    #[must_use]
    pub fn of(process: Process) -> Self {
        Self { process, ..Self::default() }
    }

    /// A flow has reached its origin.
    #[must_use]
    pub fn flow(&self, listener: &Name) -> FlowGuard {
        let gauge = self.flows.get_or_create_owned(&ListenerLabel { listener: listener.to_string() });
        gauge.inc();
        FlowGuard(gauge)
    }

    /// The byte counters of a listener, for its flows to add to as they carry.
    #[must_use]
    pub fn totals(&self, listener: &Name) -> Totals {
        let label = ListenerLabel { listener: listener.to_string() };
        Totals {
            sent: self.up.get_or_create_owned(&label).0.clone(),
            received: self.down.get_or_create_owned(&label).0.clone(),
        }
    }

    /// A flow is over, however it ended.
    pub fn flow_ended(&self, end: &FlowEnd<'_>) {
        self.ended.get_or_create(&EndLabel { listener: end.listener.to_string(), ended: end.ended }).inc();
    }

    /// A client's connection was closed without reaching an origin.
    pub fn refused_flow(&self, listener: &Name, why: RefusedFlow) {
        self.refused.get_or_create(&RefusedLabel { listener: listener.to_string(), why: why.as_str() }).inc();
    }

    /// A UDP session goes on over another path, or at another origin.
    pub fn session_moved(&self, listener: &Name) {
        self.moved.get_or_create(&ListenerLabel { listener: listener.to_string() }).inc();
    }

    /// Payloads of UDP sessions that were thrown away.
    #[must_use]
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// An HTTP request has arrived.
    #[must_use]
    pub fn request(&self, listener: &Name) -> RequestGuard {
        let gauge = self.requests_in_flight.get_or_create_owned(&ListenerLabel { listener: listener.to_string() });
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
        self.requests.get_or_create(&RequestLabel { listener: listener.clone(), code }).inc();
        self.request_duration.get_or_create(&ListenerLabel { listener }).observe(taken.as_secs_f64());
    }

    /// An HTTP/2 client was told to go away, by what was too much.
    pub fn abuse(&self, listener: &Name, why: &'static str) {
        self.abuse.get_or_create(&RefusedLabel { listener: listener.to_string(), why }).inc();
    }

    /// A probe is over: `healthy`, or its reason.
    pub fn probe(&self, pool: &Name, outcome: &'static str) {
        self.probes.get_or_create(&ProbeLabel { pool: pool.to_string(), outcome }).inc();
    }

    /// A reload was asked for: `applied` or `refused`.
    pub fn reload(&self, outcome: &'static str) {
        self.reloads.get_or_create(&ReloadLabel { outcome }).inc();
    }

    /// Everything in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: a string takes every write.
    pub fn encode(&self, readings: Readings) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("underpass");
        registry.register("flows", "Flows open now, by listener", self.flows.clone());
        registry.register("flows_ended", "Flows ended, by listener and how", self.ended.clone());
        registry.register("flows_refused", "Connections closed before an origin was reached", self.refused.clone());
        registry.register_with_unit("up", "Carried from clients to origins", Unit::Bytes, self.up.clone());
        registry.register_with_unit("down", "Carried from origins to clients", Unit::Bytes, self.down.clone());
        registry.register("probes", "Probes ended, by pool and outcome", self.probes.clone());
        registry.register("reloads", "Reloads asked for, by outcome", self.reloads.clone());
        registry.register("sessions_moved", "UDP sessions that went on elsewhere", self.moved.clone());
        let dropped: Family<DroppedLabel, Counter<u64, AtomicU64>> = Family::default();
        for (why, count) in self.drops.readings().filter(|(_, count)| *count > 0) {
            dropped.get_or_create(&DroppedLabel { reason: why.as_str() }).inc_by(count);
        }
        registry.register("datagrams_dropped", "Payloads of UDP sessions thrown away, by reason", dropped);
        registry.register("log_lines_lost", "Log lines lost", Live(self.process.lost_lines.clone()));
        let panics: Family<TaskLabel, Counter<u64, AtomicU64>> = Family::default();
        for (task, count) in self.process.vital.panics() {
            panics.get_or_create(&TaskLabel { task }).inc_by(count);
        }
        registry.register("task_panics", "Tasks that failed by a bug and were begun anew", panics);
        registry.register("abuse", "HTTP/2 clients that asked too much, by listener and of what", self.abuse.clone());
        registry.register("requests", "HTTP requests ended, by listener and class of code", self.requests.clone());
        let in_flight = self.requests_in_flight.clone();
        registry.register("requests_in_flight", "HTTP requests on their way, by listener", in_flight);
        let duration = self.request_duration.clone();
        registry.register_with_unit(
            "request_duration",
            "From a request's head to its answer's end",
            Unit::Seconds,
            duration,
        );
        let mut reading = |name: &str, help: &str, value: usize| {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        reading("links", "Links registered", readings.links);
        reading("links_up", "Links that new flows may be placed on", readings.links_up);
        reading("streams", "Streams open over all links", readings.streams);
        reading("origins", "Origins configured", readings.origins);
        reading("origins_healthy", "Origins that are healthy", readings.origins_healthy);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}
