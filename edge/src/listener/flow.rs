//! One TCP flow: place, open, splice; place again while nothing can be delivered twice.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use net::Socket;
use protocol::{
    proxy::Ends,
    splice::{self, Carried, Count, Manner},
};
use tracing::info;

use super::{
    Shared,
    cause::Cause,
    millis,
    placing::{Place, Search, Told},
};
use crate::{
    metrics::{FlowEnd, RefusedFlow},
    model::{Held, Listener},
    offramp::{Carrier, Failure, First, Opened, Why},
};

/// A flow from its accept on.
#[derive(Debug)]
pub(super) struct Flow {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    ends: Ends,
    started: Instant,
    place: Option<Place>,
    _held: Held,
}

/// What is told of a flow when it is over.
#[derive(Debug, Default)]
struct Story {
    attempts: u32,
    connect: Option<Duration>,
    /// Client bytes that travelled with the open, before anything was spliced.
    sent_with_open: u64,
    place: Option<Told>,
    /// What was carried until then, however it ended.
    count: Count,
    carried: Option<Carried>,
    cause: Cause,
}

/// A flow that has reached its origin.
struct Begun {
    opened: Opened,
    /// Bytes of the client that have been read, and not sent.
    first: Bytes,
    /// Bytes that have been sent.
    on_stream: u64,
    held: Held,
}

impl Flow {
    /// A flow that has just arrived; it is placed at once, so that it can run where its link is.
    pub(super) fn new(shared: Arc<Shared>, listener: Arc<Listener>, ends: Ends, held: Held) -> Self {
        let place = Search::new(&shared, &listener, ends.source).look();
        Self { shared, listener, ends, started: Instant::now(), place, _held: held }
    }

    /// The worker of the link it is placed on.
    pub(super) fn worker(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.worker(&self.shared))
    }

    /// Carries the flow to its end.
    pub(super) async fn run(mut self, client: Socket) {
        let mut story = Story::default();
        let cut = self.shared.cut.clone();
        let opened = tokio::select! {
            opened = self.open(&client, &mut story) => opened,
            () = cut.cancelled() => Err(RefusedFlow::NoPlace),
        };
        match opened {
            Ok(Begun { opened, first, on_stream, held }) => {
                story.connect = Some(opened.connect);
                let totals = self.shared.metrics.totals(&self.listener.name);
                totals.sent.fetch_add(story.sent_with_open, Ordering::Relaxed);
                let (source, idle) = (Some(self.ends.source.ip()), self.listener.idle_timeout);
                let (count, totals) = (story.count.clone(), Some(totals));
                let manner = Manner { source, sent: on_stream, first, idle, count, totals };
                let _flow = self.shared.metrics.flow(&self.listener.name);
                let carrying = carry(client, opened.carrier, manner);
                story.carried = tokio::select! {
                    carried = carrying => Some(carried),
                    () = cut.cancelled() => None,
                };
                drop(held);
            }
            Err(refused) => {
                self.shared.metrics.refused_flow(&self.listener.name, refused);
                client.abort();
            }
        }
        self.tell(&story);
    }

    /// Places and opens until one path has accepted.
    async fn open(&mut self, client: &Socket, story: &mut Story) -> Result<Begun, RefusedFlow> {
        let mut search = Search::new(&self.shared, &self.listener, self.ends.source).since(self.started);
        let mut first = First::of(client, self.ends, self.listener.replay);
        loop {
            let place = match self.place.take() {
                Some(place) => place,
                None => search.find().await.map_err(|no| {
                    story.cause.no_place(&no);
                    RefusedFlow::NoPlace
                })?,
            };
            story.attempts += 1;
            story.place = Some(place.told(&self.shared));
            let failure = match self.shared.offramp.open(place.opening(), &mut first).await {
                Ok(opened) => {
                    search.opened(&place);
                    story.cause.heals();
                    story.sent_with_open = first.sent() as u64;
                    let on_stream = first.on_stream();
                    return Ok(Begun { opened, first: first.unsent(), on_stream, held: place.held });
                }
                Err(failure) => failure,
            };
            let again = match failure {
                Failure::Refused(..) => true,
                Failure::Unanswered(_) => first.may_be_placed_again(),
                Failure::ClientGone => return Err(RefusedFlow::ClientGone),
            };
            let why = Why::from(failure);
            search.failed(&place, why.reason);
            story.cause.failed(why);
            if !again {
                return Err(RefusedFlow::NotReplayable);
            }
        }
    }

    /// One line a flow, and its counters.
    fn tell(&self, story: &Story) {
        let ended = match (story.connect, story.carried) {
            (None, _) => "refused",
            (Some(_), None) => "cut",
            (Some(_), Some(carried)) => carried.ended.as_str(),
        };
        self.shared.metrics.flow_ended(&FlowEnd { listener: &self.listener.name, ended });
        let (place, detail) = (story.place.as_ref(), story.cause.words());
        info!(
            target: "access",
            listener = %self.listener.name,
            source = %self.ends.source,
            pool = place.map(|p| &p.pool[..]),
            origin = place.map(|p| &p.origin[..]),
            connector = place.and_then(|p| p.connector.as_deref()),
            link = place.and_then(|p| p.link.as_deref()),
            attempts = story.attempts,
            connect_ms = story.connect.map(millis),
            duration_ms = millis(self.started.elapsed()),
            bytes_up = story.sent_with_open + story.count.sent(),
            bytes_down = story.count.received(),
            ended,
            reason = story.cause.code(),
            detail = detail.as_deref(),
            "flow"
        );
    }
}

async fn carry(client: Socket, carrier: Carrier, manner: Manner) -> Carried {
    match carrier {
        Carrier::Tunnel(stream, link, _held) => splice::splice(client, stream, &link.windows, manner).await,
        Carrier::Direct(origin) => splice::relay(client, origin, manner).await,
    }
}
