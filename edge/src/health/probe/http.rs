//! HTTP probes: the edge itself speaks HTTP/1.1 over the probe's stream.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use net::Socket;
use protocol::error::Reason;
use quinn::{RecvStream, SendStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, Join, ReadBuf},
    task::AbortHandle,
};

use crate::{
    model::{Held, HttpCheck, Origin},
    offramp::Carrier,
};

/// How much of a body is searched for the expected text.
const BODY_MAX: usize = 64 * 1024;

/// A connection to an origin, kept for the next probe.
#[derive(Debug)]
pub(super) struct Kept {
    sender: SendRequest<Empty<Bytes>>,
    driving: AbortHandle,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

impl Kept {
    pub(super) async fn over(carrier: Carrier) -> Result<Self, Reason> {
        let wire = match carrier {
            Carrier::Tunnel(stream, _link, held) => Wire::Tunnel(tokio::io::join(stream.recv, stream.send), held),
            Carrier::Direct(socket) => Wire::Direct(socket),
        };
        let (sender, connection) = http1::handshake(TokioIo::new(wire)).await.map_err(|_| Reason::ConnectionReset)?;
        let driving = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { sender, driving })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// One request; `first_byte` gets the time to the answer's head.
    pub(super) async fn ask(
        &mut self,
        check: &HttpCheck,
        origin: &Origin,
        first_byte: &mut Option<Duration>,
    ) -> Result<(), Reason> {
        let request = request(check, origin);
        self.sender.ready().await.map_err(|e| reason_of(&e))?;
        let asked = Instant::now();
        let answer = self.sender.send_request(request).await.map_err(|e| reason_of(&e))?;
        *first_byte = Some(asked.elapsed());
        let code = answer.status().as_u16();
        let expected = check.expected_codes.iter().any(|(low, high)| (*low..=*high).contains(&code));
        let mut body = Limited::new(answer.into_body(), BODY_MAX);
        let mut text = Vec::new();
        // The whole body is read even if only the code matters: the connection is kept.
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => text.extend_from_slice(frame.data_ref().map_or(&[], |d| &d[..])),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                    self.driving.abort();
                    break;
                }
                Err(_) => return Err(if expected { Reason::HttpInvalid } else { Reason::CodeMismatch }),
            }
        }
        if !expected {
            return Err(Reason::CodeMismatch);
        }
        if contains(&text, &check.expected_body) { Ok(()) } else { Err(Reason::BodyMismatch) }
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

fn reason_of(error: &hyper::Error) -> Reason {
    if error.is_parse() || error.is_parse_status() { Reason::HttpInvalid } else { Reason::ConnectionReset }
}

/// Letter case aside.
fn contains(body: &[u8], text: &str) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
}

/// Either carrier, as hyper wants it.
enum Wire {
    Tunnel(Join<RecvStream, SendStream>, #[expect(dead_code, reason = "counts while held")] Held),
    Direct(Socket),
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream, _) => Pin::new(stream).poll_read(cx, buf),
            Self::Direct(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Tunnel(stream, _) => Pin::new(stream).poll_write(cx, buf),
            Self::Direct(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream, _) => Pin::new(stream).poll_flush(cx),
            Self::Direct(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Self::Direct(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_text_is_found_whatever_its_case() {
        assert!(contains(b"all systems GO", "go"));
        assert!(contains(b"", ""));
        assert!(!contains(b"g o", "go"));
    }
}
