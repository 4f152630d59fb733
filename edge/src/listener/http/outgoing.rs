//! The head that goes to the origin: nothing of the client's is passed through, everything is written from what was
//! understood. Pure.

use http::{Request, Uri, Version, header, request::Parts, uri::Scheme};
use rand::Rng;

use super::{
    affinity,
    fault::Fault,
    fields::{self, Peer},
    request::Asked,
    websocket,
};

/// The head of the request to the origin, written anew.
pub(super) fn head(parts: &Parts, asked: &Asked, peer: &Peer<'_>, dice: &mut impl Rng) -> Result<Request<()>, Fault> {
    let target = match &asked.query {
        Some(query) => format!("{}?{query}", asked.path),
        None => asked.path.clone(),
    };
    let mut head = Request::new(());
    *head.method_mut() = parts.method.clone();
    *head.uri_mut() = Uri::try_from(target).map_err(|_| Fault::TARGET)?;
    *head.headers_mut() = fields::request(&parts.headers, parts.version, asked, peer);
    affinity::hide(head.headers_mut());
    if let Some(handshake) = asked.websocket {
        websocket::as_upgrade(&mut head, handshake, dice);
    }
    Ok(head)
}

/// Moves Host to where HTTP/2 has it, and WebSocket's opening too.
pub(super) fn as_http2<B>(request: &mut Request<B>, scheme: Scheme) -> Result<(), Fault> {
    if request.headers().contains_key(header::UPGRADE) {
        websocket::as_connect(request)?;
    }
    let host = request.headers_mut().remove(header::HOST);
    let authority = host.as_ref().and_then(|h| h.to_str().ok()).unwrap_or("localhost");
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build();
    *request.uri_mut() = uri.map_err(|_| Fault::TARGET)?;
    *request.version_mut() = Version::HTTP_2;
    Ok(())
}
