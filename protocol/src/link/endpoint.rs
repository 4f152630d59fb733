//! Where links begin: an edge is dialled at its [`Endpoint`], a connector dials from its [`Outbound`]. Both come to be in the room
//! of what carries them.
//!
//! Whom to let in, how long to wait and whom to dial is decided elsewhere.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use rustls::ClientConfig;

use super::{Connection, Lost, transport::quic};
use crate::error::CloseCode;

/// Where an edge is dialled; clones are the same.
#[derive(Debug, Clone)]
pub struct Endpoint(pub(super) EndpointOver);

#[derive(Debug, Clone)]
pub(super) enum EndpointOver {
    Quic(quic::Endpoint),
}

/// Somebody who asks to come in, and of whom nothing is known but an address. Dropped, it is refused.
#[derive(Debug)]
pub struct Incoming(IncomingOver);

#[derive(Debug)]
enum IncomingOver {
    Quic(quic::Incoming),
}

/// Two who shake hands. Dropped, it is given up.
#[derive(Debug)]
pub struct Handshake(HandshakeOver);

#[derive(Debug)]
enum HandshakeOver {
    Quic(quic::Handshake),
}

/// Where a connector dials from; clones are the same.
#[derive(Debug, Clone)]
pub struct Outbound(pub(super) OutboundOver);

#[derive(Debug, Clone)]
pub(super) enum OutboundOver {
    Quic(quic::Outbound),
}

/// What a connector shows and whom it trusts, ready for as many dials as it takes.
#[derive(Debug, Clone)]
pub struct Credentials(CredentialsOver);

#[derive(Debug, Clone)]
enum CredentialsOver {
    Quic(quic::Credentials),
}

/// Why an address cannot be dialled at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undialled(UndialledOver);

#[derive(Debug, Clone, PartialEq, Eq)]
enum UndialledOver {
    Quic(quic::Undialled),
}

impl fmt::Display for Undialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            UndialledOver::Quic(undialled) => undialled.fmt(f),
        }
    }
}

impl std::error::Error for Undialled {}

impl Endpoint {
    /// Where it listens.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            EndpointOver::Quic(endpoint) => endpoint.local_address(),
        }
    }

    /// The next who asks to come in; none if its own task is gone. Dropping it loses nobody.
    pub async fn accept(&self) -> Option<Incoming> {
        match &self.0 {
            EndpointOver::Quic(endpoint) => Some(Incoming(IncomingOver::Quic(endpoint.accept().await?))),
        }
    }

    /// Ends all its connections, and waits until their peers have been told.
    pub async fn end(&self, code: CloseCode, words: &str) {
        match &self.0 {
            EndpointOver::Quic(endpoint) => endpoint.end(code, words).await,
        }
    }
}

impl Incoming {
    /// Where it comes from, as it says.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        match &self.0 {
            IncomingOver::Quic(incoming) => incoming.remote_address(),
        }
    }

    /// True if it has shown that it receives what is sent there, or cannot be asked to.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        match &self.0 {
            IncomingOver::Quic(incoming) => incoming.is_proven(),
        }
    }

    /// Has it come again, with a proof that it receives what is sent to its address. Nothing is kept of it meanwhile.
    pub fn ask_for_proof(self) {
        match self.0 {
            IncomingOver::Quic(incoming) => incoming.ask_for_proof(),
        }
    }

    /// Turns it away, with a word.
    pub fn refuse(self) {
        match self.0 {
            IncomingOver::Quic(incoming) => incoming.refuse(),
        }
    }

    /// Begins to shake hands, which is most of the work.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn accept(self) -> Result<Handshake, Lost> {
        match self.0 {
            IncomingOver::Quic(incoming) => Ok(Handshake(HandshakeOver::Quic(incoming.accept()?))),
        }
    }
}

impl Handshake {
    /// Waits until both know whom they deal with.
    ///
    /// # Errors
    /// [`Lost`], with its cause.
    pub async fn done(self) -> Result<Connection, Lost> {
        match self.0 {
            HandshakeOver::Quic(handshake) => handshake.done().await,
        }
    }
}

impl Credentials {
    /// Those of these settings.
    ///
    /// # Panics
    /// If the settings lack a cipher suite that their transport begins with (QUIC: AES-128-GCM).
    #[must_use]
    pub fn new(tls: Arc<ClientConfig>) -> Self {
        Self(CredentialsOver::Quic(quic::Credentials::new(tls)))
    }
}

impl Outbound {
    /// Begins to shake hands with whoever answers at this address, and must prove to have this name.
    ///
    /// # Errors
    /// [`Undialled`].
    pub fn dial(
        &self,
        address: SocketAddr,
        name: &str,
        Credentials(credentials): Credentials,
    ) -> Result<Handshake, Undialled> {
        match (&self.0, credentials) {
            (OutboundOver::Quic(outbound), CredentialsOver::Quic(credentials)) => {
                let dialled = outbound.dial(address, name, credentials);
                dialled
                    .map(|handshake| Handshake(HandshakeOver::Quic(handshake)))
                    .map_err(|undialled| Undialled(UndialledOver::Quic(undialled)))
            }
        }
    }
}
