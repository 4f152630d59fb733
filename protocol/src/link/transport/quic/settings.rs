//! QUIC transport settings of a link, the same on both sides. Every default of quinn that does not fit a tunnel is set
//! here, with its reason.

use std::{sync::Arc, time::Duration};

use quinn::{
    AckFrequencyConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{ClientConfig, ServerConfig};

use super::acks::CountingConfig;
use crate::{
    limits::{
        CONNECTOR_STREAMS_MAX, IDLE_AFTER, KEEP_ALIVE, LINK_WINDOW, SEND_WINDOW, STRANGER_WINDOW, STREAM_WINDOW,
        STREAMS_FIRST,
    },
    link::Side,
};

/// Largest UDP payload tried by path MTU discovery. quinn sends up to ten packets in one system call, which takes at most
/// 65,507 bytes: beyond 6,500 a full batch is refused and the link crawls.
const UDP_PAYLOAD_MAX: u16 = 6_500;
/// A first guess of the round trip: a lost first packet is sent again after three of these.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Packets that may arrive before the receiver must acknowledge one.
const ACK_EVERY: u32 = 10;
/// Longest an acknowledgement is held back.
const ACK_DELAY_MAX: Duration = Duration::from_millis(5);
/// Bytes of datagrams that may wait on either side.
const DATAGRAM_BUFFER: usize = 4 * 1024 * 1024;

/// The transport settings of a link. On an edge they are those of a stranger's connection until it is admitted.
#[must_use]
pub fn link_transport(side: Side) -> Arc<TransportConfig> {
    let (streams, window) = match side {
        Side::Connector => (STREAMS_FIRST, LINK_WINDOW),
        // Anybody may dial an edge.
        Side::Edge => (CONNECTOR_STREAMS_MAX, STRANGER_WINDOW),
    };
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY)).max_ack_delay(Some(ACK_DELAY_MAX));
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(UDP_PAYLOAD_MAX);

    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(window))
        .send_window(SEND_WINDOW)
        // Fairness packs small pieces of many streams into each packet; whole turns cost far less processor time.
        .send_fairness(false)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE_AFTER).expect("four seconds fit")))
        .congestion_controller_factory(Arc::new(CountingConfig::default()))
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER);
    Arc::new(transport)
}

/// Lets an endpoint receive packets as large as discovery may find room for.
pub(super) fn allow_large_packets(endpoint: &mut EndpointConfig) {
    endpoint.max_udp_payload_size(UDP_PAYLOAD_MAX).expect("6,500 is between 1,200 and 65,527");
}

/// TLS settings of a connector, as QUIC takes them.
///
/// # Panics
/// If they lack AES-128-GCM, which QUIC's first packets are sealed with.
#[must_use]
pub fn client_crypto(tls: Arc<ClientConfig>) -> Arc<QuicClientConfig> {
    Arc::new(QuicClientConfig::try_from(tls).expect("the settings of a tunnel have AES-128-GCM"))
}

/// TLS settings of an edge, as QUIC takes them.
///
/// # Panics
/// If they lack AES-128-GCM, which QUIC's first packets are sealed with.
#[must_use]
pub fn server_crypto(tls: Arc<ServerConfig>) -> Arc<QuicServerConfig> {
    Arc::new(QuicServerConfig::try_from(tls).expect("the settings of a tunnel have AES-128-GCM"))
}
