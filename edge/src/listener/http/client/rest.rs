//! What is left of a request's body when nobody wants it any more: an origin has answered early, or the edge itself has.
//!
//! hyper closes an HTTP/1 connection whose body is dropped before its end, and with it goes the next request, of which the
//! client could not know. So the rest is heard out and forgotten, within bounds; where it cannot be, the answer says that
//! the connection ends.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::{runtime::Handle, time};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::talk::Talk;
use crate::listener::http::message::{grammar, protocols};

/// How long, and for how many bytes, a client is heard out that was answered before it had said everything.
pub(crate) const HEAR_WAIT: Duration = Duration::from_secs(30);
pub(crate) const HEAR_BYTES: u64 = 16 * 1024 * 1024;

/// The body of an HTTP/1 client's request, heard out if it is dropped before its end.
#[derive(Debug)]
pub(crate) struct ClientBody {
    incoming: Option<Incoming>,
    rest: Arc<Rest>,
}

/// What is known of an HTTP/1 request's body, and what is to become of its rest.
#[derive(Debug)]
pub(crate) struct Rest {
    tasks: TaskTracker,
    /// The client would use the connection again.
    goes_on: bool,
    /// The client knows chunks: for others an answer without a length ends with the connection.
    knows_chunks: bool,
    /// The client asks for another protocol.
    switches: bool,
    /// The client waits to be asked for the body.
    expects: bool,
    /// Some of the body came along with the head.
    is_here: bool,
    declared: Option<u64>,
    taken: AtomicU64,
    asked: AtomicBool,
    ended: AtomicBool,
    closing: CancellationToken,
}

/// A request of HTTP/1, and what is known of its body.
pub(crate) fn of_http1(
    request: Request<Incoming>,
    talk: &Talk,
    tasks: &TaskTracker,
) -> (Request<ClientBody>, Arc<Rest>) {
    let (headers, version) = (request.headers(), request.version());
    let rest = Arc::new(Rest {
        tasks: tasks.clone(),
        goes_on: goes_on(headers, version),
        knows_chunks: version != Version::HTTP_10,
        switches: !protocols::asked(headers, version).is_empty(),
        expects: headers.contains_key(header::EXPECT) && version != Version::HTTP_10,
        is_here: talk.body_is_here(),
        declared: request.body().size_hint().exact(),
        taken: AtomicU64::new(0),
        asked: AtomicBool::new(false),
        ended: AtomicBool::new(request.body().is_end_stream()),
        closing: CancellationToken::new(),
    });
    (request.map(|incoming| ClientBody { incoming: Some(incoming), rest: rest.clone() }), rest)
}

fn goes_on(headers: &HeaderMap, version: Version) -> bool {
    let says = |option| grammar::has_token(headers, &header::CONNECTION, option);
    if version == Version::HTTP_10 { says("keep-alive") && !says("close") } else { !says("close") }
}

impl Rest {
    /// Says in the answer's head if nothing can follow on this connection, and then hears nothing out.
    pub(crate) fn settle<B: HttpBody>(&self, response: &mut Response<B>) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        // What follows the wish for another protocol was meant for that.
        let has_end = self.knows_chunks || response.body().size_hint().exact().is_some();
        if self.switches || !has_end || self.is_too_much() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if grammar::has_token(response.headers(), &header::CONNECTION, "close") {
            self.closing.cancel();
            if !self.knows_chunks {
                // To an answer of version 1.1 hyper would add that the connection stays.
                *response.version_mut() = Version::HTTP_10;
            }
        }
    }

    fn is_unasked(&self) -> bool {
        // Whether such a client still sends its body nobody knows: what comes next could be either.
        self.expects && !self.asked.load(Ordering::Relaxed)
    }

    fn is_too_much(&self) -> bool {
        let left = self.declared.map_or(0, |declared| declared.saturating_sub(self.taken.load(Ordering::Relaxed)));
        !self.ended.load(Ordering::Relaxed) && (self.is_unasked() || left > HEAR_BYTES)
    }

    fn is_heard_out(&self) -> bool {
        let ended = self.ended.load(Ordering::Relaxed);
        self.goes_on && !ended && !self.is_unasked() && !self.closing.is_cancelled()
    }
}

impl ClientBody {
    /// True if some of it came unasked, along with the head. What comes later is in nobody's hands before it is asked for.
    pub(crate) fn is_here(&self) -> bool {
        self.rest.is_here
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let (Some(incoming), rest) = (self.incoming.take(), &self.rest) else { return };
        if let (true, Ok(runtime)) = (rest.is_heard_out(), Handle::try_current()) {
            rest.tasks.spawn_on(hear_out(incoming, rest.closing.clone()), &runtime);
        }
    }
}

async fn hear_out(mut body: Incoming, closing: CancellationToken) {
    let hearing = async {
        let mut left = HEAR_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Buf::remaining) as u64;
            // More than was to be expected: the connection ends with what is dropped here.
            let Some(rest) = left.checked_sub(bytes) else { return };
            left = rest;
        }
    };
    tokio::select! {
        _ = time::timeout(HEAR_WAIT, hearing) => {}
        () = closing.cancelled() => {}
    }
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        this.rest.asked.store(true, Ordering::Relaxed);
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining) as u64;
                this.rest.taken.fetch_add(bytes, Ordering::Relaxed);
            }
            Some(Err(_)) | None => this.rest.ended.store(true, Ordering::Relaxed),
        }
        if incoming.is_end_stream() {
            this.rest.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}
