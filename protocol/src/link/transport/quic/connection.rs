//! A connection of QUIC as a link's.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, TryFutureExt};
use quinn::{ConnectionError, SendDatagramError, VarInt, crypto::rustls::HandshakeData};
use rustls::pki_types::CertificateDer;

use super::acks::Acks;
use crate::{
    error::CloseCode,
    limits::LINK_WINDOW,
    link::{self, Counters, DatagramError, Lost},
};

/// A connection of QUIC.
#[derive(Debug, Clone)]
pub(in crate::link) struct Connection(quinn::Connection);

/// Both directions of a stream.
type Stream = (link::SendStream, link::RecvStream);

impl From<quinn::Connection> for link::Connection {
    fn from(connection: quinn::Connection) -> Self {
        Self(link::Over::Quic(Connection(connection)))
    }
}

impl From<SendDatagramError> for DatagramError {
    fn from(error: SendDatagramError) -> Self {
        match error {
            SendDatagramError::TooLarge => Self::TooLarge,
            SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => Self::Untaken,
            SendDatagramError::ConnectionLost(error) => Self::Lost(error.into()),
        }
    }
}

impl Connection {
    pub(in crate::link) fn open_stream(&self) -> impl Future<Output = Result<Stream, Lost>> {
        self.0.open_bi().map(as_ours)
    }

    pub(in crate::link) fn accept_stream(&self) -> impl Future<Output = Result<Stream, Lost>> {
        self.0.accept_bi().map(as_ours)
    }

    pub(in crate::link) fn read_datagram(&self) -> impl Future<Output = Result<Bytes, Lost>> {
        self.0.read_datagram().map_err(Lost::from)
    }

    pub(in crate::link) fn send_datagram(&self, datagram: Bytes) -> Result<(), DatagramError> {
        Ok(self.0.send_datagram(datagram)?)
    }

    pub(in crate::link) fn datagram_room(&self) -> usize {
        self.0.datagram_send_buffer_space()
    }

    pub(in crate::link) fn datagram_max(&self) -> Option<usize> {
        self.0.max_datagram_size()
    }

    /// A datagram without a byte: QUIC itself acknowledges it.
    pub(in crate::link) fn nudge(&self) {
        // Where others wait for room, they are as good; where there is no link any more, none is needed.
        if self.datagram_room() > 0 {
            let _ = self.0.send_datagram(Bytes::new());
        }
    }

    pub(in crate::link) fn admit(&self) {
        self.0.set_receive_window(VarInt::from_u32(LINK_WINDOW));
    }

    pub(in crate::link) fn allow_streams(&self, streams: u32) {
        self.0.set_max_concurrent_bi_streams(VarInt::from_u32(streams));
    }

    /// # Panics
    /// If the connection's transport is not that of a link.
    pub(in crate::link) fn counters(&self) -> Counters {
        let (stats, acks) = (self.0.stats(), Acks::of(&self.0));
        let tx = &stats.frame_tx;
        let demanding = tx.stream
            + tx.ping
            + tx.crypto
            + tx.datagram
            + tx.max_data
            + tx.max_stream_data
            + tx.max_streams_bidi
            + tx.max_streams_uni
            + tx.new_connection_id
            + tx.path_challenge
            + tx.path_response
            + tx.reset_stream
            + tx.retire_connection_id
            + tx.stop_sending;
        Counters {
            demanding: demanding.saturating_sub(stats.path.sent_plpmtud_probes),
            acknowledged: acks.count,
            received: stats.udp_rx.datagrams,
            // A handshake with a busy peer is slow, and the smoothed value of a link without much traffic remembers it for long.
            rtt: acks.slowest().map_or(stats.path.rtt, |slowest| slowest.min(stats.path.rtt)),
        }
    }

    pub(in crate::link) fn purpose(&self) -> Option<Vec<u8>> {
        self.0.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
    }

    pub(in crate::link) fn certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        Some(*self.0.peer_identity()?.downcast().ok()?)
    }

    pub(in crate::link) fn rtt(&self) -> Duration {
        self.0.rtt()
    }

    pub(in crate::link) fn remote_address(&self) -> SocketAddr {
        self.0.remote_address()
    }

    pub(in crate::link) fn close(&self, code: CloseCode, words: &str) {
        self.0.close(VarInt::from_u32(code as u32), words.as_bytes());
    }

    pub(in crate::link) fn closed(&self) -> impl Future<Output = Lost> {
        self.0.closed().map(Lost::from)
    }

    pub(in crate::link) fn is_over(&self) -> bool {
        self.0.close_reason().is_some()
    }
}

fn as_ours(stream: Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>) -> Result<Stream, Lost> {
    let (send, recv) = stream?;
    Ok((send.into(), recv.into()))
}
