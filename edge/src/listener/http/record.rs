//! One line and its counters for every request, told once, however it ended.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, StatusCode, Version};
use tracing::info;

use super::fault::Fault;
use crate::{
    listener::{cause::Cause, millis, placing::Told},
    metrics::{Metrics, RequestGuard},
    model::Listener,
};

/// What is told of a request when it is over.
#[derive(Debug)]
pub(super) struct Record {
    metrics: Metrics,
    listener: Arc<Listener>,
    source: SocketAddr,
    started: Instant,
    method: Method,
    version: Version,
    _in_flight: RequestGuard,
    /// Whom it was for.
    pub(super) host: Option<String>,
    /// The path as it goes on.
    pub(super) path: String,
    /// How often it was placed.
    pub(super) attempts: u32,
    /// Where it went last.
    pub(super) place: Option<Told>,
    /// The connection had carried requests before.
    pub(super) reused: bool,
    /// The status the client was told.
    pub(super) status: Option<StatusCode>,
    /// How long the head of the answer took.
    pub(super) first_byte: Option<Duration>,
    /// Bytes of the request's body.
    pub(super) up: Moved,
    /// Bytes of the answer's body.
    pub(super) down: Moved,
    /// Why it failed.
    pub(super) cause: Cause,
    /// The client took or sent nothing for too long.
    pub(super) client_timeout: bool,
    /// Its flow was sacrificed, since the client took too little.
    pub(super) stalled: bool,
    /// The answer's last byte was handed over.
    pub(super) finished: bool,
}

/// Bytes of one direction of a request, counted for its listener as well while they are carried; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    own: Arc<AtomicU64>,
    of_listener: Arc<AtomicU64>,
}

impl Moved {
    fn new(of_listener: Arc<AtomicU64>) -> Self {
        Self { own: Arc::default(), of_listener }
    }

    /// So many more.
    pub(super) fn add(&self, bytes: u64) {
        self.own.fetch_add(bytes, Ordering::Relaxed);
        self.of_listener.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many so far.
    pub(super) fn bytes(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }
}

impl Record {
    /// A request that has just arrived.
    pub(super) fn new(
        metrics: &Metrics,
        listener: Arc<Listener>,
        source: SocketAddr,
        (method, version): (Method, Version),
    ) -> Self {
        let totals = metrics.totals(&listener.name);
        Self {
            _in_flight: metrics.request(&listener.name),
            metrics: metrics.clone(),
            listener,
            source,
            started: Instant::now(),
            method,
            version,
            host: None,
            path: String::new(),
            attempts: 0,
            place: None,
            reused: false,
            status: None,
            first_byte: None,
            up: Moved::new(totals.sent),
            down: Moved::new(totals.received),
            cause: Cause::default(),
            client_timeout: false,
            stalled: false,
            finished: false,
        }
    }

    /// The edge answers itself.
    pub(super) fn fault(&mut self, fault: Fault) {
        self.cause.ends(fault.code, fault.words.trim());
    }

    /// An answer's head goes to the client.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.first_byte = Some(self.started.elapsed());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let taken = self.started.elapsed();
        let ended = match (self.status, self.finished) {
            (_, true) => "finished",
            (_, false) if self.stalled => "stalled",
            (_, false) if self.client_timeout => "client_timeout",
            (None, false) => "client_gone",
            (Some(_), false) if self.cause.code().is_some() => "broken",
            (Some(_), false) => "client_gone",
        };
        self.metrics.request_ended(&self.listener.name, self.status.map(|s| s.as_u16()), taken);
        let (place, detail) = (self.place.as_ref(), self.cause.words());
        info!(
            target: "access",
            listener = %self.listener.name,
            source = %self.source,
            method = %self.method,
            host = self.host,
            path = self.path,
            version = ?self.version,
            status = self.status.map(|s| s.as_u16()),
            pool = place.map(|p| &p.pool[..]),
            origin = place.map(|p| &p.origin[..]),
            connector = place.and_then(|p| p.connector.as_deref()),
            link = place.and_then(|p| p.link.as_deref()),
            attempts = self.attempts,
            reused = self.reused,
            first_byte_ms = self.first_byte.map(millis),
            duration_ms = millis(taken),
            bytes_up = self.up.bytes(),
            bytes_down = self.down.bytes(),
            ended,
            reason = self.cause.code(),
            detail = detail.as_deref(),
            "request"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_show_while_a_request_is_on_its_way() {
        let metrics = Metrics::default();
        let file = "name = \"edge-1\"\n[tunnel]\nlisten = \"127.0.0.1:7843\"\n[[pool]]\nname = \"web\"\n[[pool.origin]]\n\
             name = \"o\"\naddress = \"127.0.0.1:80\"\n[[load_balancer]]\nname = \"lb\"\npools = [\"web\"]\n\
             [[listener]]\nname = \"www\"\nprotocol = \"http\"\nlisten = \"127.0.0.1:8000\"\nload_balancer = \"lb\"\n";
        let catalog = crate::config::parse(file, "edge.toml".as_ref()).expect("settings").catalog;
        let listener = catalog.listeners.first().expect("one").clone();
        let client = ([192, 0, 2, 1], 4711).into();
        let record = Record::new(&metrics, listener.clone(), client, (Method::GET, Version::HTTP_11));
        record.up.add(3);
        record.down.add(5);
        let totals = metrics.totals(&listener.name);
        let counts = || (totals.sent.load(Ordering::Relaxed), totals.received.load(Ordering::Relaxed));
        assert_eq!(counts(), (3, 5));
        drop(record);
        assert_eq!(counts(), (3, 5), "once");
    }
}
