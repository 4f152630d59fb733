//! Connections to origins, over a stream of a link or direct: opened, spoken to, kept while idle.
//!
//! A connection is kept only after a request and its answer have both ended exactly; whatever is in doubt is closed.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{body::Incoming, client::conn::TrySendError};
use protocol::{error::Reason, id::Target};
use tokio::sync::oneshot;

use crate::{
    health::OriginKey,
    model::{Origin, Via},
    offramp::{Opened, Sender, Speaking, Speech},
    tunnel::Link,
};

/// Most idle connections of one path to one origin, on one worker. Beyond it the oldest is closed.
const IDLE_MAX: usize = 64;
/// How long a connection is kept idle. Shorter than what common servers keep theirs for.
const IDLE_WAIT: Duration = Duration::from_secs(50);

/// A body on its way to an origin or a client.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;
/// Whatever ended a body early.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection to an origin, not in use by anybody else.
pub(super) struct Upstream {
    sender: Sender<Body>,
    link: Option<Arc<Link>>,
    /// Where an HTTP/2 origin's word on extended CONNECT arrives, for whoever has opened the connection.
    offers_connect: Option<oneshot::Receiver<bool>>,
    /// It has carried a request before, so the origin may have closed it meanwhile.
    pub(super) reused: bool,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream(reused: {})", self.reused)
    }
}

impl Upstream {
    /// Begins to speak HTTP over an opened way, within `wait`.
    pub(super) async fn over(key: &Key, opened: Opened, origin: &Origin, wait: Duration) -> Result<Self, Reason> {
        let speaking = Box::pin(key.speech.begin(opened, origin, wait)).await?;
        let Speaking { sender, link, offers_connect, tls: _ } = speaking;
        Ok(Self { sender, link, offers_connect, reused: false })
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) fn send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>> + use<> {
        match &mut self.sender {
            Sender::Http1(sender, _) => Either::Left(sender.try_send_request(request)),
            Sender::Http2(sender, _) => Either::Right(sender.try_send_request(request)),
        }
    }

    /// Completes once the link has left packets unanswered for too long; never for a direct way.
    pub(super) fn suspected(&self) -> impl Future<Output = ()> + use<> {
        let link = self.link.clone();
        async move {
            match link {
                Some(link) => link.suspected().await,
                None => std::future::pending().await,
            }
        }
    }

    /// True if HTTP/2 is spoken: every request has a stream of its own, which ends by itself.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.sender, Sender::Http2(..))
    }

    /// Waits for an HTTP/2 origin's word on whether it takes extended CONNECT.
    pub(super) async fn offers_connect(&mut self) -> bool {
        match &mut self.offers_connect {
            Some(word) => word.await.unwrap_or(false),
            None => false,
        }
    }

    /// Another handle of a connection that many requests share.
    fn share(&self) -> Option<Self> {
        let Sender::Http2(sender, driving) = &self.sender else { return None };
        let sender = Sender::Http2(sender.clone(), driving.clone());
        Some(Self { sender, link: self.link.clone(), offers_connect: None, reused: true })
    }

    /// Closes it at once, whatever is on its way, unless others share it: then only its own stream is over.
    pub(super) fn abort(self) {
        if let Sender::Http1(_, driving) = self.sender {
            driving.abort();
        }
    }

    /// Closes it at once, whoever shares it.
    pub(super) fn cut(self) {
        let (Sender::Http1(_, driving) | Sender::Http2(_, driving)) = self.sender;
        driving.abort();
    }

    fn is_good(&self) -> bool {
        let link_good = self.link.as_ref().is_none_or(|link| link.load.is_placeable() && !link.is_draining());
        let ready = match &self.sender {
            Sender::Http1(sender, _) => sender.is_ready(),
            Sender::Http2(sender, _) => sender.is_ready() && !sender.is_closed(),
        };
        link_good && ready
    }
}

/// Whose connections may be used for whom: the same way to the same server of the same pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Where it is.
    pub(super) origin: OriginKey,
    /// Its address: keys of origins are hashes.
    pub(super) address: Target,
    /// Which way.
    pub(super) via: Via,
    /// What is spoken there, and who is believed.
    pub(super) speech: Speech,
}

/// Idle connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<HashMap<Key, Vec<(Upstream, Instant)>>>);

impl Idle {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Vec<(Upstream, Instant)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection used last, since the longer one was idle the likelier the origin is to close it.
    pub(super) fn take(&self, key: &Key, now: Instant) -> Option<Upstream> {
        let mut all = self.all();
        let kept = all.get_mut(key)?;
        if let Some((upstream, since)) = kept.last_mut()
            && upstream.is_good()
            && let Some(shared) = upstream.share()
        {
            *since = now;
            return Some(shared);
        }
        while let Some((upstream, since)) = kept.pop() {
            if upstream.is_good() && now.saturating_duration_since(since) < IDLE_WAIT {
                return Some(Upstream { reused: true, ..upstream });
            }
        }
        all.remove(key);
        None
    }

    /// Keeps a connection whose last exchange has ended exactly, once it says so itself.
    pub(super) fn keep(self: &Arc<Self>, key: Key, mut upstream: Upstream) {
        if upstream.is_shared() || matches!(&upstream.sender, Sender::Http1(sender, _) if sender.is_closed()) {
            return;
        }
        if upstream.is_good() {
            self.put(key, upstream);
            return;
        }
        // The connection's own task has yet to see the end; it needs a turn, not time.
        let idle = self.clone();
        tokio::spawn(async move {
            let Sender::Http1(sender, _) = &mut upstream.sender else { return };
            let ready = tokio::time::timeout(READY_WAIT, sender.ready()).await;
            match ready {
                Ok(Ok(())) if upstream.is_good() => idle.put(key, upstream),
                Ok(Ok(()) | Err(_)) => {}
                Err(_) => upstream.abort(),
            }
        });
    }

    /// Keeps a connection that others may use beside the request it was opened for.
    pub(super) fn offer(&self, key: &Key, upstream: &Upstream) {
        if let Some(shared) = upstream.share() {
            self.put(key.clone(), shared);
        }
    }

    fn put(&self, key: Key, upstream: Upstream) {
        let mut all = self.all();
        let kept = all.entry(key).or_default();
        if kept.len() >= IDLE_MAX {
            kept.remove(0);
        }
        kept.push((upstream, Instant::now()));
    }

    /// Closes what has been idle for too long, or whose link is gone.
    pub(super) fn sweep(&self, now: Instant) {
        self.all().retain(|_, kept| {
            kept.retain(|(upstream, since)| upstream.is_good() && now.saturating_duration_since(*since) < IDLE_WAIT);
            !kept.is_empty()
        });
    }
}

/// How long a connection may take to be ready for the next request.
const READY_WAIT: Duration = Duration::from_secs(1);
