//! The client's side of a request that changes the protocol: a whole connection of HTTP/1, or one stream of HTTP/2.

use http::Request;
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::sync::oneshot;

use super::{duplex::Duplex, received::Received};

/// The client's side, to be had once the client has been told.
#[derive(Debug)]
pub(crate) enum Switch {
    /// Of a connection of HTTP/1.
    Connection(OnUpgrade),
    /// Of a stream of HTTP/2.
    Stream(oneshot::Receiver<Duplex>),
}

/// The client's side.
pub(crate) enum Switched {
    /// A whole connection.
    Connection(Upgraded),
    /// A stream.
    Stream(Duplex),
}

impl Switch {
    /// What this request's protocol changes on.
    pub(crate) fn of(request: &mut Request<Received>) -> Self {
        let stream = match request.body_mut() {
            Received::Switch(stream) => stream.take(),
            Received::Http1(_) | Received::Http2(_) => None,
        };
        stream.map_or_else(|| Self::Connection(hyper::upgrade::on(request)), Self::Stream)
    }

    /// Waits until the client has been told; `None` if it is gone before.
    pub(crate) async fn told(self) -> Option<Switched> {
        match self {
            Self::Connection(connection) => connection.await.ok().map(Switched::Connection),
            Self::Stream(stream) => stream.await.ok().map(Switched::Stream),
        }
    }
}
