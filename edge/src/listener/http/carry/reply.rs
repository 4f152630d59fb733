//! An origin's answer on its way to the client: checked, written anew, and handed to hyper; or a WebSocket from here on.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, Version, header, response::Parts};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use tokio::time::Instant;

use super::{
    body::{Answering, Exchange, Grpc, Upload},
    deadline::Timed,
    record::Record,
    upgrade::{self, Agreed},
};
use crate::listener::http::client::{answer, switch::Switch, talk::UnderWay};
use crate::listener::http::connection::Connection;
use crate::listener::http::message::{boxed::Body, fault::Fault, fields, grpc, request::Handshake, websocket::Opening};
use crate::listener::http::origin::{
    early::Early,
    upstream::{Key, Upstream},
};
use crate::{listener::flow::placing::Place, model::FieldEdits};

/// An origin's answer, and what it came over.
pub(crate) struct Answered {
    /// The answer.
    pub(crate) response: Response<Early>,
    /// Its connection.
    pub(crate) upstream: Upstream,
    /// Whose the connection is.
    pub(crate) key: Key,
    /// Where the request went.
    pub(crate) place: Place,
    /// What the client is to be told, so that it comes back there.
    pub(crate) cookie: Option<HeaderValue>,
}

/// Another protocol that was asked for.
pub(crate) struct Opened {
    /// As the client spells it.
    pub(crate) handshake: Handshake,
    /// The fields the origin was sent.
    pub(crate) asked: HeaderMap,
    /// The client's side, once it is told that the origin agrees.
    pub(crate) client: Switch,
}

/// What goes with a request to its end.
pub(crate) struct Told {
    /// What is told of it.
    pub(crate) record: Record,
    /// What is known of its body.
    pub(crate) upload: Arc<Upload>,
    /// It counts as under way.
    pub(crate) under_way: UnderWay,
    /// When it is over, if it is a gRPC call.
    pub(crate) until: Option<Instant>,
    /// Whether it is a gRPC call.
    pub(crate) grpc: Grpc,
    /// What its rule changes in the head of the answer.
    pub(crate) edits: Option<Arc<FieldEdits>>,
}

/// The origin's answer, written anew for the client.
pub(crate) fn pass_on(
    connection: &Arc<Connection>,
    answered: Answered,
    opened: Option<Opened>,
    Told { mut record, upload, under_way, until, edits, grpc }: Told,
) -> Response<Body> {
    let Answered { mut response, upstream, key, place, cookie } = answered;
    let origin = opened.as_ref().map(|_| hyper::upgrade::on(&mut response));
    let (mut parts, body) = response.into_parts();
    let agreed = match written_anew(&mut parts, opened.as_ref(), upstream.is_shared()) {
        Ok(agreed) => agreed,
        Err(fault) => {
            upstream.abort();
            record.fault(fault);
            record.answered(fault.status);
            record.finished = true;
            return answer::fault(fault, false);
        }
    };
    edits.iter().for_each(|edits| fields::edit(&mut parts.headers, edits));
    record.answered(parts.status);
    if let Some(cookie) = cookie {
        parts.headers.append(header::SET_COOKIE, cookie);
    }
    if let (true, Some(Opened { client, handshake, .. }), Some(origin)) = (agreed, opened, origin) {
        let is_websocket = handshake != Handshake::Other;
        let agreed = Agreed { client, origin, upstream, is_websocket };
        connection.tasks.spawn(upgrade::carry(connection.clone(), agreed, (record, place.seat, under_way)));
        return Response::from_parts(parts, answer::empty());
    }
    let sacrificed = upstream.sacrificed().clone();
    let upstream = Some((upstream, key, connection.worker.idle.clone()));
    let debt = Some(connection.owed.begin());
    let exchange = Exchange { upstream, record, debt, _seat: Some(place.seat), under_way: Some(under_way) };
    let answering = Answering::new(body, upload, exchange, grpc);
    if !answering.is_end_stream() {
        parts.extensions.insert(sacrificed);
    }
    let Some(until) = until else { return Response::from_parts(parts, answering.boxed_unsync()) };
    let timed = Timed::new(answering, until, |answering| {
        answering.give_up(Fault::GRPC_DEADLINE);
        Ok(Frame::trailers(grpc::failed(Fault::GRPC_DEADLINE)))
    });
    Response::from_parts(parts, timed.boxed_unsync())
}

/// Writes the head for the client; true if both speak another protocol from here on.
fn written_anew(parts: &mut Parts, opened: Option<&Opened>, is_http2: bool) -> Result<bool, Fault> {
    let asked_for = opened.filter(|_| !is_http2).and_then(|opened| opened.asked.get(header::UPGRADE));
    answer::check(parts, asked_for)?;
    parts.headers = fields::response(parts.status, &parts.headers);
    parts.extensions.clear();
    parts.version = Version::HTTP_11;
    let Some(Opened { handshake, asked, .. }) = opened else { return Ok(false) };
    Opening { handshake: *handshake, asked, to_http2: is_http2 }.judge(parts)
}
