//! Metrics as text.

use std::{fmt, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use protocol::handshake::Cause;

use super::{
    Metrics,
    labels::{CauseLabel, CertificateLabel, DroppedLabel, Live, TaskLabel},
};

/// Gauges that are read from the rooms when metrics are asked for.
#[derive(Debug, Clone, Default)]
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
    /// What is drained, by hand or by the settings.
    pub drained: usize,
    /// When the fleet's CA ends, in seconds since 1970.
    pub ca_ends: i64,
    /// Certificates that clients are shown: by listener and file, and when each ends, in seconds since 1970.
    pub certificates: Vec<(String, String, i64)>,
}

/// A label's value as the text formats want it: the library writes it as it is.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

impl Metrics {
    /// Everything in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: a string takes every write.
    pub fn encode(&self, readings: Readings) -> Result<String, fmt::Error> {
        self.prune();
        let mut registry = Registry::with_prefix("underpass");
        registry.register("flows", "Flows open now, by listener", self.flows.family());
        registry.register("flows_ended", "Flows ended, by listener and how", self.ended.family());
        registry.register("flows_refused", "Connections closed before an origin was reached", self.refused.family());
        registry.register_with_unit("up", "Carried from clients to origins", Unit::Bytes, self.up.family());
        registry.register_with_unit("down", "Carried from origins to clients", Unit::Bytes, self.down.family());
        registry.register("probes", "Probes ended, by pool and outcome", self.probes.family());
        registry.register("reloads", "Reloads asked for, by outcome", self.reloads.clone());
        registry.register("reload_failed", "Reloads that were refused", self.reloads_failed.clone());
        let well = self.reloaded.well.clone();
        registry.register("config_last_reload_successful", "1 if what was read last is in force, else 0", well);
        let at = self.reloaded.at.clone();
        registry.register("config_last_reload_success_timestamp_seconds", "When settings were last put in force", at);
        registry.register("sessions_moved", "UDP sessions that went on elsewhere", self.moved.family());
        let dropped: Family<DroppedLabel, Counter<u64, AtomicU64>> = Family::default();
        for (why, count) in self.drops.readings() {
            dropped.get_or_create(&DroppedLabel { reason: why.as_str() }).inc_by(count);
        }
        registry.register("datagrams_dropped", "Payloads of UDP sessions thrown away, by reason", dropped);
        registry.register("log_lines_lost", "Log lines lost", Live(self.process.lost_lines.clone()));
        let panics: Family<TaskLabel, Counter<u64, AtomicU64>> = Family::default();
        for (task, count) in self.process.vital.panics() {
            panics.get_or_create(&TaskLabel { task }).inc_by(count);
        }
        registry.register("task_panics", "Tasks that failed by a bug and were begun anew", panics);
        for cause in Cause::ALL {
            drop(self.handshakes.get_or_create(&CauseLabel { cause: cause.as_str() }));
        }
        registry.register("handshakes_failed", "Tunnel handshakes that failed, by cause", self.handshakes.clone());
        registry.register("abuse", "HTTP/2 clients that asked too much, by listener and of what", self.abuse.family());
        registry.register("requests", "HTTP requests ended, by listener and class of code", self.requests.family());
        let in_flight = self.requests_in_flight.family();
        registry.register("requests_in_flight", "HTTP requests on their way, by listener", in_flight);
        let duration = self.request_duration.family();
        registry.register_with_unit(
            "request_duration",
            "From a request's head to its answer's end",
            Unit::Seconds,
            duration,
        );
        let (held, sacrificed): (Gauge, Counter) = Default::default();
        held.set(i64::try_from(self.windows.held()).unwrap_or(i64::MAX));
        sacrificed.inc_by(self.windows.sacrificed());
        registry.register_with_unit("held", "Of links, by flows that nobody reads", Unit::Bytes, held);
        registry.register("flows_sacrificed", "Flows reset because they held what others need", sacrificed);
        let ends: Family<CertificateLabel, Gauge> = Family::default();
        for (listener, certificate, at) in readings.certificates {
            ends.get_or_create(&CertificateLabel { listener, certificate: escaped(&certificate) }).set(at);
        }
        registry.register("certificate_expires_timestamp_seconds", "When a listener's certificate ends", ends);
        let ca_ends: Gauge = Gauge::default();
        ca_ends.set(readings.ca_ends);
        registry.register("ca_expires_timestamp_seconds", "When the fleet's CA ends", ca_ends);
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
        reading("drained", "Things that are drained", readings.drained);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}
