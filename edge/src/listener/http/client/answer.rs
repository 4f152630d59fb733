//! Answers: the edge's own, and whether an origin's may be passed on. Pure.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header, response::Parts};
use http_body_util::{BodyExt, Empty, Full};

use crate::listener::http::message::{boxed::Body, fault::Fault, grammar, grpc};

/// Says why the edge answered itself.
const REASON: HeaderName = HeaderName::from_static("underpass-reason");

/// An empty body.
pub(crate) fn empty() -> Body {
    Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
}

/// A whole body.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The edge's own answer, with its fault beside it; `close`: nothing more is read from the connection.
pub(crate) fn fault(fault: Fault, close: bool) -> Response<Body> {
    let mut text = format!("{} {}\n", fault.status.as_u16(), fault.code);
    if !fault.words.is_empty() {
        text.push_str(&format!("{}\n", fault.words.trim()));
    }
    let mut response = Response::new(whole(text));
    *response.status_mut() = fault.status;
    response.extensions_mut().insert(fault);
    let headers = response.headers_mut();
    headers.insert(REASON, HeaderValue::from_static(fault.code));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if fault.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    if fault == Fault::RATE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The same for a gRPC call: its status stands in a field, and HTTP says 200.
pub(crate) fn grpc_fault(fault: Fault) -> Response<Body> {
    let mut response = Response::new(empty());
    response.extensions_mut().insert(fault);
    let headers = response.headers_mut();
    headers.insert(REASON, HeaderValue::from_static(fault.code));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.extend(grpc::failed(fault));
    response
}

/// The edge's own answer for the public: what is wrong behind the edge stays there, and what the client did wrong is told.
pub(crate) fn without_reason(mut response: Response<Body>) -> Response<Body> {
    let Some(fault) = response.extensions().get::<Fault>().copied() else { return response };
    response.headers_mut().remove(REASON);
    if fault.status.is_client_error() {
        return response;
    }
    if response.headers_mut().remove("grpc-message").is_none() {
        let status = fault.status;
        *response.body_mut() =
            whole(format!("{} {}\n", status.as_u16(), status.canonical_reason().unwrap_or_default()));
    }
    response
}

/// The answer to `OPTIONS` with no hop left.
pub(crate) fn last_hop() -> Response<Body> {
    let mut response = Response::new(empty());
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    response
}

/// Whether an origin's answer is HTTP to the letter where it matters; hyper has parsed it. `asked_for` is the protocol that it
/// may change to.
pub(crate) fn check(parts: &Parts, asked_for: Option<&HeaderValue>) -> Result<(), Fault> {
    let mut lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.any(|other| Some(other) != length) || length.is_some_and(|l| grammar::length(l.as_bytes()).is_none()) {
        return Err(Fault::ORIGIN_INVALID);
    }
    let mut encodings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        let chunked = encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !chunked || encodings.next().is_some() || length.is_some() || parts.version == Version::HTTP_10 {
            return Err(Fault::ORIGIN_INVALID);
        }
    }
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let agreed = asked_for.is_some_and(|asked_for| switches_to(&parts.headers, asked_for));
    if switching && !agreed || parts.status.is_informational() && !switching {
        return Err(Fault::ORIGIN_INVALID);
    }
    Ok(())
}

fn switches_to(headers: &HeaderMap, asked_for: &HeaderValue) -> bool {
    headers.get(header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(asked_for.as_bytes()))
}

/// An interim answer as HTTP/1.1 spells it.
pub(crate) fn interim(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use protocol::error::Reason;

    use super::*;

    fn judged(
        version: Version,
        status: u16,
        fields: &[(&str, &str)],
        asked_for: Option<&'static str>,
    ) -> Result<(), Fault> {
        let response = Response::builder().version(version).status(status);
        let response = fields.iter().fold(response, |r, (name, value)| r.header(*name, *value));
        let asked_for = asked_for.map(HeaderValue::from_static);
        check(&response.body(()).expect("a response").into_parts().0, asked_for.as_ref())
    }

    const V1: Version = Version::HTTP_11;

    #[test]
    fn an_answer_with_doubtful_framing_is_refused() {
        let bad = Err(Fault::ORIGIN_INVALID);
        assert_eq!(judged(V1, 200, &[("content-length", "5"), ("transfer-encoding", "chunked")], None), bad);
        assert_eq!(judged(V1, 200, &[("content-length", "5"), ("content-length", "6")], None), bad);
        assert_eq!(judged(V1, 200, &[("content-length", "+5")], None), bad);
        assert_eq!(judged(V1, 200, &[("transfer-encoding", "gzip, chunked")], None), bad);
        assert_eq!(judged(V1, 200, &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], None), bad);
        assert_eq!(judged(Version::HTTP_10, 200, &[("transfer-encoding", "chunked")], None), bad);
        assert_eq!(judged(V1, 200, &[("content-length", "5")], None), Ok(()));
        assert_eq!(judged(V1, 200, &[("transfer-encoding", "chunked")], None), Ok(()));
    }

    #[tokio::test]
    async fn what_is_wrong_behind_the_edge_can_be_kept_from_the_public() {
        let told = |fault| async move {
            let response = without_reason(super::fault(fault, false));
            assert!(!response.headers().contains_key(REASON));
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            String::from_utf8(body.to_vec()).expect("text")
        };
        assert_eq!(told(Fault::lost(Reason::ConnectRefused)).await, "502 Bad Gateway\n");
        assert!(told(Fault::HOST).await.starts_with("400 bad_host\nNo Host, "));
        let call = without_reason(grpc_fault(Fault::no_place(None)));
        assert!(call.headers().contains_key("grpc-status") && !call.headers().contains_key("grpc-message"));
    }

    #[test]
    fn a_change_of_protocol_that_nobody_asked_for_is_refused() {
        let websocket = [("upgrade", "websocket"), ("connection", "upgrade")];
        assert_eq!(judged(V1, 101, &websocket, Some("websocket")), Ok(()));
        assert_eq!(judged(V1, 101, &websocket, None), Err(Fault::ORIGIN_INVALID));
        assert_eq!(judged(V1, 101, &[("upgrade", "h2c")], Some("websocket")), Err(Fault::ORIGIN_INVALID));
    }
}
