//! A client's HTTP/2 connection: its loop over the `h2` library, from which each stream gets a task of its own (`stream`).
//!
//! hyper stands in between for HTTP/1 only: here it would neither let interim answers through nor leave a stream open until
//! its client has ended it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use h2::{Ping, PingPong, Reason, server};
use tokio::{io::AsyncWriteExt, time};
use tracing::debug;

use super::stream;
use crate::listener::http::client::{
    io::{ClientIo, FAREWELL, LINGER_WAIT, PREFACE, linger},
    meter::Abuse,
    watched::{End, Watched},
};
use crate::listener::http::connection::Connection;
use crate::listener::http::message::head::HEAD_MAX;

/// Most requests of one connection at once.
const STREAMS_MAX: u32 = 100;
/// Flow-control windows of a stream and of its connection: fifteen uploads that their origins do not take leave room for others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 16 * STREAM_WINDOW;
/// Streams a client has reset before they were looked at, and streams that were reset because of the client's own mistakes:
/// the library's own bounds, behind those of `meter`.
const RESETS_MAX: usize = 60;
const MISTAKES_MAX: usize = 1024;
/// How often a client is asked for a sign of life, and how long there may be none.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_WAIT: Duration = Duration::from_secs(10);
/// Bytes of an answer that wait for a client.
const SEND_BUFFER: usize = 256 * 1024;

/// Serves a connection until it ends.
pub(crate) async fn serve(connection: Arc<Connection>, io: ClientIo, first: BytesMut) {
    let idle = connection.idle_wait();
    let (watched, mut handed_back) = Watched::new(io, first, connection.talk.clone(), PREFACE.len());
    let watched = watched.ended_after(idle * 2).patient(connection.client_timeout());
    if let Err(error) = speak(&connection, watched, idle).await {
        debug!(%error, "an HTTP/2 connection broke");
        broken(&connection, &error, handed_back.try_recv().ok()).await;
    }
}

async fn speak(connection: &Arc<Connection>, io: Watched<ClientIo>, idle: Duration) -> Result<(), h2::Error> {
    let moved = io.moved();
    let mut speaking = settings().handshake::<_, Bytes>(io).await?;
    let mut silence = std::pin::pin!(silence(speaking.ping_pong(), moved));
    let (mut told, mut silent) = (false, false);
    loop {
        tokio::select! {
            accepted = speaking.accept() => match accepted.transpose()? {
                Some((request, respond)) => {
                    tokio::spawn(stream::serve(connection.clone(), request, respond));
                }
                None => return Ok(()),
            },
            () = connection.dismissed(), if !told => {
                told = true;
                speaking.graceful_shutdown();
            }
            // It was told to go, and has nothing left to wait for.
            () = gone(connection), if told => return Ok(()),
            // Answering pings is no activity.
            () = connection.talk.idle(idle), if !told => {
                told = true;
                speaking.graceful_shutdown();
            }
            () = &mut silence, if !silent => {
                silent = true;
                speaking.abrupt_shutdown(Reason::NO_ERROR);
            }
        }
    }
}

/// Completes when a client that was told to go has had time to hear it, and nothing is under way.
async fn gone(connection: &Connection) {
    time::sleep(FAREWELL).await;
    connection.talk.idle(FAREWELL).await;
}

fn settings() -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(HEAD_MAX).expect("a small number"))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(Some(MISTAKES_MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol();
    builder
}

/// Completes once a question for a sign of life was left unanswered while nothing else moved either: behind a slow line a
/// question waits for what was sent before it.
async fn silence(pings: Option<PingPong>, moved: Arc<AtomicU64>) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        time::sleep(PING_EVERY).await;
        let mut answered = std::pin::pin!(pings.ping(Ping::opaque()));
        loop {
            let before = moved.load(Ordering::Relaxed);
            match time::timeout(PING_WAIT, &mut answered).await {
                Ok(Ok(_)) => break,
                // The connection is over, and ends by itself.
                Ok(Err(_)) => return std::future::pending().await,
                Err(_) if moved.load(Ordering::Relaxed) == before => return,
                Err(_) => {}
            }
        }
    }
}

/// Counts what was too much, and hears out a client that was told to go away.
async fn broken(connection: &Connection, error: &h2::Error, handed_back: Option<(ClientIo, End)>) {
    let (listener, metrics) = (&connection.state.listener().name, &connection.shared.metrics);
    let Some((mut client, end)) = handed_back else {
        if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
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
