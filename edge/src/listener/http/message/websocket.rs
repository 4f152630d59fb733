//! WebSocket's opening in both its spellings: `Upgrade` of HTTP/1.1 (RFC 6455) and extended CONNECT of HTTP/2 (RFC 8441).
//! Pure: the head to the origin is spelt as the origin speaks, the head to the client as the client does.

use aws_lc_rs::digest;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, response::Parts};
use hyper::ext::Protocol;
use rand::{Rng, RngExt};

use super::{fault::Fault, request::Handshake};

/// What a server appends to the client's key before it hashes it (RFC 6455 section 1.3).
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Spells the opening as `Upgrade`. A client of HTTP/2 has sent no key: it gets one.
pub(crate) fn as_upgrade(head: &mut Request<()>, handshake: Handshake, dice: &mut impl Rng) {
    *head.method_mut() = Method::GET;
    let headers = head.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if handshake == Handshake::Connect {
        let key = BASE64.encode(&dice.random::<[u8; 16]>());
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::try_from(key).expect("BASE64 is visible characters"));
        headers.entry(header::SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
    }
}

/// Spells an opening that [`as_upgrade`] has spelt as extended CONNECT, which knows no key.
///
/// # Errors
/// A client of HTTP/1.1 that has sent no key can be given no answer to it.
pub(crate) fn as_connect<B>(request: &mut Request<B>) -> Result<(), Fault> {
    *request.method_mut() = Method::CONNECT;
    request.headers_mut().remove(header::CONNECTION);
    request.headers_mut().remove(header::UPGRADE);
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY).ok_or(Fault::WEBSOCKET_KEY)?;
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    Ok(())
}

/// What an origin is asked, and what is made of its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'a> {
    /// As the client spells it.
    pub(crate) handshake: Handshake,
    /// The fields of the head to the origin, as [`as_upgrade`] left them.
    pub(crate) asked: &'a HeaderMap,
    /// The origin speaks HTTP/2.
    pub(crate) to_http2: bool,
}

impl Opening<'_> {
    /// Whether the origin speaks WebSocket from here on. Its head is then spelt for the client.
    ///
    /// # Errors
    /// An answer that agrees and does not fit, or one that the client would take for agreement.
    pub(crate) fn judge(&self, parts: &mut Parts) -> Result<bool, Fault> {
        let by_connect = self.to_http2 || self.handshake == Handshake::Connect;
        let agreement = if self.to_http2 { StatusCode::OK } else { StatusCode::SWITCHING_PROTOCOLS };
        let accepted = self.asked.get(header::SEC_WEBSOCKET_KEY).map(accept);
        if parts.status != agreement {
            // CONNECT takes every 2xx for agreement (RFC 9110 section 9.3.6), and so would its client.
            let misleads = by_connect && parts.status.is_success();
            return if misleads { Err(Fault::ORIGIN_INVALID) } else { Ok(false) };
        }
        let is_our_key = !self.to_http2 && self.handshake == Handshake::Connect;
        if is_our_key && parts.headers.get(header::SEC_WEBSOCKET_ACCEPT) != accepted.as_ref() {
            return Err(Fault::ORIGIN_INVALID);
        }
        self.spell(parts, accepted);
        Ok(true)
    }

    fn spell(&self, parts: &mut Parts, accepted: Option<HeaderValue>) {
        parts.headers.remove(header::CONTENT_LENGTH);
        match self.handshake {
            Handshake::Connect => {
                parts.status = StatusCode::OK;
                parts.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
            }
            Handshake::Upgrade | Handshake::Other => {
                let protocol = self.asked.get(header::UPGRADE).cloned();
                parts.status = StatusCode::SWITCHING_PROTOCOLS;
                parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                parts.headers.insert(header::UPGRADE, protocol.unwrap_or(HeaderValue::from_static("websocket")));
                if let (true, Some(accepted)) = (self.to_http2, accepted) {
                    parts.headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
                }
            }
        }
    }
}

