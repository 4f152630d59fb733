//! One request from its head to its answer: check, place, send, send again where that is safe, pass the answer on.

mod attempt;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, uri::Scheme};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use protocol::error::Reason;
use tokio::{sync::watch, time};

use super::{
    body::{Gate, Grpc, Upload, Uploading},
    copied::{Copied, Memory},
    deadline::{self, Timed},
    outgoing,
    pace::Patience,
    record::Record,
    reply::{self, Answered, Opened, Told},
};
use crate::listener::http::client::{answer, interim::Interim, received::Received, switch::Switch, talk::UnderWay};
use crate::listener::http::connection::Connection;
use crate::listener::http::message::{
    boxed::Body,
    fault::Fault,
    fields::{self, Peer},
    grpc,
    request::{self, Asked, Handshake},
    trace::Trace,
};
use crate::listener::http::origin::{failed::Failed, upstream::Upstream};
use crate::{
    balancer::retry::Left,
    listener::flow::{
        attempts,
        placing::{Place, Search},
        story::Arrival,
    },
    model::{FlowKey, Upstream as Speaks},
    offramp::{Why, whole},
};

/// A body up to this size, sent with a method that may be repeated, is taken in whole before it is sent.
const BUFFER_MAX: u64 = 64 * 1024;
/// Most interim answers to one request that are passed on.
const INTERIM_MAX: u32 = 16;

/// A request on its way.
struct Forward<'a> {
    connection: &'a Arc<Connection>,
    asked: &'a Asked,
    /// The head for the origin.
    head: Request<()>,
    repeatable: bool,
    upload: Arc<Upload>,
    /// What was handed over of a body that is streamed.
    memory: Memory,
    /// How interim answers reach the client.
    interim: Interim,
    /// When a gRPC call is over.
    until: Option<time::Instant>,
    /// When it was first sent.
    begun: Option<time::Instant>,
    /// The retry budget has paid for an old connection already.
    paid: bool,
    /// What is to be sent as body.
    sending: Sending,
    record: &'a mut Record,
}

/// What is to be sent as body.
enum Sending {
    Whole(Bytes),
    Stream(Received),
    /// Handed over once, and come back untouched.
    Untouched(Body),
    /// Handed over, and not to be had again.
    Gone,
}

/// What clients are told the id of their request by, if they are.
const ID: HeaderName = HeaderName::from_static("x-underpass-id");

/// Answers a request; never fails, since every fault is an answer too.
pub(crate) async fn answer(
    connection: Arc<Connection>,
    request: Request<Received>,
    refused: Option<Fault>,
) -> Response<Body> {
    let trace = Trace::of(request.headers(), &mut rand::rng());
    let reveals_ids = connection.shared.reveals_ids;
    let mut response = answered(connection, request, refused, trace).await;
    if reveals_ids {
        let id = HeaderValue::try_from(trace.id.to_string());
        response.headers_mut().insert(ID, id.expect("digits are visible characters"));
    }
    response
}

async fn answered(
    connection: Arc<Connection>,
    request: Request<Received>,
    refused: Option<Fault>,
    trace: Trace,
) -> Response<Body> {
    let under_way = connection.talk.under_way();
    let listener = connection.state.listener();
    let hides_reasons = listener.http.hides_reasons;
    // Of a head that was refused nothing is known.
    let method = if refused.is_some() { unknown() } else { request.method().clone() };
    let shown = (method, request.version());
    let is_h1 = request.version() != Version::HTTP_2;
    let grpc = grpc::is_call(request.headers());
    let (source, started) = (connection.source, std::time::Instant::now());
    let arrival = Arrival { id: trace.id, listener, source, started };
    let mut record = Record::new(&connection.shared.metrics, &connection.shared.recent, arrival, shown);
    let outcome = match refused {
        Some(fault) => Err(fault),
        None => {
            request::check_request(&request, connection.reading()).and_then(|asked| connection.admit(asked, &request))
        }
    };
    let outcome = match outcome {
        Ok(asked) if asked.last_hop => {
            record.answered(StatusCode::OK);
            record.finished = true;
            return answer::last_hop();
        }
        Ok(asked) => Box::pin(forward(&connection, request, (&asked, trace), record, under_way)).await,
        Err(fault) => Err((fault, record)),
    };
    let response = match outcome {
        Ok(response) => response,
        Err((fault, mut record)) => {
            record.fault(fault);
            let response =
                if grpc { answer::grpc_fault(fault) } else { answer::fault(fault, is_h1 && fault.ends_connection()) };
            record.answered(response.status());
            record.finished = true;
            response
        }
    };
    if hides_reasons { answer::without_reason(response) } else { response }
}

/// What stands for a method in the access log.
fn unknown() -> Method {
    Method::from_bytes(b"-").expect("a token")
}

