//! HTTP to origins: begun over an opened way, with TLS where the pool wants it, for requests and probes alike.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    body::Body,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use protocol::{
    error::Reason,
    id::{Host, Target},
    windows::Account,
};
use tokio::{task::AbortHandle, time};

use super::{
    Carrier, Manners, Offramp, Opened, Sacrificed, Why, Wire,
    settings::{Server, Tap},
    tls::{Chosen, Offer},
    why::whole,
};
use crate::{
    model::{Origin, Upstream},
    tls::ClientTls,
    tunnel::Link,
};

/// How long after its opening a connection to a name takes new requests. What address it leads to nobody here knows if a
/// connector has dialled it, and the name may have left that address without a word.
const NAMED_WAIT: Duration = Duration::from_secs(30);
/// How often a silent HTTP/2 origin is asked for a sign of life while requests wait.
const PING_EVERY: Duration = Duration::from_secs(10);
/// What an answer may have on its way over HTTP/2, and all answers of a connection: so much that a hundred answers whose
/// clients read nothing do not hold up those who share the connection.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 128 * STREAM_WINDOW;
/// Most bytes of an answer's head.
const HEAD_MAX: usize = 64 * 1024;
/// Most fields of an answer.
const FIELDS_MAX: usize = 200;

/// What is spoken to an origin, with all it takes. Connections are alike only if this is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Speech {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
    /// TLS, and then what the origin chooses.
    Https(ClientTls),
    /// TLS, and then HTTP/1.1.
    Http1OverTls(ClientTls),
}

/// How requests are handed to a connection's own task.
pub enum Sender<B> {
    /// One request at a time.
    Http1(http1::SendRequest<B>, AbortHandle),
    /// Many at once: each request has a handle of its own.
    Http2(http2::SendRequest<B>, AbortHandle),
}

impl<B> fmt::Debug for Sender<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1(..) => "Sender(HTTP/1.1)",
            Self::Http2(..) => "Sender(HTTP/2)",
        })
    }
}

/// A connection to an origin over which requests may be sent.
#[derive(Debug)]
pub struct Speaking<B> {
    /// Where requests go.
    pub sender: Sender<B>,
    /// The link it leads through; absent if direct.
    pub link: Option<Arc<Link>>,
    /// How that link counts it.
    pub account: Option<Account>,
    /// Says when that link has sacrificed it.
    pub sacrificed: Sacrificed,
    /// What is seen of its origin's manners.
    pub manners: Manners,
    /// What an HTTP/2 origin says of itself.
    pub server: Option<Server>,
    /// How long the TLS handshake took; absent without TLS.
    pub tls: Option<Duration>,
    /// When it takes no new request any more; absent if it may go on.
    pub retires: Option<Instant>,
}

impl Offramp {
    /// What it takes to speak so. Absent: the catalog has moved on, and with it the settings.
    #[must_use]
    pub fn speech(&self, speaks: &Upstream) -> Option<Speech> {
        match speaks {
            Upstream::Http1 => Some(Speech::Http1),
            Upstream::H2c => Some(Speech::H2c),
            Upstream::Https(settings) => self.snapshots.borrow().origin_tls.find(settings).map(Speech::Https),
        }
    }
}

impl Speech {
    /// The same in HTTP/1.1 where there is a choice, for what is said in no other.
    #[must_use]
    pub fn in_http1(self) -> Self {
        match self {
            Self::Https(tls) => Self::Http1OverTls(tls),
            Self::Http1 | Self::H2c | Self::Http1OverTls(_) => self,
        }
    }

    /// Begins to speak over an opened way; a handshake may take as long as `wait`.
    ///
    /// # Errors
    /// Why; nothing of a request has been sent then.
    pub async fn begin<B>(&self, opened: Opened, origin: &Origin, wait: Duration) -> Result<Speaking<B>, Why>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let link = match &opened.carrier {
            Carrier::Tunnel(_, link, _) => Some(link.clone()),
            Carrier::Direct(_) => None,
        };
        let wire = Wire::from(opened.carrier);
        let (account, sacrificed, manners) = (wire.account(), wire.sacrificed(), wire.manners());
        let (wire, chosen, tls) = match self {
            Self::Http1 => (wire, Chosen::Http1, None),
            Self::H2c => (wire, Chosen::Http2, None),
            Self::Https(tls) | Self::Http1OverTls(tls) => {
                let began = Instant::now();
                let offer = if matches!(self, Self::Https(_)) { Offer::Any } else { Offer::Http1 };
                let shaking = tls.connect(wire, origin, offer);
                let (wire, chosen) = limited(shaking, link.as_deref(), wait).await?;
                (wire, chosen, Some(began.elapsed()))
            }
        };
        let begun = match chosen {
            Chosen::Http1 => http1(wire).await.map(|sender| (sender, None)),
            Chosen::Http2 => http2(wire).await.map(|(sender, server)| (sender, Some(server))),
        };
        let (sender, server) = begun.map_err(|error| Why::new(Reason::ConnectionReset, whole(&error)))?;
        let retires = retires(&origin.address, Instant::now());
        Ok(Speaking { sender, link, account, sacrificed, manners, server, tls, retires })
    }
}

/// When a connection that is opened now takes no new request any more.
fn retires(address: &Target, now: Instant) -> Option<Instant> {
    match address.host {
        Host::Ip(_) => None,
        Host::Name(_) => Some(now + NAMED_WAIT),
    }
}

/// A handshake, for as long as its link is good and its time lasts.
async fn limited<T>(
    shaking: impl Future<Output = Result<T, Why>>,
    link: Option<&Link>,
    wait: Duration,
) -> Result<T, Why> {
    let late = || Why::new(Reason::TlsHandshake, format!("no TLS handshake within {}", config::spell(wait)));
    let suspected = async {
        match link {
            Some(link) => link.suspected().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        // What a link's end looks like from inside says nothing about the origin.
        () = suspected => Err(Why::suspect()),
        shaken = time::timeout(wait, shaking) => shaken.unwrap_or_else(|_| Err(late())),
    }
}

async fn http1<B>(wire: Wire) -> Result<Sender<B>, hyper::Error>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.allow_obsolete_multiline_headers_in_responses(true);
    builder.max_headers(FIELDS_MAX).max_header_size(HEAD_MAX).max_buf_size(HEAD_MAX.max(128 * 1024));
    let manners = wire.manners();
    let (sender, connection) = builder.handshake(TokioIo::new(wire)).await?;
    let driving = async move {
        if let Err(error) = connection.with_upgrades().await {
            manners.met(&error);
        }
    };
    let driving = tokio::spawn(driving).abort_handle();
    Ok(Sender::Http1(sender, driving))
}

async fn http2<B>(wire: Wire) -> Result<(Sender<B>, Server), hyper::Error>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_header_list_size(64 * 1024).keep_alive_interval(PING_EVERY);
    builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    let (wire, server) = Tap::new(wire);
    let (sender, connection) = builder.handshake(TokioIo::new(wire)).await?;
    let driving = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    Ok((Sender::Http2(sender, driving), server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_to_a_name_retires_and_one_to_an_address_does_not() {
        let now = Instant::now();
        let when = |address: &str| retires(&address.parse().expect("a target"), now);
        assert_eq!(when("web.internal:80"), Some(now + NAMED_WAIT));
        assert_eq!((when("10.0.0.1:80"), when("[fd00::1]:80")), (None, None));
    }
}
