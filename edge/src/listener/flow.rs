//! One TCP flow: place, open, splice; place again while nothing can be delivered twice.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::Bytes;
use net::Socket;
use protocol::{
    proxy::Ends,
    splice::{self, Carried, Count, Manner},
};

use super::{
    placing::{Place, Search},
    shared::Shared,
    story::{Amounts, End, Kind, Story},
};
use crate::{
    metrics::RefusedFlow,
    model::{Held, Listener},
    offramp::{Carrier, Failure, First, Opened, Why},
};

/// A flow from its accept on.
#[derive(Debug)]
pub(super) struct Flow {
    shared: Arc<Shared>,
    ends: Ends,
    place: Option<Place>,
    story: Story,
    _held: Held,
}

/// A flow that has reached its origin.
struct Begun {
    opened: Opened,
    /// Bytes of the client that have been read, and not sent.
    first: Bytes,
    /// Bytes of the client that travelled with the open, before anything was spliced.
    with_open: u64,
    /// Bytes that have been sent.
    on_stream: u64,
    held: Held,
}

impl Flow {
    /// A flow that has just arrived; it is placed at once, so that it can run where its link is.
    pub(super) fn new(shared: Arc<Shared>, listener: Arc<Listener>, ends: Ends, held: Held) -> Self {
        let place = Search::new(&shared, &listener, ends.source).look();
        let story = Story::new(&shared.metrics, listener, ends.source, Instant::now());
        Self { shared, ends, place, story, _held: held }
    }

    /// The worker of the link it is placed on.
    pub(super) fn worker(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.worker(&self.shared))
    }

    /// Carries the flow to its end.
    pub(super) async fn run(mut self, client: Socket) {
        let (cut, listener) = (self.shared.cut.clone(), self.story.listener.clone());
        let opened = tokio::select! {
            opened = self.open(&client) => opened,
            () = cut.cancelled() => Err(RefusedFlow::NoPlace),
        };
        let Begun { opened, first, with_open, on_stream, held } = match opened {
            Ok(begun) => begun,
            Err(refused) => {
                self.shared.metrics.refused_flow(&listener.name, refused);
                client.abort();
                return self.story.tell(End::Refused, Amounts::default(), Kind::Flow);
            }
        };
        let (totals, count) = (self.shared.metrics.totals(&listener.name), Count::default());
        totals.sent.fetch_add(with_open, Ordering::Relaxed);
        let (source, idle) = (Some(self.ends.source.ip()), listener.idle_timeout);
        let manner = Manner { source, sent: on_stream, first, idle, count: count.clone(), totals: Some(totals) };
        let _flow = self.shared.metrics.flow(&listener.name);
        let ended = tokio::select! {
            carried = carry(client, opened.carrier, manner) => End::Carried(carried.ended),
            () = cut.cancelled() => End::Cut,
        };
        drop(held);
        self.story.tell(ended, Amounts { up: with_open + count.sent(), down: count.received() }, Kind::Flow);
    }

    /// Places and opens until one path has accepted.
    async fn open(&mut self, client: &Socket) -> Result<Begun, RefusedFlow> {
        let (listener, story) = (self.story.listener.clone(), &mut self.story);
        let mut search = Search::new(&self.shared, &listener, self.ends.source).since(story.started());
        let mut first = First::of(client, self.ends, listener.replay);
        loop {
            let place = match self.place.take() {
                Some(place) => place,
                None => search.find().await.map_err(|no| {
                    story.no_place(&no);
                    RefusedFlow::NoPlace
                })?,
            };
            story.tried(&place);
            let failure = match self.shared.offramp.open(place.opening(), &mut first).await {
                Ok(opened) => {
                    search.opened(&place);
                    story.opened(opened.connect);
                    let (with_open, on_stream) = (first.sent() as u64, first.on_stream());
                    return Ok(Begun { opened, first: first.unsent(), with_open, on_stream, held: place.held });
                }
                Err(failure) => failure,
            };
            let again = match failure {
                Failure::Refused(..) => true,
                Failure::Unanswered(_) => first.is_repeatable(),
                Failure::ClientGone => return Err(RefusedFlow::ClientGone),
            };
            let why = Why::from(failure);
            search.failed(&place, why.reason);
            story.failed(why);
            if !again {
                return Err(RefusedFlow::NotReplayable);
            }
        }
    }
}

async fn carry(client: Socket, carrier: Carrier, manner: Manner) -> Carried {
    match carrier {
        Carrier::Tunnel(stream, link, _held) => splice::splice(client, stream, &link.windows, manner).await,
        Carrier::Direct(origin) => splice::relay(client, origin, manner).await,
    }
}