async fn forward(
    connection: &Arc<Connection>,
    mut request: Request<Received>,
    (asked, trace): (&Asked, Trace),
    mut record: Record,
    under_way: UnderWay,
) -> Result<Response<Body>, (Fault, Record)> {
    let listener = connection.state.listener();
    record.request.host = asked.host.as_ref().map(crate::listener::http::message::authority::Authority::spell);
    record.request.path.clone_from(&asked.path.sent);
    let client = asked.switch.map(|handshake| (handshake, Switch::of(&mut request)));
    let interim = Interim::of(&request);
    let (parts, body) = request.into_parts();
    let address = connection.source.ip().to_canonical();
    let peer =
        Peer { certificate: connection.certificate.as_ref(), ..Peer::new(address, connection.tls, &listener.http) };
    let source = SocketAddr::new(peer.client(&parts.headers), connection.source.port());
    if !connection.state.may_ask(source.ip(), std::time::Instant::now()) {
        return Err((Fault::RATE, record));
    }
    let mut head = match outgoing::head(&parts, asked, &peer, &mut rand::rng()) {
        Ok(head) => head,
        Err(fault) => return Err((fault, record)),
    };
    trace.write(head.headers_mut(), &mut rand::rng());
    let edits = outgoing::by_rule(&mut head, &listener, asked);
    if asked.switch != Some(Handshake::Connect) {
        outgoing::frame(&mut head, &parts, body.is_end_stream());
    }
    let mut forward = Forward {
        connection,
        asked,
        head,
        repeatable: request::is_idempotent(&parts.method) && asked.switch.is_none() && !asked.grpc,
        upload: Arc::default(),
        memory: Memory::default(),
        interim,
        until: asked.timeout.map(|timeout| time::Instant::now() + timeout),
        begun: None,
        paid: false,
        sending: Sending::Gone,
        record: &mut record,
    };
    let until = forward.until;
    let outcome = async {
        forward.sending = forward.take_in(body).await?;
        let key = FlowKey {
            source,
            destination: None,
            host: asked.host.as_ref().map(|authority| &authority.host[..]),
            paths: &asked.path.ruled,
        };
        let mut search = Search::new(&connection.shared, &listener, key).with_headers(&parts.headers);
        attempts::make(&mut search, None, &mut forward).await
    };
    let (place, (response, upstream, key)) = match deadline::within(until, outcome).await {
        Ok(answered) => answered,
        Err(fault) => return Err((fault, record)),
    };
    let cookie = place.cookie(&connection.shared, connection.tls);
    let answered = Answered { response, upstream, key, place, cookie };
    let (upload, head) = (forward.upload.clone(), forward.head);
    let opened = client.map(|(handshake, client)| Opened { handshake, asked: head.into_parts().0.headers, client });
    // Over HTTP/1 a call can be told nothing behind its head.
    let grpc = if asked.grpc && parts.version == Version::HTTP_2 { Grpc::Call } else { Grpc::No };
    Ok(reply::pass_on(connection, answered, opened, Told { record, upload, under_way, until, edits, grpc }))
}