/// The answer to a key.
fn accept(key: &HeaderValue) -> HeaderValue {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), MAGIC].concat());
    HeaderValue::try_from(BASE64.encode(hash.as_ref())).expect("BASE64 is visible characters")
}

#[cfg(test)]
mod tests {
    use http::Response;
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    /// The example of RFC 6455 section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn head(handshake: Handshake, key: Option<&str>) -> Request<()> {
        let mut head = Request::new(());
        if let Some(key) = key {
            head.headers_mut().insert(header::SEC_WEBSOCKET_KEY, key.parse().expect("a value"));
        }
        as_upgrade(&mut head, handshake, &mut SmallRng::seed_from_u64(1));
        head
    }

    /// Whether the origin agreed, and the head for the client.
    fn judged(opening: Opening<'_>, status: u16, accept: Option<&HeaderValue>) -> Result<(bool, Parts), Fault> {
        let mut response = Response::builder().status(status);
        if let Some(accept) = accept {
            response = response.header(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        let mut parts = response.body(()).expect("a response").into_parts().0;
        opening.judge(&mut parts).map(|agreed| (agreed, parts))
    }

    #[test]
    fn a_client_of_http_2_gets_a_key_that_the_origin_must_answer() {
        let head = head(Handshake::Connect, None);
        let key = &head.headers()[header::SEC_WEBSOCKET_KEY];
        assert_eq!(BASE64.decode(key.as_bytes()).expect("BASE64").len(), 16);
        assert_eq!(
            (head.method(), &head.headers()[header::SEC_WEBSOCKET_VERSION]),
            (&Method::GET, &"13".parse().expect("a value"))
        );
        let opening = Opening { handshake: Handshake::Connect, asked: head.headers(), to_http2: false };
        let (agreed, parts) = judged(opening, 101, Some(&accept(key))).expect("good");
        assert!(agreed && parts.status == StatusCode::OK && parts.headers.is_empty(), "{parts:?}");
        let other = HeaderValue::from_static(ACCEPT);
        assert_eq!(judged(opening, 101, Some(&other)).err(), Some(Fault::ORIGIN_INVALID));
        assert_eq!(judged(opening, 101, None).err(), Some(Fault::ORIGIN_INVALID));
    }

    #[test]
    fn a_client_of_http_1_gets_the_answer_to_its_key_from_an_origin_of_http_2() {
        let head = head(Handshake::Upgrade, Some(KEY));
        let opening = Opening { handshake: Handshake::Upgrade, asked: head.headers(), to_http2: true };
        let (agreed, parts) = judged(opening, 200, None).expect("good");
        assert!(agreed && parts.status == StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(parts.headers[header::SEC_WEBSOCKET_ACCEPT], ACCEPT);
        assert_eq!(parts.headers[header::UPGRADE], "websocket");
    }

    #[test]
    fn an_answer_that_connect_would_take_for_agreement_is_refused() {
        let head = head(Handshake::Connect, None);
        for (handshake, to_http2) in
            [(Handshake::Connect, false), (Handshake::Connect, true), (Handshake::Upgrade, true)]
        {
            let opening = Opening { handshake, asked: head.headers(), to_http2 };
            assert_eq!(judged(opening, 204, None).err(), Some(Fault::ORIGIN_INVALID));
            assert!(judged(opening, 403, None).is_ok_and(|(agreed, _)| !agreed));
        }
        let opening = Opening { handshake: Handshake::Upgrade, asked: head.headers(), to_http2: false };
        assert!(judged(opening, 200, None).is_ok_and(|(agreed, _)| !agreed), "an ordinary answer to a GET");
    }

    #[test]
    fn extended_connect_carries_no_key() {
        let mut head = head(Handshake::Upgrade, Some(KEY));
        assert_eq!(as_connect(&mut head), Ok(()));
        assert_eq!((head.method(), head.headers().len()), (&Method::CONNECT, 0));
        assert_eq!(head.extensions().get::<Protocol>().map(Protocol::as_str), Some("websocket"));
        assert_eq!(as_connect(&mut head), Err(Fault::WEBSOCKET_KEY));
    }
}
