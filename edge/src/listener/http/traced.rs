//! A request that nobody sent, asked of one origin to see how far it comes.
//!
//! It is judged, written and sent by what does that for requests of clients; its answer is not read beyond the head.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Version, uri::Scheme};
use http_body_util::Empty;
use hyper::{Response, body::Incoming};
use protocol::error::Reason;
use tokio::time;

use super::{
    carry::outgoing,
    imagined::Imagined,
    message::{fault::Fault, fields::Peer, trace::Trace},
};
use crate::{
    listener::{flow::placing::Place, shared::Shared, state::Serving},
    model::{FlowId, Upstream},
    offramp::{Opened, Sender, Speech, Why, whole},
};

/// A request that is sent to see how far it comes.
#[derive(Debug)]
pub(in crate::listener) struct Traced {
    /// What it is called.
    pub(in crate::listener) id: FlowId,
    /// Whom it is for.
    pub(in crate::listener) host: Option<String>,
    head: Request<()>,
    in_http1: bool,
}

/// What came of asking an origin.
#[derive(Debug)]
pub(in crate::listener) struct Asked {
    /// How long its TLS handshake took; absent without TLS.
    pub(in crate::listener) tls: Option<Duration>,
    /// Its status, and how long it took to answer; or where it failed, and why.
    pub(in crate::listener) answer: Result<(StatusCode, Duration), (&'static str, Why)>,
}

impl Traced {
    /// Writes the head for the origin.
    ///
    /// # Errors
    /// How it would be answered instead.
    pub(in crate::listener) fn new(
        imagined: &Imagined,
        serving: &Serving,
        source: std::net::IpAddr,
    ) -> Result<Self, (&'static str, String)> {
        let Some((parts, asked)) = &imagined.asked else {
            return Err(imagined.refused.clone().unwrap_or_default());
        };
        let (listener, dice) = (&serving.listener, &mut rand::rng());
        let peer = Peer::new(source, serving.tls.is_some(), &listener.http);
        let wrong = |fault: Fault| (fault.code, format!("{}: {}", fault.status, fault.words.trim()));
        let mut head = outgoing::head(parts, asked, &peer, dice).map_err(wrong)?;
        let trace = Trace::of(&parts.headers, dice);
        trace.write(head.headers_mut(), dice);
        let _ = outgoing::by_rule(&mut head, listener, asked);
        outgoing::frame(&mut head, parts, true);
        Ok(Self { id: trace.id, host: imagined.host.clone(), head, in_http1: asked.switch.is_some() })
    }

    /// The path as it goes on.
    pub(in crate::listener) fn path(&self) -> String {
        self.head.uri().path().to_owned()
    }

    /// How it asks, and in which version.
    pub(in crate::listener) fn asks(&self) -> (Method, Version) {
        (self.head.method().clone(), Version::HTTP_11)
    }

    /// Asks the origin of a place over this way; the handshake may take as long as `wait`.
    pub(in crate::listener) async fn ask(
        &self,
        shared: &Shared,
        place: &Place,
        (opened, wait): (Opened, Duration),
    ) -> Asked {
        let is_tls = matches!(place.pool.upstream, Upstream::Https(_));
        let begins = if is_tls { "tls" } else { "first_byte" };
        let failed = |tls, stage, why| Asked { tls, answer: Err((stage, why)) };
        let Some(speech) = shared.offramp.speech(&place.pool.upstream) else {
            return failed(
                None,
                begins,
                Why::new(Reason::NoRoute, "the settings that led there are not in force any more"),
            );
        };
        let speech = if self.in_http1 { Speech::in_http1(speech) } else { speech };
        let speaking = match Box::pin(speech.begin::<Empty<Bytes>>(opened, &place.origin, wait)).await {
            Ok(speaking) => speaking,
            Err(why) => return failed(None, begins, why),
        };
        let (tls, mut sender) = (speaking.tls, speaking.sender);
        let mut request = self.head.clone().map(|()| Empty::new());
        outgoing::address(&mut request, &place.pool, &place.origin);
        if matches!(sender, Sender::Http2(..)) {
            let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
            if let Err(fault) = outgoing::as_http2(&mut request, scheme) {
                return failed(tls, "first_byte", Why::new(Reason::HttpInvalid, fault.words));
            }
        }
        let asked = Instant::now();
        let answer = time::timeout(place.pool.response_timeout, send(&mut sender, request)).await;
        // Whatever is still to come is nobody's.
        if let Sender::Http1(_, driving) = &sender {
            driving.abort();
        }
        let why = match answer {
            Ok(Ok(answer)) => return Asked { tls, answer: Ok((answer.status(), asked.elapsed())) },
            Ok(Err(error)) if error.is_parse() => Why::new(Reason::HttpInvalid, whole(&error)),
            Ok(Err(error)) => Why::new(Reason::ConnectionReset, whole(&error)),
            Err(_) => {
                let within = config::spell(place.pool.response_timeout);
                Why::new(Reason::HttpTimeout, format!("connected, and no answer within {within}"))
            }
        };
        failed(tls, "first_byte", why)
    }
}

async fn send(
    sender: &mut Sender<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, hyper::Error> {
    match sender {
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
