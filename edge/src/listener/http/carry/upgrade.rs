//! After a WebSocket was opened: both sides, carried byte for byte until both have ended. Each direction ends alone; what
//! breaks one side breaks the other.

use std::{
    future::pending,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::{FutureExt, TryFutureExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use protocol::error::Reason;
use protocol::splice::Count;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time,
};

use super::{
    direction::{copy, copy_until},
    record::Record,
};
use crate::listener::http::client::{
    duplex::Duplex,
    guard::Guard,
    io::ClientIo,
    switch::{Switch, Switched},
    talk::UnderWay,
};
use crate::listener::http::connection::Connection;
use crate::listener::http::origin::upstream::Upstream;
use crate::{listener::flows::Seat, offramp::Wire};

/// A WebSocket that carries nothing for this long is closed, unless the listener says otherwise.
const IDLE_WAIT: Duration = Duration::from_secs(3600);

/// Both sides of a WebSocket that was agreed upon.
#[derive(Debug)]
pub(crate) struct Agreed {
    /// The client's side, once it has been told.
    pub(crate) client: Switch,
    /// The origin's side.
    pub(crate) origin: OnUpgrade,
    /// The connection it is on, which is nobody else's.
    pub(crate) upstream: Upstream,
    /// Whether frames of RFC 6455 are spoken.
    pub(crate) is_websocket: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Both sides have said their end.
    Finished,
    Client,
    Origin,
    Link,
    Idle,
    Stalled,
    Cut,
}

impl Ended {
    /// Why it did not finish, and what was met.
    fn cause(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Finished => None,
            Self::Client => Some(("client_reset", "the client's side broke")),
            Self::Origin => Some(("connection_reset", "the origin's side broke")),
            Self::Link => Some(("link_lost", "the link died")),
            Self::Idle => Some(("idle", "nothing was carried for the listener's idle_timeout")),
            Self::Stalled => Some(("stalled", "the client took too little while its link ran short")),
            Self::Cut => Some(("cut", "the edge ended, and its grace period was over")),
        }
    }
}

/// Carries until both sides have ended, one breaks, nothing comes for too long, or the edge is cut.
pub(crate) async fn carry(
    connection: Arc<Connection>,
    agreed: Agreed,
    (mut record, seat, under_way): (Record, Seat, UnderWay),
) {
    let Agreed { client, origin, upstream, is_websocket } = agreed;
    let both = async { tokio::try_join!(client.told().map(|told| told.ok_or(())), origin.map_err(drop)) };
    let (client, origin) = tokio::select! {
        both = both => match both {
            Ok(both) => both,
            // The client is gone, or its connection has failed before it was told.
            Err(()) => return upstream.cut(),
        },
        () = connection.shared.cut.cancelled() => return upstream.cut(),
    };
    let ((mut client, from_client), (mut origin, from_origin)) = (Side::of_client(client), Side::of_origin(origin));
    client.close_hard();
    origin.close_hard();
    let count = record.story.count.clone();
    let idle = connection.state.listener().idle_timeout.unwrap_or(IDLE_WAIT);
    let going = async {
        if !is_websocket {
            pending().await
        }
        connection.state.ending().await;
    };
    let ended = tokio::select! {
        ended = exchange((&mut client, from_client), (&mut origin, from_origin), &count, going) => ended,
        () = silence(&count, idle) => Ended::Idle,
        () = upstream.sacrificed().said() => Ended::Stalled,
        () = connection.shared.cut.cancelled() => Ended::Cut,
    };
    let is_links = ended == Ended::Origin && upstream.why_broken() == Reason::LinkLost;
    let ended = if is_links { Ended::Link } else { ended };
    if ended != Ended::Finished {
        client.abort();
        upstream.cut();
        origin.abort();
    }
    match ended.cause() {
        Some((code, words)) => record.story.cause.ends(code, words),
        None => record.finished = true,
    }
    record.stalled = ended == Ended::Stalled;
    drop((seat, under_way));
}

