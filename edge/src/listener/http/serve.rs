//! One client connection: which protocol it speaks, and hyper's loop over it until it ends.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use net::Socket;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time,
};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::{
    Connection,
    fault::Fault,
    forward,
    guard::Guard,
    head::{FIELDS_MAX, HEAD_MAX},
    meter::Abuse,
    rest,
    streams::Streams,
    watched::{End, Watched},
};

/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may take to show which protocol it speaks.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// How long, and for how many bytes, a client is heard out that was answered before it had said everything: a connection
/// closed over unread bytes would take the answer with it.
const LINGER_WAIT: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
/// Most requests of one HTTP/2 connection at once.
const STREAMS_MAX: u32 = 100;
/// Flow-control windows of an HTTP/2 stream and of its connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams a client has reset before they were looked at, and streams that were reset because of the client's own mistakes:
/// the library's own bounds, behind those of `meter`.
const RESETS_MAX: usize = 60;
const MISTAKES_MAX: usize = 1024;
/// How often a silent HTTP/2 client is asked for a sign of life, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_WAIT: Duration = Duration::from_secs(10);
/// Bytes of an answer that wait for an HTTP/2 client.
const SEND_BUFFER: usize = 256 * 1024;

/// A client's connection, as it came.
#[derive(Debug)]
pub(super) enum ClientIo {
    /// Plain TCP.
    Plain(Socket),
    /// TLS, ended here.
    Tls(Box<TlsStream<Socket>>),
}

impl ClientIo {
    /// Closes it hard: the client sees a reset, not an end.
    pub(super) fn abort(self) {
        match self {
            Self::Plain(socket) => socket.abort(),
            Self::Tls(stream) => stream.into_inner().0.abort(),
        }
    }
}

/// Serves a connection until it ends; `is_h2` is what the handshake has settled.
pub(super) async fn serve(connection: Arc<Connection>, mut io: ClientIo, is_h2: Option<bool>) {
    let cut = connection.shared.cut.clone();
    let known = match is_h2 {
        Some(is_h2) => Some((BytesMut::new(), is_h2)),
        None => cut.run_until_cancelled(first_bytes(&mut io)).await.flatten(),
    };
    let Some((first, is_h2)) = known else { return };
    if is_h2 {
        // What a cut takes with it has no end of stream: nobody takes it for whole.
        let _ = cut.run_until_cancelled(serve_http2(connection, io, first)).await;
    } else {
        serve_http1(connection, io, first).await;
    }
}

/// Reads until it is certain whether the client begins with the preface of HTTP/2.
async fn first_bytes(io: &mut ClientIo) -> Option<(BytesMut, bool)> {
    let mut first = BytesMut::new();
    let reading = async {
        loop {
            let shown = first.len().min(PREFACE.len());
            if first[..shown] != PREFACE[..shown] {
                return Some(false);
            }
            if shown == PREFACE.len() {
                return Some(true);
            }
            match io.read_buf(&mut first).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    };
    let is_h2 = time::timeout(FIRST_WAIT, reading).await.ok()??;
    Some((first, is_h2))
}

async fn serve_http1(connection: Arc<Connection>, io: ClientIo, first: BytesMut) {
    let guard = Guard::http1(io, first, connection.talk.clone()).idle_after(connection.idle_wait());
    let position = AtomicU64::new(0);
    let this = connection.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let refused = this.talk.refused(position.fetch_add(1, Ordering::Relaxed));
        let connection = this.clone();
        let (request, rest) = rest::of_http1(request, &connection.tasks);
        async move {
            let mut response = Box::pin(forward::answer(connection, request, refused)).await;
            rest.settle(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_headers(FIELDS_MAX + 1).max_buf_size(HEAD_MAX * 2).header_read_timeout(None).auto_date_header(false);
    let mut serving = builder.serve_connection(TokioIo::new(guard), service).with_upgrades();
    let mut told = false;
    let is_well = loop {
        tokio::select! {
            ended = &mut serving => break ended.inspect_err(|error| debug!(%error, "an HTTP/1 connection broke")).is_ok(),
            () = connection.shared.cut.cancelled() => break false,
            () = connection.state.closed(), if !told => {
                told = true;
                Pin::new(&mut serving).graceful_shutdown();
            }
        }
    };
    let Some(parts) = serving.into_parts() else { return };
    let mut guard = parts.io.into_inner();
    if connection.owed.any() || (!is_well && guard.unflushed) {
        // A close would look like the end of the answer.
        return guard.into_io().abort();
    }
    guard.release();
    // Everybody is told to leave: then nobody is heard out.
    let _ = connection.shared.cut.run_until_cancelled(linger(guard)).await;
}

/// Reads and forgets what the client still says.
async fn linger(mut client: impl AsyncRead + Unpin) {
    let mut left = LINGER_BYTES;
    let mut bytes = vec![0; 16 * 1024];
    let reading = async {
        while let Ok(read @ 1..) = client.read(&mut bytes).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    };
    let _ = time::timeout(LINGER_WAIT, reading).await;
}

async fn serve_http2(connection: Arc<Connection>, io: ClientIo, first: BytesMut) {
    let this = connection.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let connection = this.clone();
        async move {
            let request = rest::of_http2(request);
            let response = Box::pin(forward::answer(connection, request, None)).await;
            let malformed = response.extensions().get::<Fault>().is_some_and(|fault| fault.is_malformed());
            if malformed { Err(h2::Error::from(h2::Reason::PROTOCOL_ERROR)) } else { Ok(response) }
        }
    });
    let mut builder = http2::Builder::new(Streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(HEAD_MAX).expect("a small number"))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(MISTAKES_MAX)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WAIT)
        .auto_date_header(false)
        .enable_connect_protocol();
    let idle = connection.idle_wait();
    let (watched, mut handed_back) = Watched::new(io, first, connection.talk.clone(), PREFACE.len());
    let watched = watched.ended_after(idle * 2);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(watched), service));
    let mut told = false;
    loop {
        tokio::select! {
            ended = &mut serving => {
                if let Err(error) = ended {
                    debug!(%error, "an HTTP/2 connection broke");
                    return broken(&connection, &error, handed_back.try_recv().ok()).await;
                }
                return;
            }
            () = connection.state.closed(), if !told => {
                told = true;
                serving.as_mut().graceful_shutdown();
            }
            // Answering pings is no activity.
            () = connection.talk.idle(idle), if !told => {
                told = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Counts what was too much, and hears out a client that was told to go away.
async fn broken(connection: &Connection, error: &hyper::Error, handed_back: Option<(ClientIo, End)>) {
    let (listener, metrics) = (&connection.state.listener().name, &connection.shared.metrics);
    let Some((mut client, end)) = handed_back else {
        let reason = std::error::Error::source(error).and_then(|e| e.downcast_ref::<h2::Error>()?.reason());
        if reason == Some(h2::Reason::ENHANCE_YOUR_CALM) {
            metrics.abuse(listener, Abuse::Other.as_str());
        }
        return;
    };
    if let End::Abuse(abuse) = end {
        debug!(listener = %listener, source = %connection.source, why = abuse.as_str(), "an HTTP/2 client asked too much");
        metrics.abuse(listener, abuse.as_str());
    }
    let _ = time::timeout(LINGER_WAIT, client.shutdown()).await;
    linger(client).await;
}

impl AsyncRead for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
