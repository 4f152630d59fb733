//! Connections to origins, over a stream of a link or direct: opened and spoken to. Who keeps them is `idle`.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::Either;
use http::{HeaderMap, Request, Response};
use hyper::{body::Incoming, client::conn::TrySendError};
use protocol::{error::Reason, id::Target, windows::Account};
use tokio::sync::oneshot;

use super::patience;
use crate::listener::http::message::boxed::Body;
use crate::{
    health::OriginKey,
    model::{Held, Origin, Via},
    offramp::{Manners, Opened, Sacrificed, Sender, Speaking, Speech, Why},
    tunnel::Link,
};

/// A connection to an origin, not in use by anybody else; or a part in one that many requests share.
pub(crate) struct Upstream {
    sender: Sender<Body>,
    link: Option<Arc<Link>>,
    /// How its link counts it.
    account: Option<Account>,
    /// Says when its link has sacrificed it.
    sacrificed: Sacrificed,
    /// What is seen of its origin's manners.
    manners: Manners,
    /// Where an HTTP/2 origin's word on extended CONNECT arrives, for whoever has opened the connection.
    offers_connect: Option<oneshot::Receiver<bool>>,
    /// What those who share it know of it.
    shared: Option<Arc<Room>>,
    /// A request on its way counts on a shared connection for so long.
    _stream: Option<Held>,
    /// How long it is kept idle, if its pool says so.
    keep: Option<Duration>,
    /// How long its origin keeps it idle, if that has said so.
    patience: Option<Duration>,
    /// From when on it takes no new request.
    retires: Option<Instant>,
    /// It has carried a request before, so the origin may have closed it meanwhile.
    pub(crate) reused: bool,
}

/// How many more requests a shared connection takes.
#[derive(Debug)]
struct Room {
    open: Arc<AtomicUsize>,
    /// As many as its origin allows at once, by its last word.
    allowed: Arc<AtomicUsize>,
    /// As many as it took when it declined one.
    taken: AtomicUsize,
    /// Nothing new goes over it: it is ending, or broken.
    ends: AtomicBool,
}

impl Room {
    fn free(&self) -> usize {
        let most = self.allowed.load(Ordering::Relaxed).min(self.taken.load(Ordering::Relaxed));
        most.saturating_sub(self.open.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream(reused: {})", self.reused)
    }
}

impl Upstream {
    /// Begins to speak HTTP over an opened way, within `wait`.
    pub(crate) async fn over(key: &Key, opened: Opened, origin: &Origin, wait: Duration) -> Result<Self, Why> {
        let speaking = Box::pin(key.speech.begin(opened, origin, wait)).await?;
        let Speaking { sender, link, account, sacrificed, manners, server, tls: _, retires } = speaking;
        let (offers_connect, allowed) = server.map(|server| (server.offers_connect, server.streams)).unzip();
        let upstream = Self::new(sender, allowed).retiring(retires);
        Ok(Self { link, account, sacrificed, manners, offers_connect, ..upstream })
    }

    /// A connection that was opened; `allowed`: many requests may share it, so many at once by its origin's last word.
    pub(crate) fn new(sender: Sender<Body>, allowed: Option<Arc<AtomicUsize>>) -> Self {
        let shared = allowed.map(|allowed| {
            let (open, taken, ends) = (Arc::default(), AtomicUsize::new(usize::MAX), AtomicBool::new(false));
            Arc::new(Room { open, allowed, taken, ends })
        });
        let _stream = shared.as_ref().map(|room| Held::new(&room.open));
        Self {
            sender,
            link: None,
            account: None,
            sacrificed: Sacrificed::default(),
            manners: Manners::default(),
            offers_connect: None,
            shared,
            _stream,
            keep: None,
            patience: None,
            retires: None,
            reused: false,
        }
    }

    /// Takes no new request from then on.
    pub(crate) fn retiring(self, retires: Option<Instant>) -> Self {
        Self { retires, ..self }
    }

    /// Kept idle for so long, if its pool says so.
    pub(crate) fn kept_for(self, keep: Option<Duration>) -> Self {
        Self { keep, ..self }
    }

    /// For one more request.
    pub(crate) fn again(self) -> Self {
        Self { reused: true, ..self }
    }

    /// How long it may be idle; `usual`: unless its pool says how long, or its origin that it is less.
    pub(crate) fn idle_limit(&self, usual: Duration) -> Duration {
        let own = self.keep.unwrap_or(usual);
        self.patience.map_or(own, |patience| patience.min(own))
    }

    /// From now on it is read for this client's sake; what many share is read for nobody's.
    pub(crate) fn serves(&self, client: IpAddr) {
        if let (Sender::Http1(..), Some(account)) = (&self.sender, &self.account) {
            account.pass(client);
        }
    }

    /// Says when its link has sacrificed it, for the sake of other flows.
    pub(crate) fn sacrificed(&self) -> &Sacrificed {
        &self.sacrificed
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) fn send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>> + use<> {
        match &mut self.sender {
            Sender::Http1(sender, _) => Either::Left(sender.try_send_request(request)),
            Sender::Http2(sender, _) => Either::Right(sender.try_send_request(request)),
        }
    }