/// Carries both directions to their ends. Once the edge is `going`, the client is told so between two frames; it says goodbye to the
/// origin itself.
async fn exchange(
    (client, from_client): (&mut Side, BytesMut),
    (origin, from_origin): (&mut Side, BytesMut),
    count: &Count,
    going: impl Future<Output = ()>,
) -> Ended {
    let (mut client_reads, mut client_writes) = tokio::io::split(client);
    let (mut origin_reads, mut origin_writes) = tokio::io::split(origin);
    let up = async {
        let copying = copy(&mut client_reads, &mut origin_writes, (from_client, |bytes| count.add_sent(bytes)));
        copying.await.map_err(|broken| broken.of(Ended::Client, Ended::Origin))?;
        origin_writes.shutdown().await.map_err(|_| Ended::Origin)
    };
    let down = async {
        let count = |bytes| count.add_received(bytes);
        let copying = copy_until(&mut origin_reads, &mut client_writes, (from_origin, count), going);
        copying.await.map_err(|broken| broken.of(Ended::Origin, Ended::Client))?;
        client_writes.shutdown().await.map_err(|_| Ended::Client)
    };
    match tokio::try_join!(up, down) {
        Ok(((), ())) => Ended::Finished,
        Err(ended) => ended,
    }
}

/// Completes once nothing was carried for so long.
async fn silence(count: &Count, limit: Duration) {
    let carried = || (count.sent(), count.received());
    loop {
        let before = carried();
        time::sleep(limit).await;
        if carried() == before {
            return;
        }
    }
}

/// One side.
enum Side {
    /// A client's whole connection.
    Client(Guard<ClientIo>),
    /// One stream of a client's connection.
    Stream(Duplex),
    /// A whole connection to an origin.
    Origin(Wire),
    /// A stream to an origin of HTTP/2; `asked`: its end was seen, and looked at once more.
    Shared { io: TokioIo<Upgraded>, asked: bool },
}

impl Side {
    /// The client's, no longer held back, and what was read of it already.
    fn of_client(switched: Switched) -> (Self, BytesMut) {
        match switched {
            Switched::Connection(upgraded) => {
                let parts = upgraded.downcast::<TokioIo<Guard<ClientIo>>>();
                let parts = parts.expect("hyper serves HTTP/1 clients over a guard");
                let mut guard = parts.io.into_inner();
                guard.release();
                (Self::Client(guard), parts.read_buf.into())
            }
            Switched::Stream(stream) => (Self::Stream(stream), BytesMut::new()),
        }
    }

    fn of_origin(upgraded: Upgraded) -> (Self, BytesMut) {
        match upgraded.downcast::<TokioIo<Wire>>() {
            Ok(parts) => (Self::Origin(parts.io.into_inner()), parts.read_buf.into()),
            Err(stream) => (Self::Shared { io: TokioIo::new(stream), asked: false }, BytesMut::new()),
        }
    }

    /// From here on every close of it is a hard one, until its end is said.
    fn close_hard(&mut self) {
        match self {
            Self::Client(guard) => guard.close_hard(),
            Self::Origin(wire) => wire.close_hard(),
            // Whatever closes the connection below, a stream has an end of its own.
            Self::Stream(_) | Self::Shared { .. } => {}
        }
    }

    /// Closes it hard. An origin's stream is cut by those who hold what it runs on.
    fn abort(self) {
        match self {
            Self::Client(guard) => guard.into_io().abort(),
            Self::Origin(wire) => wire.abort(),
            Self::Stream(stream) => stream.abort(),
            Self::Shared { .. } => {}
        }
    }
}

impl AsyncRead for Side {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (io, asked) = match self.get_mut() {
            Self::Client(guard) => return Pin::new(guard).poll_read(cx, buf),
            Self::Origin(wire) => return Pin::new(wire).poll_read(cx, buf),
            Self::Stream(stream) => return Pin::new(stream).poll_read(cx, buf),
            Self::Shared { io, asked } => (io, asked),
        };
        let before = buf.filled().len();
        ready!(Pin::new(&mut *io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        // hyper reads a cancelled stream as one that has ended. The task that writes it knows better, after a turn.
        if !*asked {
            *asked = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match Pin::new(io).poll_flush(cx) {
            Poll::Ready(Err(reset)) => Poll::Ready(Err(reset)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Side {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Client(guard) => Pin::new(guard).poll_write(cx, bytes),
            Self::Origin(wire) => Pin::new(wire).poll_write(cx, bytes),
            Self::Stream(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Shared { io, .. } => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Client(guard) => Pin::new(guard).poll_flush(cx),
            Self::Origin(wire) => Pin::new(wire).poll_flush(cx),
            Self::Stream(stream) => Pin::new(stream).poll_flush(cx),
            Self::Shared { io, .. } => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Client(guard) => Pin::new(guard).poll_shutdown(cx),
            Self::Origin(wire) => Pin::new(wire).poll_shutdown(cx),
            Self::Stream(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Shared { io, .. } => Pin::new(io).poll_shutdown(cx),
        }
    }
}
