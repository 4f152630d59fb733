//! One TCP flow: place, open, splice; place again while nothing can be delivered twice.

pub(super) mod announced;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use net::{Socket, drill};
use protocol::{
    error::Reason,
    splice::{self, Carried, Manner},
};

use self::announced::Known;
use super::{
    flow::{
        attempts::{self, Attempt, Miss, Missed},
        placing::{Place, Search},
        story::{Arrival, End, Kind, Story},
    },
    flows::Seat,
    guests::Admitted,
    shared::Shared,
};
use crate::{
    balancer::{
        NoPlace,
        retry::{Delivered, Left},
    },
    metrics::RefusedFlow,
    model::{FlowId, FlowKey, Leads, Listener},
    offramp::{Carrier, Failure, First, Offramp, Opened, Why},
};

/// A flow from its accept on.
#[derive(Debug)]
pub(super) struct Flow {
    shared: Arc<Shared>,
    known: Known,
    place: Option<Place>,
    story: Story,
    _admitted: Admitted,
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
    seat: Seat,
}

impl Flow {
    /// A flow that has just arrived; it is placed at once, so that it can run where its link is.
    pub(super) fn new(shared: Arc<Shared>, listener: Arc<Listener>, known: Known, admitted: Admitted) -> Self {
        let place = Search::new(&shared, &listener, key(known)).look();
        let (id, source) = (FlowId::draw(&mut rand::rng()), known.ends.source);
        let arrival = Arrival { id, listener, source, started: Instant::now() };
        let mut story = Story::new(&shared.metrics, &shared.recent, arrival);
        if let (Leads::Destination { .. }, Some(destination)) = (&story.listener.leads, known.destination) {
            story.is_for(destination);
        }
        Self { shared, known, place, story, _admitted: admitted }
    }

    /// The worker of the link it is placed on.
    pub(super) fn worker(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.worker(&self.shared))
    }

    /// Carries the flow to its end.
    pub(super) async fn run(mut self, client: Socket) {
        drill::hang("flow");
        let (cut, listener) = (self.shared.cut.clone(), self.story.listener.clone());
        let opened = tokio::select! {
            opened = self.open(&client) => opened,
            () = cut.cancelled() => Err(RefusedFlow::NoPlace),
        };
        let Begun { opened, first, with_open, on_stream, seat } = match opened {
            Ok(begun) => begun,
            Err(refused) => {
                self.shared.metrics.refused_flow(&listener.name, refused);
                client.abort();
                return self.story.tell(End::Refused, Kind::Flow);
            }
        };
        let count = self.story.count.clone();
        count.add_sent(with_open);
        let (source, idle) = (Some(self.known.ends.source.ip()), listener.idle_timeout);
        let manner = Manner { source, sent: on_stream, first, idle, count };
        let _flow = self.shared.metrics.flow(&listener.name);
        let ended = tokio::select! {
            carried = carry(client, opened.carrier, manner) => End::Carried(carried.ended),
            () = cut.cancelled() => End::Cut,
        };
        drop(seat);
        self.story.tell(ended, Kind::Flow);
    }

    /// Places and opens until one path has accepted.
    async fn open(&mut self, client: &Socket) -> Result<Begun, RefusedFlow> {
        let (shared, listener) = (self.shared.clone(), self.story.listener.clone());
        let mut search = Search::new(&shared, &listener, key(self.known)).since(self.story.started());
        let first = First::of(client, self.known.ends, listener.replay);
        let mut opening = Opening { offramp: &shared.offramp, first, story: &mut self.story };
        let (place, opened) = attempts::make(&mut search, self.place.take(), &mut opening).await?;
        search.opened(&place);
        let first = opening.first;
        let (with_open, on_stream) = (first.sent() as u64, first.on_stream());
        Ok(Begun { opened, first: first.unsent(), with_open, on_stream, seat: place.seat })
    }
}

/// A flow that has not reached its origin yet.
struct Opening<'a> {
    offramp: &'a Offramp,
    first: First<'a>,
    story: &'a mut Story,
}

impl Attempt for Opening<'_> {
    type Opened = Opened;
    type Over = RefusedFlow;

    async fn at(&mut self, place: &Place) -> Result<Opened, Missed<RefusedFlow>> {
        let failure = match self.offramp.open(place.opening(self.story.id), &mut self.first).await {
            Ok(opened) => {
                self.story.opened(opened.connect);
                return Ok(opened);
            }
            Err(failure) => failure,
        };
        let delivered = match failure {
            Failure::Refused(..) => Delivered::Nothing,
            Failure::Unanswered(_) if self.first.is_repeatable() => Delivered::Nothing,
            Failure::Unanswered(_) => Delivered::Something,
            Failure::ClientGone => return Err(Missed::Over(RefusedFlow::ClientGone)),
        };
        let why = Why::from(failure);
        let miss = Miss { reason: why.reason, delivered, left: Left::Whole, is_told: true };
        self.story.failed(why);
        Err(Missed::Here(miss))
    }

    fn story(&mut self) -> &mut Story {
        self.story
    }

    fn no_place(&mut self, _: &NoPlace, _: Option<Reason>) -> RefusedFlow {
        RefusedFlow::NoPlace
    }

    fn not_again(&mut self, _: &Miss) -> RefusedFlow {
        RefusedFlow::NotReplayable
    }
}

/// What a decision goes by.
fn key(Known { ends, destination }: Known) -> FlowKey<'static> {
    FlowKey { destination, ..FlowKey::of(ends.source) }
}

async fn carry(client: Socket, carrier: Carrier, manner: Manner) -> Carried {
    match carrier {
        Carrier::Tunnel(stream, link, _held) => splice::splice(client, stream, &link.windows, manner).await,
        Carrier::Direct(origin) => splice::relay(client, origin, manner).await,
    }
}