    /// Heeds what an answer says of its connection.
    pub(crate) fn heed(&mut self, answer: &HeaderMap) {
        self.patience = patience::of(answer);
    }

    /// Completes once the link has left packets unanswered for too long; never for a direct way.
    pub(crate) fn suspected(&self) -> impl Future<Output = ()> + use<> {
        let link = self.link.clone();
        async move {
            match link {
                Some(link) => link.suspected().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Why it has broken: its link has, or the origin's side.
    pub(crate) fn why_broken(&self) -> Reason {
        let link_is_over = self.link.as_ref().is_some_and(|link| link.is_over());
        if link_is_over {
            Reason::LinkLost
        } else if self.manners.babbles() {
            Reason::HttpInvalid
        } else {
            Reason::ConnectionReset
        }
    }

    /// True if HTTP/2 is spoken: every request has a stream of its own, which ends by itself.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// How many more requests a shared connection takes.
    pub(crate) fn free(&self) -> usize {
        self.shared.as_ref().map_or(0, |room| room.free())
    }

    /// How many requests are on their way over a shared connection.
    pub(crate) fn busy(&self) -> usize {
        self.shared.as_ref().map_or(0, |room| room.open.load(Ordering::Relaxed))
    }

    /// Waits for an HTTP/2 origin's word on whether it takes extended CONNECT.
    pub(crate) async fn offers_connect(&mut self) -> bool {
        match &mut self.offers_connect {
            Some(word) => word.await.unwrap_or(false),
            None => false,
        }
    }

    /// A handle for those who keep a connection that many requests share.
    pub(crate) fn shared(&self) -> Option<Self> {
        let (Sender::Http2(sender, driving), Some(room)) = (&self.sender, &self.shared) else { return None };
        Some(Self {
            sender: Sender::Http2(sender.clone(), driving.clone()),
            link: self.link.clone(),
            account: None,
            sacrificed: self.sacrificed.clone(),
            manners: self.manners.clone(),
            offers_connect: None,
            shared: Some(room.clone()),
            _stream: None,
            keep: self.keep,
            patience: None,
            retires: self.retires,
            reused: true,
        })
    }

    /// A part in a shared connection, for one more request.
    pub(crate) fn part(&self) -> Option<Self> {
        let part = self.shared()?;
        let _stream = part.shared.as_ref().map(|room| Held::new(&room.open));
        Some(Self { _stream, ..part })
    }

    /// Its origin did not take a request over it, which may be said of the next as well: nothing more goes over it than
    /// there is.
    pub(crate) fn declined(&self) {
        if let Some(room) = &self.shared {
            let others = room.open.load(Ordering::Relaxed).saturating_sub(1);
            room.taken.fetch_min(others, Ordering::Relaxed);
        }
    }

    /// Nothing new goes over it, whoever shares it.
    pub(crate) fn ends(&self) {
        if let Some(room) = &self.shared {
            room.ends.store(true, Ordering::Relaxed);
        }
    }

    /// Closes it at once, whatever is on its way, unless others share it: then only its own stream is over.
    pub(crate) fn abort(self) {
        if let Sender::Http1(_, driving) = self.sender {
            driving.abort();
        }
    }

    /// Closes it at once, whoever shares it.
    pub(crate) fn cut(self) {
        let (Sender::Http1(_, driving) | Sender::Http2(_, driving)) = self.sender;
        driving.abort();
    }

    /// True if it is open, and ready for one more request, as far as its own task knows.
    pub(crate) fn is_good(&self, now: Instant) -> bool {
        let link_good = self.link.as_ref().is_none_or(|link| link.load.is_placeable() && !link.is_draining());
        let ready = match &self.sender {
            Sender::Http1(sender, _) => sender.is_ready(),
            Sender::Http2(sender, _) => sender.is_ready() && !sender.is_closed(),
        };
        let retired = self.retires.is_some_and(|at| at <= now) || self.manners.is_deaf();
        link_good && ready && !retired && self.shared.as_ref().is_none_or(|room| !room.ends.load(Ordering::Relaxed))
    }

    /// True if nothing can be sent over it any more.
    pub(crate) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender, _) => sender.is_closed(),
            Sender::Http2(sender, _) => sender.is_closed(),
        }
    }

    /// Completes when the last exchange has ended and there may be another: false if there may be none.
    pub(crate) async fn ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender, _) => sender.ready().await.is_ok(),
            Sender::Http2(sender, _) => sender.ready().await.is_ok(),
        }
    }
}

/// Whose connections may be used for whom: the same way to the same server of the same pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Where it is.
    pub(crate) origin: OriginKey,
    /// Its address: keys of origins are hashes.
    pub(crate) address: Target,
    /// Which way.
    pub(crate) via: Via,
    /// What is spoken there, and who is believed.
    pub(crate) speech: Speech,
}
