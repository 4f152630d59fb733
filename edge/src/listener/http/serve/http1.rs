//! One client connection: which protocol it speaks, and hyper's loop over it until it ends.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::BytesMut;
use http::{HeaderValue, Request, StatusCode, Version, header};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncReadExt, time};
use tracing::debug;

use super::http2;
use crate::listener::http::carry::forward;
use crate::listener::http::client::{
    guard::{Guard, HEAD_WAIT},
    interim::Interim,
    io::{ClientIo, FAREWELL, LINGER_WAIT, PREFACE, linger},
    received::Received,
    rest,
};
use crate::listener::http::connection::Connection;
use crate::listener::http::message::head::{FIELDS_MAX, HEAD_MAX};
use crate::offramp::Sacrificed;

/// Serves a connection until it ends; `is_h2` is what the handshake has settled.
pub(crate) async fn serve(connection: Arc<Connection>, mut io: ClientIo, is_h2: Option<bool>) {
    let cut = connection.shared.cut.clone();
    let known = match is_h2 {
        Some(is_h2) => Some((BytesMut::new(), is_h2)),
        // It has asked for nothing yet: nobody waits for it for long.
        None => tokio::select! {
            first = first_bytes(&connection, &mut io) => first,
            () = cut.cancelled() => None,
            () = connection.forsaken() => None,
        },
    };
    let Some((first, is_h2)) = known else { return };
    if is_h2 {
        // What a cut takes with it has no end of stream: nobody takes it for whole.
        let _ = cut.run_until_cancelled(http2::serve(connection, io, first)).await;
    } else {
        serve_http1(connection, io, first).await;
    }
}

/// Reads until it is certain whether the client begins with the preface of HTTP/2. A connection may be as silent as between
/// two requests; who has begun is to go on.
async fn first_bytes(connection: &Connection, io: &mut ClientIo) -> Option<(BytesMut, bool)> {
    let mut first = BytesMut::new();
    if time::timeout(connection.idle_wait(), io.read_buf(&mut first)).await.ok()?.ok()? == 0 {
        return None;
    }
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
    let is_h2 = time::timeout(HEAD_WAIT, reading).await.ok()??;
    Some((first, is_h2))
}

async fn serve_http1(connection: Arc<Connection>, io: ClientIo, first: BytesMut) {
    let guard = Guard::http1(io, first, connection.talk.clone());
    let guard = guard.idle_after(connection.idle_wait()).patient(connection.client_timeout());
    let position = AtomicU64::new(0);
    let this = connection.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let refused = this.talk.refused(position.fetch_add(1, Ordering::Relaxed));
        let connection = this.clone();
        let (request, rest) = rest::of_http1(request, &connection.talk, &connection.tasks);
        let mut request = request.map(Received::Http1);
        let version = request.version();
        let interim = Interim::http1(version, &connection.talk);
        request.extensions_mut().insert(interim);
        let (talk, state) = (connection.talk.clone(), connection.state.clone());
        async move {
            let mut response = Box::pin(forward::answer(connection, request, refused)).await;
            rest.settle(&mut response);
            talk.reads_from(response.extensions_mut().remove::<Sacrificed>());
            if state.is_closed() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            if version == Version::HTTP_10 && response.size_hint().exact().is_none() {
                talk.end_by_close();
            }
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
            () = connection.forsaken(), if !told => {
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
    if connection.talk.is_fresh() {
        // It was never asked for anything, so there is nothing to hear.
        return;
    }
    guard.release();
    // Everybody is told to leave: then nobody is heard out.
    let hearing = connection.shared.cut.run_until_cancelled(linger(guard));
    // Nor is anybody waited for who was told to go.
    let wait = if told || connection.state.is_closed() { FAREWELL } else { LINGER_WAIT };
    let _ = time::timeout(wait, hearing).await;
}
