//! One line and its counters for every request, told once, however it ended.

use std::sync::Arc;

use http::{Method, StatusCode, Version};
use protocol::splice::Ended;

use crate::listener::http::message::fault::Fault;
use crate::{
    listener::{
        flow::story::{Arrival, End, Kind, Request, Story},
        recent::Recent,
    },
    metrics::{Metrics, RequestGuard},
};

/// What is told of a request when it is over.
#[derive(Debug)]
pub(crate) struct Record {
    /// How far it has come.
    pub(crate) story: Story,
    /// What is told of a request alone.
    pub(crate) request: Request,
    _in_flight: RequestGuard,
    /// The client took or sent nothing for too long.
    pub(crate) client_timeout: bool,
    /// Its flow was sacrificed, since the client took too little.
    pub(crate) stalled: bool,
    /// The answer's last byte was handed over.
    pub(crate) finished: bool,
}

impl Record {
    /// A request that has just arrived.
    pub(crate) fn new(
        metrics: &Metrics,
        recent: &Arc<Recent>,
        arrival: Arrival,
        (method, version): (Method, Version),
    ) -> Self {
        Self {
            _in_flight: metrics.request(&arrival.listener.name),
            story: Story::new(metrics, recent, arrival),
            request: Request {
                method,
                version,
                host: None,
                path: String::new(),
                reused: false,
                status: None,
                first_byte: None,
            },
            client_timeout: false,
            stalled: false,
            finished: false,
        }
    }

    /// The edge answers itself.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.story.cause.ends(fault.code, fault.words.trim());
    }

    /// An answer's head goes to the client.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.request.status = Some(status);
        self.request.first_byte = Some(self.story.started().elapsed());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let ended = match (self.request.status, self.finished) {
            (_, true) => End::Carried(Ended::Finished),
            (_, false) if self.stalled => End::Carried(Ended::Stalled),
            (_, false) if self.client_timeout => End::ClientTimeout,
            (None, false) => End::ClientGone,
            (Some(_), false) if self.story.cause.code().is_some() => End::Broken,
            (Some(_), false) => End::ClientGone,
        };
        self.story.tell(ended, Kind::Request(&self.request));
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::Ordering, time::Instant};

    use super::*;
    use crate::model::FlowId;

    #[test]
    fn bytes_show_while_a_request_is_on_its_way() {
        let metrics = Metrics::default();
        let file = "name = \"edge-1\"\n[tunnel]\nlisten = \"127.0.0.1:7843\"\n[[pool]]\nname = \"web\"\n[[pool.origin]]\n\
             name = \"o\"\naddress = \"127.0.0.1:80\"\n[[load_balancer]]\nname = \"lb\"\npools = [\"web\"]\n\
             [[listener]]\nname = \"www\"\nprotocol = \"http\"\nlisten = \"127.0.0.1:8000\"\nload_balancer = \"lb\"\n";
        let catalog = crate::config::parse(file, "edge.toml".as_ref()).expect("settings").catalog;
        let listener = catalog.listeners.first().expect("one").clone();
        let client = ([192, 0, 2, 1], 4711).into();
        let id = FlowId::draw(&mut rand::rng());
        let arrival = Arrival { id, listener: listener.clone(), source: client, started: Instant::now() };
        let record = Record::new(&metrics, &Arc::default(), arrival, (Method::GET, Version::HTTP_11));
        record.story.count.add_sent(3);
        record.story.count.add_received(5);
        let totals = metrics.totals(&listener.name);
        let counts = || (totals.sent.load(Ordering::Relaxed), totals.received.load(Ordering::Relaxed));
        assert_eq!(counts(), (3, 5));
        drop(record);
        assert_eq!(counts(), (3, 5), "once");
    }
}
