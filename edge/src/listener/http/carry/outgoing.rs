//! The head that goes to the origin: nothing of the client's is passed through, everything is written from what was
//! understood. Pure.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Uri, Version, header, request::Parts, uri::Scheme};
use rand::Rng;

use crate::balancer::cookie;
use crate::listener::http::message::{
    fault::Fault,
    fields::{self, Peer},
    grammar,
    request::{Asked, Handshake},
    websocket,
};
use crate::{
    model::{FieldEdits, Listener, Origin, Pool, Underscores},
    routing,
};

/// The head of the request to the origin, written anew.
pub(crate) fn head(parts: &Parts, asked: &Asked, peer: &Peer<'_>, dice: &mut impl Rng) -> Result<Request<()>, Fault> {
    if peer.underscores == Underscores::Refuse && parts.headers.keys().any(|name| name.as_str().contains('_')) {
        return Err(Fault::UNDERSCORE);
    }
    let target = match &asked.query {
        Some(query) => format!("{}?{query}", asked.path.sent),
        None => asked.path.sent.clone(),
    };
    let mut head = Request::new(());
    *head.method_mut() = parts.method.clone();
    *head.uri_mut() = Uri::try_from(target).map_err(|_| Fault::TARGET)?;
    *head.headers_mut() = fields::request(&parts.headers, parts.version, asked, peer);
    cookie::hide(head.headers_mut());
    match asked.switch {
        Some(handshake @ (Handshake::Upgrade | Handshake::Connect)) => {
            websocket::as_upgrade(&mut head, handshake, dice);
        }
        Some(Handshake::Other) => as_upgrade(&mut head, &asked.upgrade)?,
        None => {}
    }
    Ok(head)
}

/// Asks for a protocol that the edge does not know.
fn as_upgrade(head: &mut Request<()>, protocols: &[String]) -> Result<(), Fault> {
    let protocol = HeaderValue::try_from(protocols.join(", ")).map_err(|_| Fault::PROTOCOL)?;
    head.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers_mut().insert(header::UPGRADE, protocol);
    Ok(())
}

/// Names the server as its pool wants it called. A client of HTTP/1.0 need not have named any, and a server of HTTP/1.1
/// wants a name: then it is the origin's address.
pub(crate) fn address<B>(request: &mut Request<B>, pool: &Pool, origin: &Origin) {
    let headers = request.headers_mut();
    if let Some(host) = &pool.host {
        headers.insert(header::HOST, host.clone());
    } else if !headers.contains_key(header::HOST) {
        let address = HeaderValue::try_from(origin.address.to_string());
        headers.insert(header::HOST, address.expect("an address is visible characters"));
    }
}

/// Makes the changes of the request's rule; returns those it wants in the answer.
pub(crate) fn by_rule(head: &mut Request<()>, listener: &Listener, asked: &Asked) -> Option<Arc<FieldEdits>> {
    let host = asked.host.as_ref().map_or("", |host| &host.host);
    let rule = routing::rule(listener, host, &asked.path.ruled)?;
    fields::edit_request(head.headers_mut(), &rule.request);
    Some(rule.response.clone())
}

/// Says how the body is framed as its client did: hyper leaves out a length of nothing, and of a GET the whole body unless
/// its length is known. HTTP/2 needs no length where a server of HTTP/1 may ask for one (RFC 9110 section 8.6).
pub(crate) fn frame(head: &mut Request<()>, parts: &Parts, is_empty: bool) {
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| grammar::length(length.as_bytes()));
    let wants_one = [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method);
    let unsaid = length.is_none() && is_empty && wants_one && parts.version == Version::HTTP_2;
    if unsaid || length == Some(0) {
        head.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    } else if length.is_none() && !is_empty {
        head.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Moves Host to where HTTP/2 has it, and WebSocket's opening too.
pub(crate) fn as_http2<B>(request: &mut Request<B>, scheme: Scheme) -> Result<(), Fault> {
    if request.headers().contains_key(header::UPGRADE) {
        websocket::as_connect(request)?;
    }
    request.headers_mut().remove(header::TRANSFER_ENCODING);
    let host = request.headers_mut().remove(header::HOST);
    let authority = host.as_ref().and_then(|h| h.to_str().ok()).unwrap_or("localhost");
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build();
    *request.uri_mut() = uri.map_err(|_| Fault::TARGET)?;
    *request.version_mut() = Version::HTTP_2;
    Ok(())
}
