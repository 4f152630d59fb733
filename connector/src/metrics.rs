//! What a connector counts.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use net::Vital;
use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode, encode_registry},
    },
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use protocol::{
    error::Reason,
    splice::{Carried, Ended},
    switch::Drops,
    windows::Tally,
};

use crate::link::status::EdgeLinks;

/// Counters and gauges of a connector.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    flows: Gauge<i64, AtomicI64>,
    opened: Counter<u64, AtomicU64>,
    ended: Family<EndLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    to_origin: Counter<u64, AtomicU64>,
    from_origin: Counter<u64, AtomicU64>,
    reloads: Family<OutcomeLabel, Counter>,
    reload_failed: Counter<u64, AtomicU64>,
    last_reload: Gauge<i64, AtomicI64>,
    drops: Drops,
    windows: Tally,
    process: Process,
    registry: Arc<std::sync::OnceLock<Registry>>,
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
struct EdgeLabel {
    edge: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    task: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    ended: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedLabel {
    reason: &'static str,
}

/// Counts a flow as open until dropped.
#[derive(Debug)]
pub struct FlowGuard(Gauge<i64, AtomicI64>);

impl Drop for FlowGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// All of this process.
    #[must_use]
    pub fn of(process: Process) -> Self {
        let metrics = Self { process, ..Self::default() };
        // What it was started with is in force.
        metrics.last_reload.set(1);
        metrics
    }

    /// A flow has begun.
    #[must_use]
    pub fn flow(&self) -> FlowGuard {
        self.opened.inc();
        self.flows.inc();
        FlowGuard(self.flows.clone())
    }

    /// Flows open now.
    #[must_use]
    pub fn open_flows(&self) -> i64 {
        self.flows.get()
    }

    /// A flow has ended; gives the word for how.
    pub fn carried(&self, carried: &Carried) -> &'static str {
        let word = match carried.ended {
            // Seen from here, "local" is the origin.
            Ended::LocalReset => "origin_reset",
            Ended::RemoteReset => "client_reset",
            other @ (Ended::Finished | Ended::Stalled | Ended::LinkLost | Ended::Idle) => other.as_str(),
        };
        self.over(word, carried.sent, carried.received)
    }

    /// A flow was cut that is not permitted any more; gives the word for that.
    pub fn withdrawn(&self, sent: u64, received: u64) -> &'static str {
        self.over("withdrawn", sent, received)
    }

    fn over(&self, ended: &'static str, sent: u64, received: u64) -> &'static str {
        self.ended.get_or_create(&EndLabel { ended }).inc();
        self.from_origin.inc_by(sent);
        self.to_origin.inc_by(received);
        ended
    }

    /// The settings were read again, and are in force.
    pub fn reloaded(&self) {
        self.reloads.get_or_create(&OutcomeLabel { outcome: "applied" }).inc();
        self.last_reload.set(1);
    }

    /// The settings were read again, and cannot be put in force.
    pub fn reload_refused(&self) {
        self.reloads.get_or_create(&OutcomeLabel { outcome: "refused" }).inc();
        self.reload_failed.inc();
        self.last_reload.set(0);
    }

    /// A target was not dialled, or did not answer.
    pub fn refused(&self, reason: Reason) {
        self.refused.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// How the process's tasks fare.
    #[must_use]
    pub fn vital(&self) -> &Vital {
        &self.process.vital
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

    /// Everything in the OpenMetrics text format, with the number of links that are up and that there should be, by edge.
    #[must_use]
    pub fn encode(&self, links: &[EdgeLinks]) -> String {
        let mut text = String::new();
        let registry = self.registry.get_or_init(|| self.register());
        // Writing to a string cannot fail.
        let _ = encode_registry(&mut text, &self.read(links));
        let _ = encode(&mut text, registry);
        text
    }

    /// What others count, as it is now.
    fn read(&self, links: &[EdgeLinks]) -> Registry {
        let (up, wanted): (Family<EdgeLabel, Gauge>, Family<EdgeLabel, Gauge>) = Default::default();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for at in links {
            let label = EdgeLabel { edge: at.edge.to_string() };
            up.get_or_create(&label).set(number(at.up));
            wanted.get_or_create(&label).set(number(at.wanted));
        }
        let dropped: Family<DroppedLabel, Counter> = Family::default();
        for (why, count) in self.drops.readings() {
            dropped.get_or_create(&DroppedLabel { reason: why.as_str() }).inc_by(count);
        }
        let mut registry = Registry::with_prefix("underpass");
        registry.register("links_up", "Links that are registered and up, by edge", up);
        registry.register("links", "Links that are kept, by edge, whether up or not", wanted);
        registry.register("datagrams_dropped", "Payloads of UDP sessions thrown away, by reason", dropped);
        let (held, sacrificed): (Gauge, Counter) = Default::default();
        held.set(i64::try_from(self.windows.held()).unwrap_or(i64::MAX));
        sacrificed.inc_by(self.windows.sacrificed());
        registry.register_with_unit("held", "Of links, by flows that nobody reads", Unit::Bytes, held);
        registry.register("flows_sacrificed", "Flows reset because they held what others need", sacrificed);
        let lost: Counter = Counter::default();
        lost.inc_by(self.process.lost_lines.load(Ordering::Relaxed));
        registry.register("log_lines_lost", "Log lines lost", lost);
        let panics: Family<TaskLabel, Counter> = Family::default();
        for (task, count) in self.process.vital.panics() {
            panics.get_or_create(&TaskLabel { task }).inc_by(count);
        }
        registry.register("task_panics", "Tasks that failed by a bug and were begun anew", panics);
        registry
    }

    fn register(&self) -> Registry {
        for ended in ["finished", "origin_reset", "client_reset", "stalled", "link_lost", "idle", "withdrawn"] {
            drop(self.ended.get_or_create(&EndLabel { ended }));
        }
        for reason in Reason::ALL {
            drop(self.refused.get_or_create(&ReasonLabel { reason: reason.as_str() }));
        }
        for outcome in ["applied", "refused"] {
            drop(self.reloads.get_or_create(&OutcomeLabel { outcome }));
        }
        let mut registry = Registry::with_prefix("underpass");
        registry.register("reloads", "Times the settings were read again, by outcome", self.reloads.clone());
        registry.register("reload_failed", "Times they could not be put in force", self.reload_failed.clone());
        registry.register(
            "config_last_reload_successful",
            "Whether they could the last time",
            self.last_reload.clone(),
        );
        registry.register("flows", "Flows open now", self.flows.clone());
        registry.register("flows_opened", "Flows begun", self.opened.clone());
        registry.register("flows_ended", "Flows ended, by how", self.ended.clone());
        registry.register("dials_refused", "Opens that led to no connection, by reason", self.refused.clone());
        registry.register_with_unit("to_origin", "Carried to origins", Unit::Bytes, self.to_origin.clone());
        registry.register_with_unit("from_origin", "Carried from origins", Unit::Bytes, self.from_origin.clone());
        registry
    }
}
