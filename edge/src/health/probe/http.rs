//! HTTP probes: the edge itself speaks over the probe's stream what requests would speak there.

use std::{
    mem,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, Version, header, uri::Scheme};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use protocol::error::Reason;

use crate::{
    model::{HttpCheck, Origin, Upstream},
    offramp::{Manners, Opened, Sender, Speech, Why, is_unasked, whole},
};

/// How much of a body is searched for the expected text.
const BODY_MAX: usize = 64 * 1024;

/// A connection to an origin, kept for the next probe.
#[derive(Debug)]
pub(super) struct Kept {
    sender: Sender<Empty<Bytes>>,
    manners: Manners,
    speech: Speech,
    /// When the next probe makes another, which goes wherever the origin's name leads by then.
    retires: Option<Instant>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.abort();
    }
}

impl Kept {
    /// Begins to speak; `tls` gets the time that the handshake took.
    pub(super) async fn over(
        opened: Opened,
        speech: Speech,
        (origin, wait): (&Origin, Duration),
        tls: &mut Option<Duration>,
    ) -> Result<Self, Why> {
        let speaking = Box::pin(speech.begin(opened, origin, wait)).await?;
        *tls = speaking.tls;
        Ok(Self { sender: speaking.sender, manners: speaking.manners, speech, retires: speaking.retires })
    }

    /// True if it is open, what is to be spoken, and where the origin still is as far as one can know.
    pub(super) fn is_good(&self, speech: &Speech, now: Instant) -> bool {
        let closed = match &self.sender {
            Sender::Http1(sender, _) => sender.is_closed(),
            Sender::Http2(sender, _) => sender.is_closed(),
        };
        let retired = self.retires.is_some_and(|at| at <= now);
        !closed && !retired && self.speech == *speech
    }

    /// Ends it; with HTTP/2 it ends by itself once nobody can send.
    fn abort(&mut self) {
        if let Sender::Http1(_, driving) = &self.sender {
            driving.abort();
        }
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::Http1(sender, _) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender, _) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// One request; `first_byte` gets the time to the answer's head.
    pub(super) async fn ask(
        &mut self,
        check: &HttpCheck,
        origin: &Origin,
        first_byte: &mut Option<Duration>,
    ) -> Result<(), Why> {
        let mut request = request(check, origin);
        if matches!(self.sender, Sender::Http2(..)) {
            as_http2(&mut request, &check.speaks);
        }
        let asked = Instant::now();
        let answer = self.send(request).await.map_err(|e| why(&e, &self.manners))?;
        *first_byte = Some(asked.elapsed());
        let code = answer.status().as_u16();
        let expected = check.expected_codes.iter().any(|(low, high)| (*low..=*high).contains(&code));
        let mismatch =
            || Why::new(Reason::CodeMismatch, format!("code {code}, expected {}", spelled(&check.expected_codes)));
        let mut body = Limited::new(answer.into_body(), BODY_MAX);
        let mut text = Vec::new();
        // The whole body is read even if only the code matters: the connection is kept.
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => text.extend_from_slice(frame.data_ref().map_or(&[], |d| &d[..])),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                    self.abort();
                    break;
                }
                Err(_) if !expected => return Err(mismatch()),
                Err(error) => return Err(Why::new(Reason::HttpInvalid, format!("code {code}, then: {error}"))),
            }
        }
        if !expected {
            return Err(mismatch());
        }
        if contains(&text, &check.expected_body) {
            return Ok(());
        }
        let detail = format!("code {code}, and the expected text is not in {} bytes of body", text.len());
        Err(Why::new(Reason::BodyMismatch, detail))
    }
}

fn request(check: &HttpCheck, origin: &Origin) -> Request<Empty<Bytes>> {
    let host = check.host.clone().unwrap_or_else(|| origin.address.to_string());
    let mut request = Request::new(Empty::new());
    *request.method_mut() = check.method.clone();
    *request.uri_mut() = check.path.parse().expect("Config::check has parsed the path");
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(&host).expect("Config::check has parsed the host"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("underpass-monitor/1"));
    for (name, value) in &check.headers {
        headers.insert(name.clone(), value.clone());
    }
    if !check.keep_alive {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    request
}

/// Says it as HTTP/2 does: the host in the target, nothing about the connection.
fn as_http2(request: &mut Request<Empty<Bytes>>, speaks: &Upstream) {
    let scheme = if matches!(speaks, Upstream::Https(_)) { Scheme::HTTPS } else { Scheme::HTTP };
    request.headers_mut().remove(header::CONNECTION);
    let host = request.headers_mut().remove(header::HOST);
    let mut parts = mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(scheme);
    parts.authority = host.and_then(|host| host.to_str().ok()?.parse().ok());
    *request.uri_mut() = Uri::from_parts(parts).expect("Config::check has parsed the path and the host");
    *request.version_mut() = Version::HTTP_2;
}

fn why(error: &hyper::Error, origin: &Manners) -> Why {
    let invalid = error.is_parse() || error.is_parse_status() || is_unasked(error) || origin.babbles();
    Why::new(if invalid { Reason::HttpInvalid } else { Reason::ConnectionReset }, whole(error))
}

/// Codes as settings say them.
fn spelled(codes: &[(u16, u16)]) -> String {
    let spell = |(low, high): &(u16, u16)| if low == high { low.to_string() } else { format!("{low}-{high}") };
    codes.iter().map(spell).collect::<Vec<_>>().join(", ")
}

/// Letter case aside.
fn contains(body: &[u8], text: &str) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;

    use super::*;

    #[test]
    fn codes_are_spelled_as_settings_say_them() {
        assert_eq!(spelled(&[(200, 299), (404, 404)]), "200-299, 404");
    }

    #[tokio::test]
    async fn a_kept_connection_to_a_name_is_left_in_time() {
        let (near, _far) = tokio::io::duplex(1024);
        let (sender, connection) = http1::handshake(TokioIo::new(near)).await.expect("a connection");
        let driving = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        let now = Instant::now();
        let mut kept = Kept {
            sender: Sender::Http1(sender, driving),
            speech: Speech::Http1,
            manners: Manners::default(),
            retires: None,
        };
        assert!(kept.is_good(&Speech::Http1, now) && !kept.is_good(&Speech::H2c, now));
        kept.retires = Some(now + Duration::from_secs(1));
        assert!(kept.is_good(&Speech::Http1, now) && !kept.is_good(&Speech::Http1, now + Duration::from_secs(1)));
    }

    #[test]
    fn the_expected_text_is_found_whatever_its_case() {
        assert!(contains(b"all systems GO", "go"));
        assert!(contains(b"", ""));
        assert!(!contains(b"g o", "go"));
    }
}