impl Forward<'_> {
    /// Takes a small body in whole if the request might be sent again.
    async fn take_in(&mut self, body: Received) -> Result<Sending, Fault> {
        if body.is_end_stream() {
            return Ok(Sending::Whole(Bytes::new()));
        }
        let small = body.size_hint().upper().is_some_and(|upper| upper <= BUFFER_MAX);
        if !(small && self.repeatable && !self.asked.expects_continue) {
            return Ok(Sending::Stream(body));
        }
        let uploading =
            Uploading::new(body, self.upload.clone(), self.record.story.count.clone(), Some(self.patience()));
        match Limited::new(uploading, 64 * 1024).collect().await {
            Ok(whole) => Ok(Sending::Whole(whole.to_bytes())),
            Err(_) => Err(self.upload_fault().unwrap_or(Fault::BODY)),
        }
    }

    /// How patient the listener is with the client.
    fn patience(&self) -> Patience {
        Patience::from(&self.connection.state.listener().http)
    }

    /// Why the client's body ended early, if it did.
    fn upload_fault(&self) -> Option<Fault> {
        if self.upload.too_slow.load(Ordering::Relaxed) {
            return Some(Fault::BODY_TIMEOUT);
        }
        let broken = self.upload.broken.load(Ordering::Relaxed);
        broken.then(|| self.connection.talk.broken_body().unwrap_or(Fault::BODY))
    }

    /// Sends the request over one connection and waits for the head of the answer.
    async fn exchange(&mut self, upstream: &mut Upstream, place: &Place) -> Result<Response<Incoming>, Failed> {
        let (word, opened) = watch::channel(false);
        // An HTTP/2 origin's 100 is not heard here: its body is not held back for it.
        let gate = (self.asked.expects_continue && !upstream.is_shared()).then(|| Gate::new(opened));
        let body = match std::mem::replace(&mut self.sending, Sending::Gone) {
            Sending::Whole(bytes) => {
                self.upload.ended.store(true, Ordering::Relaxed);
                self.sending = Sending::Whole(bytes.clone());
                if bytes.is_empty() { answer::empty() } else { answer::whole(bytes) }
            }
            Sending::Stream(incoming) => {
                let patience = (!self.asked.grpc).then(|| self.patience());
                let uploading =
                    Uploading::new(incoming, self.upload.clone(), self.record.story.count.clone(), patience);
                let uploading = Copied::new(uploading.behind(gate), self.memory.clone());
                match self.until {
                    // Whoever still sends, and whoever still waits for it, is to learn that the call is over.
                    Some(until) => Timed::new(uploading, until, |_| Err(Fault::GRPC_DEADLINE.into())).boxed_unsync(),
                    None => uploading.boxed_unsync(),
                }
            }
            Sending::Untouched(body) => body,
            Sending::Gone => return Err(Failed::Final(Fault::BODY)),
        };
        let mut request = self.head.clone().map(|()| body);
        outgoing::address(&mut request, &place.pool, &place.origin);
        if upstream.is_shared() {
            self.await_offer(upstream, place).await.map_err(Failed::Final)?;
            let scheme = if place.pool.upstream == Speaks::H2c { Scheme::HTTP } else { Scheme::HTTPS };
            outgoing::as_http2(&mut request, scheme).map_err(Failed::Final)?;
        }
        self.hear_interim(&mut request, word);
        self.begun.get_or_insert_with(time::Instant::now);
        upstream.serves(self.connection.source.ip());
        let asking = upstream.send(request);
        let suspected = upstream.suspected();
        let may_move = self.left() == Left::Repeatable;
        let too_late = attempt::too_late(&self.upload, self.begun, place);
        tokio::select! {
            biased;
            answered = asking => match answered {
                Ok(response) => Ok(response),
                Err(mut error) => {
                    match error.take_message() {
                        Some(unsent) if !self.upload.begun.load(Ordering::Relaxed) => {
                            if matches!(self.sending, Sending::Gone) {
                                self.sending = Sending::Untouched(unsent.into_body());
                            }
                            let reason = Failed::unsent(error.error(), upstream.why_broken());
                            Err(self.met(Why::new(reason, whole(error.error())), Failed::Unsent))
                        }
                        Some(_) | None => Err(self.lost(error.error(), upstream)),
                    }
                }
            },
            () = suspected, if may_move => Err(self.met(Why::suspect(), Failed::Sent)),
            () = place.has_better(&self.connection.shared), if may_move => {
                let words = "no answer yet, over a path that has become unhealthy";
                Err(self.met(Why::new(Reason::HttpTimeout, words), Failed::Sent))
            }
            () = too_late => Err(Failed::Final(Fault::ORIGIN_TIMEOUT)),
        }
    }

    /// A failure that the access log tells in these words.
    fn met(&mut self, why: Why, failed: impl FnOnce(Reason) -> Failed) -> Failed {
        self.record.story.cause.met(why.reason.as_str(), why.detail);
        failed(why.reason)
    }

    /// The same of hyper's error, once the request was on its way.
    fn lost(&mut self, error: &hyper::Error, upstream: &Upstream) -> Failed {
        let failed = Failed::of(error, upstream.why_broken());
        self.record.story.cause.met(failed.fault().code, whole(error));
        failed
    }

    /// Waits, if WebSocket is asked for, until the origin of HTTP/2 offers it.
    async fn await_offer(&mut self, upstream: &mut Upstream, place: &Place) -> Result<(), Fault> {
        match self.asked.switch {
            None => return Ok(()),
            // RFC 8441 speaks of WebSocket alone.
            Some(Handshake::Other) => return Err(Fault::UPGRADE),
            Some(Handshake::Upgrade | Handshake::Connect) => {}
        }
        let offers = time::timeout(place.pool.connect_timeout, upstream.offers_connect()).await;
        if offers.map_err(|_| Fault::ORIGIN_TIMEOUT)? { Ok(()) } else { Err(Fault::UPGRADE) }
    }

    /// Passes interim answers on, and opens the gate at a 100.
    fn hear_interim(&self, request: &mut Request<Body>, word: watch::Sender<bool>) {
        let client = self.interim.clone();
        let left = std::sync::atomic::AtomicU32::new(INTERIM_MAX);
        hyper::ext::on_informational(request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                word.send_replace(true);
            } else if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                client.tell(interim.status(), &fields::response(interim.status(), interim.headers()));
            }
        });
    }
}
