//! QUIC's endpoints: an edge's, which proves addresses by Retry and answers what belongs to links of its process before with a
//! stateless reset; and a connector's.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use aws_lc_rs::hmac;
use quinn::{
    AsyncUdpSocket, ClientConfig, ConnectError, Connecting, EndpointConfig, ServerConfig, TokioRuntime, VarInt,
};

use super::{
    generation::Generation,
    settings::{allow_large_packets, client_crypto, link_transport, server_crypto},
};
use crate::{
    error::CloseCode,
    link::{self, EndpointOver, Lost, OutboundOver, Side},
};

/// What an edge's endpoint is made of.
pub struct Listening<'a> {
    /// What it receives from and sends to.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// Makes the tokens of stateless resets.
    pub reset: &'a [u8],
    /// Marks connection IDs as this edge's.
    pub connection_id: u64,
    /// And as those of this process, of all that have this socket.
    pub generation: u8,
    /// What it shows, and whom it lets in.
    pub tls: Arc<rustls::ServerConfig>,
}

impl fmt::Debug for Listening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// An edge's endpoint. Its task is on the runtime that this is called on.
///
/// # Errors
/// The kernel's.
///
/// # Panics
/// If the TLS settings lack AES-128-GCM, which QUIC's first packets are sealed with.
pub fn listen(
    Listening { socket, reset, connection_id, generation, tls }: Listening<'_>,
) -> io::Result<link::Endpoint> {
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset)));
    config.cid_generator(move || Box::new(Generation::new(generation, connection_id)));
    allow_large_packets(&mut config);
    let mut server = ServerConfig::with_crypto(server_crypto(tls));
    server.transport_config(link_transport(Side::Edge));
    let endpoint = quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, Arc::new(TokioRuntime))?;
    Ok(link::Endpoint(EndpointOver::Quic(Endpoint(endpoint))))
}

/// A connector's endpoint. Its task is on the runtime that this is called on.
///
/// # Errors
/// The kernel's.
pub fn outbound(socket: Arc<dyn AsyncUdpSocket>) -> io::Result<link::Outbound> {
    let mut config = EndpointConfig::default();
    allow_large_packets(&mut config);
    let endpoint = quinn::Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(TokioRuntime))?;
    Ok(link::Outbound(OutboundOver::Quic(Outbound(endpoint))))
}

#[derive(Debug, Clone)]
pub(in crate::link) struct Endpoint(quinn::Endpoint);

#[derive(Debug)]
pub(in crate::link) struct Incoming(quinn::Incoming);

#[derive(Debug)]
pub(in crate::link) struct Handshake(Connecting);

#[derive(Debug, Clone)]
pub(in crate::link) struct Outbound(quinn::Endpoint);

#[derive(Debug, Clone)]
pub(in crate::link) struct Credentials(ClientConfig);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::link) struct Undialled(ConnectError);

impl fmt::Display for Undialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Endpoint {
    pub(in crate::link) fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(in crate::link) async fn accept(&self) -> Option<Incoming> {
        self.0.accept().await.map(Incoming)
    }

    pub(in crate::link) async fn end(&self, code: CloseCode, words: &str) {
        self.0.close(VarInt::from_u32(code as u32), words.as_bytes());
        self.0.wait_idle().await;
    }
}

impl Incoming {
    pub(in crate::link) fn remote_address(&self) -> SocketAddr {
        self.0.remote_address()
    }

    pub(in crate::link) fn is_proven(&self) -> bool {
        self.0.remote_address_validated() || !self.0.may_retry()
    }

    pub(in crate::link) fn ask_for_proof(self) {
        // One that has proven itself is refused: it is dropped.
        let _ = self.0.retry();
    }

    pub(in crate::link) fn refuse(self) {
        self.0.refuse();
    }

    pub(in crate::link) fn accept(self) -> Result<Handshake, Lost> {
        Ok(Handshake(self.0.accept()?))
    }
}

impl Handshake {
    pub(in crate::link) async fn done(self) -> Result<link::Connection, Lost> {
        Ok(self.0.await?.into())
    }
}

impl Credentials {
    pub(in crate::link) fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        let mut config = ClientConfig::new(client_crypto(tls));
        config.transport_config(link_transport(Side::Connector));
        Self(config)
    }
}

impl Outbound {
    pub(in crate::link) fn dial(
        &self,
        address: SocketAddr,
        name: &str,
        Credentials(config): Credentials,
    ) -> Result<Handshake, Undialled> {
        self.0.connect_with(config, address, name).map(Handshake).map_err(Undialled)
    }
}
