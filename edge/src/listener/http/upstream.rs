//! Connections to origins, over a stream of a link or direct: opened, spoken to, kept while idle.
//!
//! A connection is kept only after a request and its answer have both ended exactly; whatever is in doubt is closed.

use std::{
    collections::HashMap,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use net::Socket;
use protocol::{error::StreamCode, id::Target, splice::Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::AbortHandle,
};

use crate::{
    health::OriginKey,
    model::{Held, Upstream as Speaks, Via},
    offramp::Carrier,
    tunnel::Link,
};

/// Most idle connections of one path to one origin, on one worker. Beyond it the oldest is closed.
const IDLE_MAX: usize = 64;
/// How long a connection is kept idle. Shorter than what common servers keep theirs for.
const IDLE_WAIT: Duration = Duration::from_secs(50);
/// How often a silent HTTP/2 origin is asked for a sign of life while requests wait.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Most bytes of an answer's head.
const HEAD_MAX: usize = 64 * 1024;
/// Most fields of an answer.
const FIELDS_MAX: usize = 200;

/// A body on its way to an origin or a client.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;
/// Whatever ended a body early.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection to an origin, not in use by anybody else.
pub(super) struct Upstream {
    sender: Sender,
    link: Option<Arc<Link>>,
    /// It has carried a request before, so the origin may have closed it meanwhile.
    pub(super) reused: bool,
}

/// How requests are handed to a connection's own task.
enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<Body>, AbortHandle),
    /// Many at once: each request has a handle of its own.
    Http2(http2::SendRequest<Body>),
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream(reused: {})", self.reused)
    }
}

impl Upstream {
    /// Begins to speak HTTP over an opened way.
    pub(super) async fn over(carrier: Carrier, speaks: Speaks) -> Result<Self, hyper::Error> {
        let (wire, link) = match carrier {
            Carrier::Tunnel(stream, link, held) => {
                (Wire::Tunnel(TunnelWire { stream, ended: false, sink: Sink::default(), _held: held }), Some(link))
            }
            Carrier::Direct(socket) => (Wire::Direct(socket, Sink::default()), None),
        };
        if speaks == Speaks::H2c {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_header_list_size(64 * 1024).keep_alive_interval(PING_EVERY);
            let (sender, connection) = builder.handshake(TokioIo::new(wire)).await?;
            tokio::spawn(async move { drop(connection.await) });
            return Ok(Self { sender: Sender::Http2(sender), link, reused: false });
        }
        let mut builder = http1::Builder::new();
        builder.allow_obsolete_multiline_headers_in_responses(true);
        builder.max_headers(FIELDS_MAX).max_header_size(HEAD_MAX).max_buf_size(HEAD_MAX.max(128 * 1024));
        let (sender, connection) = builder.handshake(TokioIo::new(wire)).await?;
        let driving = tokio::spawn(async move { drop(connection.with_upgrades().await) }).abort_handle();
        Ok(Self { sender: Sender::Http1(sender, driving), link, reused: false })
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) fn send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>> + use<> {
        match &mut self.sender {
            Sender::Http1(sender, _) => Either::Left(sender.try_send_request(request)),
            Sender::Http2(sender) => Either::Right(sender.try_send_request(request)),
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

    /// True if every request has a stream of its own, which ends by itself.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Another handle of a connection that many requests share.
    fn share(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else { return None };
        Some(Self { sender: Sender::Http2(sender.clone()), link: self.link.clone(), reused: true })
    }

    /// Closes it at once, whatever is on its way, unless others share it: then only its own stream is over.
    pub(super) fn abort(self) {
        if let Sender::Http1(_, driving) = self.sender {
            driving.abort();
        }
    }

    fn is_good(&self) -> bool {
        let link_good = self.link.as_ref().is_none_or(|link| link.load.is_placeable() && !link.is_draining());
        let ready = match &self.sender {
            Sender::Http1(sender, _) => sender.is_ready(),
            Sender::Http2(sender) => sender.is_ready() && !sender.is_closed(),
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
    /// What is spoken there.
    pub(super) speaks: Speaks,
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

/// Either carrier, as hyper wants it.
pub(super) enum Wire {
    Tunnel(TunnelWire),
    Direct(Socket, Sink),
}

/// An origin that takes no more may still have an answer to read, so what it does not take is thrown away.
#[derive(Debug, Default)]
pub(super) struct Sink {
    open: bool,
}

impl Sink {
    fn of(&mut self, written: Poll<io::Result<usize>>, whole: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(_)) => {
                self.open = true;
                Poll::Ready(Ok(whole))
            }
            done @ (Poll::Ready(Ok(_)) | Poll::Pending) => done,
        }
    }
}

/// A stream of a link. Dropped before its end it is cut, so that nobody takes a part for the whole.
pub(super) struct TunnelWire {
    stream: Stream,
    ended: bool,
    sink: Sink,
    _held: Held,
}

impl Drop for TunnelWire {
    fn drop(&mut self) {
        if !self.ended {
            self.stream.cut(StreamCode::Reset);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(wire) => AsyncRead::poll_read(Pin::new(&mut wire.stream.recv), cx, buf),
            Self::Direct(stream, _) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tunnel(wire) if wire.sink.open => Poll::Ready(Ok(buf.len())),
            Self::Direct(_, sink) if sink.open => Poll::Ready(Ok(buf.len())),
            Self::Tunnel(wire) => {
                let written = AsyncWrite::poll_write(Pin::new(&mut wire.stream.send), cx, buf);
                wire.sink.of(written, buf.len())
            }
            Self::Direct(stream, sink) => {
                let written = Pin::new(stream).poll_write(cx, buf);
                sink.of(written, buf.len())
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(wire) => AsyncWrite::poll_flush(Pin::new(&mut wire.stream.send), cx),
            Self::Direct(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(wire) => {
                wire.ended = true;
                AsyncWrite::poll_shutdown(Pin::new(&mut wire.stream.send), cx)
            }
            Self::Direct(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
