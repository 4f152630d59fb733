//! A link, whatever carries it: one connection between a connector and an edge, its streams and its datagrams, what is known of
//! how it fares, and how it ended. An enrolment or a renewal has a connection too, which never becomes a link.
//!
//! It says nothing of its own over a link, and judges no peer. Only a room of `transport` names the library that carries it.

mod endpoint;
mod lost;
mod stream;
pub mod transport;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;

pub use self::{
    endpoint::{Credentials, Endpoint, Handshake, Incoming, Outbound, Undialled},
    lost::Lost,
    stream::{ReadError, RecvStream, SendStream, StreamEnded, Taken, WriteError},
};
use self::{
    endpoint::{EndpointOver, OutboundOver},
    lost::LostOver,
    stream::{RecvOver, SendOver},
    transport::quic,
};
use crate::error::CloseCode;

/// Which end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Dials, and takes the streams that the edge opens.
    Connector,
    /// Is dialled, and opens streams.
    Edge,
}

/// One connection to a peer; clones are the same connection.
#[derive(Debug, Clone)]
pub struct Connection(Over);

/// What carries it.
#[derive(Debug, Clone)]
enum Over {
    Quic(quic::Connection),
}

/// How a connection has fared so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// What was sent that the peer must acknowledge, a search for larger packets left out: losing those is its purpose.
    pub demanding: u64,
    /// What the peer has acknowledged, each packet counted once. The count begins again when the peer moves.
    pub acknowledged: u64,
    /// Packets that came.
    pub received: u64,
    /// How long a round trip takes: the slowest of the latest, where the smoothed value remembers a slower one.
    pub rtt: Duration,
}

/// Why a datagram was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// It is larger than any that the connection takes now.
    #[error("the datagram is larger than the link takes")]
    TooLarge,
    /// One of the two sides takes none.
    #[error("the link takes no datagrams")]
    Untaken,
    /// The connection is gone.
    #[error("link lost: {0}")]
    Lost(Lost),
}

impl Connection {
    /// Opens a stream, once the peer allows one more; it hears of it with its first byte. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn open_stream(&self) -> impl Future<Output = Result<(SendStream, RecvStream), Lost>> {
        match &self.0 {
            Over::Quic(connection) => connection.open_stream(),
        }
    }

    /// The next stream that the peer opens. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn accept_stream(&self) -> impl Future<Output = Result<(SendStream, RecvStream), Lost>> {
        match &self.0 {
            Over::Quic(connection) => connection.accept_stream(),
        }
    }

    /// The next datagram. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn read_datagram(&self) -> impl Future<Output = Result<Bytes, Lost>> {
        match &self.0 {
            Over::Quic(connection) => connection.read_datagram(),
        }
    }

    /// Sends a datagram. Beyond [`Self::datagram_room`] it makes room by throwing the oldest away.
    ///
    /// # Errors
    /// [`DatagramError`].
    pub fn send_datagram(&self, datagram: Bytes) -> Result<(), DatagramError> {
        match &self.0 {
            Over::Quic(connection) => connection.send_datagram(datagram),
        }
    }

    /// Bytes of datagrams that may still wait to be sent.
    #[must_use]
    pub fn datagram_room(&self) -> usize {
        match &self.0 {
            Over::Quic(connection) => connection.datagram_room(),
        }
    }

    /// The largest datagram that it takes now; none if it takes none.
    #[must_use]
    pub fn datagram_max(&self) -> Option<usize> {
        match &self.0 {
            Over::Quic(connection) => connection.datagram_max(),
        }
    }

    /// Asks the peer for a sign of life: what is sent says nothing, needs no stream to have room, and is acknowledged by what
    /// carries the link.
    pub fn nudge(&self) {
        match &self.0 {
            Over::Quic(connection) => connection.nudge(),
        }
    }

    /// Gives it the window of a link, once an edge knows who is on it.
    pub fn admit(&self) {
        match &self.0 {
            Over::Quic(connection) => connection.admit(),
        }
    }

    /// From now on the peer may have so many streams open.
    pub fn allow_streams(&self, streams: u32) {
        match &self.0 {
            Over::Quic(connection) => connection.allow_streams(streams),
        }
    }

    /// How it has fared so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        match &self.0 {
            Over::Quic(connection) => connection.counters(),
        }
    }

    /// What the peer asked for when it shook hands (ALPN).
    #[must_use]
    pub fn purpose(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Over::Quic(connection) => connection.purpose(),
        }
    }

    /// What the peer showed when it shook hands: its own certificate first.
    #[must_use]
    pub fn certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        match &self.0 {
            Over::Quic(connection) => connection.certificates(),
        }
    }

    /// Smoothed round trip.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        match &self.0 {
            Over::Quic(connection) => connection.rtt(),
        }
    }

    /// Where the peer is now; it may move.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        match &self.0 {
            Over::Quic(connection) => connection.remote_address(),
        }
    }

    /// Ends it at once, with a code and words for the peer's log. What was ended before stays as it is.
    pub fn close(&self, code: CloseCode, words: &str) {
        match &self.0 {
            Over::Quic(connection) => connection.close(code, words),
        }
    }

    /// Waits for its end. Dropping it loses nothing.
    pub fn closed(&self) -> impl Future<Output = Lost> {
        match &self.0 {
            Over::Quic(connection) => connection.closed(),
        }
    }

    /// True if nothing can come over it any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match &self.0 {
            Over::Quic(connection) => connection.is_over(),
        }
    }
}
