//! One request of an HTTP/2 client: asked, answered, and its client heard out, by one task that owns the stream.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;
use futures_util::future::Either;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use hyper::body::Body as _;
use tokio::{
    sync::{mpsc, oneshot},
    time,
};

use crate::listener::http::carry::{drain, forward};
use crate::listener::http::client::{
    duplex::Duplex,
    interim::Interim,
    io::{LINGER_BYTES, LINGER_WAIT},
    received::{Inflow, Received, Rest},
};
use crate::listener::http::connection::Connection;
use crate::listener::http::message::{
    boxed::{Body, BoxError},
    fault::Fault,
    grammar,
};
use crate::listener::http::origin::failed;
use crate::offramp::Sacrificed;

/// An answer is handed over in pieces of this size, the size of a frame: each that is taken shows that the client reads.
const PIECE: usize = 16 * 1024;

/// The stream is over, and nothing more can be said on it.
#[derive(Debug)]
struct Over;

impl From<h2::Error> for Over {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

/// Where what a client has still to say is had.
enum Unsaid {
    /// Once nobody asks for the body any more.
    Body(oneshot::Receiver<Rest>),
    /// Here: there was no body to ask for.
    Stream(RecvStream, oneshot::Sender<Duplex>),
}

/// Serves a request to the end of its stream.
pub(crate) async fn serve(connection: Arc<Connection>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let mut unsaid = None;
    // Given up, it takes the stream with it, which resets it.
    let patience = connection.client_timeout();
    drain::watch(async { unsaid = answer(connection, request, respond).await.ok() }, patience).await;
    match unsaid {
        Some(Unsaid::Body(rest)) => hear_out(async { rest.await.ok() }).await,
        Some(Unsaid::Stream(stream, _)) => hear_out(async { Some(Rest::new(stream, None)) }).await,
        None => {}
    }
}

/// Answers a request; returns where the rest of what its client says is had.
async fn answer(
    connection: Arc<Connection>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<Unsaid, Over> {
    let (interim, told) = Interim::http2();
    let (request, unsaid) = received(request, interim);
    let is_head = request.method() == Method::HEAD;
    let answering = Box::pin(forward::answer(connection, request, None));
    let response = answered(&mut respond, told, answering).await?;
    if response.extensions().get::<Fault>().is_some_and(|fault| fault.is_malformed()) {
        respond.send_reset(Reason::PROTOCOL_ERROR);
        return Err(Over);
    }
    let (parts, body) = response.into_parts();
    let mut head = Response::from_parts(parts, ());
    let unsaid = match unsaid {
        Unsaid::Stream(stream, switch) if head.status().is_success() => {
            let writer = respond.send_response(head, false)?;
            // Whoever is gone by now has dropped its stream, which resets it.
            let _ = switch.send(Duplex::new(writer, stream));
            return Err(Over);
        }
        unsaid @ (Unsaid::Body(_) | Unsaid::Stream(..)) => unsaid,
    };
    if let (Some(length), false) = (body.size_hint().exact(), body.is_end_stream()) {
        head.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    if is_head || body.is_end_stream() {
        respond.send_response(head, true)?;
    } else {
        let sacrificed = head.extensions_mut().remove::<Sacrificed>().unwrap_or_default();
        let mut writer = respond.send_response(head, false)?;
        send(&mut writer, body, &sacrificed).await?;
    }
    Ok(unsaid)
}

/// The request as the rest of the edge reads it, and where what its client still says is had.
fn received(request: Request<RecvStream>, interim: Interim) -> (Request<Received>, Unsaid) {
    let (mut parts, stream) = request.into_parts();
    let waits = parts.headers.get(header::EXPECT).is_some_and(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| grammar::length(length.as_bytes()));
    let word = (waits && !stream.is_end_stream()).then(|| interim.clone());
    parts.extensions.insert(interim);
    if parts.method == Method::CONNECT {
        let (switch, switched) = oneshot::channel();
        return (Request::from_parts(parts, Received::Switch(Some(switched))), Unsaid::Stream(stream, switch));
    }
    let (body, rest) = Inflow::new(stream, announced, word);
    (Request::from_parts(parts, Received::Http2(body)), Unsaid::Body(rest))
}

/// Waits for the answer, and passes interim ones on meanwhile.
async fn answered(
    respond: &mut SendResponse<Bytes>,
    mut told: mpsc::Receiver<Response<()>>,
    mut answering: Pin<Box<impl Future<Output = Response<Body>>>>,
) -> Result<Response<Body>, Over> {
    loop {
        tokio::select! {
            biased;
            _reset = poll_fn(|cx| respond.poll_reset(cx)) => return Err(Over),
            Some(interim) = told.recv() => respond.send_informational(interim)?,
            response = &mut answering => return Ok(response),
        }
    }
}

/// Sends an answer's body to its end, or until its flow is sacrificed while the client takes nothing.
async fn send(writer: &mut SendStream<Bytes>, mut body: Body, sacrificed: &Sacrificed) -> Result<(), Over> {
    loop {
        let next = poll_fn(|cx| match writer.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(Err(Over)),
            Poll::Pending => Pin::new(&mut body).poll_frame(cx).map(Ok),
        });
        let piece = match next.await? {
            None => Either::Left((Bytes::new(), true)),
            Some(Err(error)) => {
                writer.send_reset(code(&error));
                return Err(Over);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Either::Left((data, body.is_end_stream())),
                Err(other) => Either::Right(other.into_trailers().unwrap_or_else(|_| HeaderMap::new())),
            },
        };
        match piece {
            Either::Left((mut data, is_last)) => loop {
                let piece = data.split_to(data.len().min(PIECE));
                if !piece.is_empty() {
                    drain::handed();
                    // What has come as a whole has given its flow back.
                    tokio::select! {
                        biased;
                        room = room(writer) => room?,
                        () = sacrificed.said(), if !is_last => {
                            writer.send_reset(Reason::INTERNAL_ERROR);
                            return Err(Over);
                        }
                    }
                }
                writer.send_data(piece, is_last && data.is_empty())?;
                match (data.is_empty(), is_last) {
                    (true, true) => return Ok(()),
                    (true, false) => break,
                    (false, _) => {}
                }
            },
            Either::Right(trailers) => return Ok(writer.send_trailers(trailers)?),
        }
    }
}

/// Waits until the client takes more. Only one byte is asked for: whoever waits holds no more of the connection's window,
/// and the library asks for the rest once there is something to send.
async fn room(writer: &mut SendStream<Bytes>) -> Result<(), Over> {
    writer.reserve_capacity(1);
    while writer.capacity() == 0 {
        poll_fn(|cx| writer.poll_capacity(cx)).await.ok_or(Over)??;
    }
    Ok(())
}

/// The code that tells the client why its answer broke off: an HTTP/2 origin's own, unless it would be false by now.
fn code(error: &BoxError) -> Reason {
    match failed::origins_code(&**error) {
        // The one would pass for an end, the other for a request that nobody has looked at.
        None | Some(Reason::NO_ERROR | Reason::REFUSED_STREAM) => Reason::INTERNAL_ERROR,
        Some(reason) => reason,
    }
}

/// Hears a client out that has been answered, so that its stream ends by the client's own end. Behind its last announced byte
/// only that end is awaited, for as long as the connection lasts.
async fn hear_out(rest: impl Future<Output = Option<Rest>>) {
    let mut heard = None;
    let hearing = async {
        let Some(rest) = rest.await else { return };
        let (rest, mut left) = (heard.insert(rest), LINGER_BYTES);
        while let Some(Ok(frame)) = poll_fn(|cx| rest.poll_frame(cx)).await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    let _ = time::timeout(LINGER_WAIT, hearing).await;
    if let Some(mut rest) = heard.filter(Rest::is_whole) {
        while let Some(Ok(_)) = poll_fn(|cx| rest.poll_frame(cx)).await {}
    }
}
