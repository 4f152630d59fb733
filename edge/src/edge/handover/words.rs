//! What the two processes say.

use std::{io, os::fd::OwnedFd, time::Duration};

use net::handover::{Channel, MESSAGE_MAX, SocketKind};
use serde::{Deserialize, Serialize};
use tokio::time;

use super::HandoverError;

/// Of what the words mean. Processes of different forms do not hand over to each other.
pub(super) const FORM: u16 = 1;

/// One message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// The successor is there.
    Hello { form: u16 },
    /// Sockets of the predecessor's, whose files are beside the message.
    Sockets { generation: u8, sockets: Vec<Described>, is_last: bool },
    /// The predecessor does not hand over.
    Refused { why: String },
    /// The successor reads the tunnel's socket.
    Reading,
    /// Connectors are asked to dial the successor: so many links of each replica.
    Asked { replicas: Vec<Replica> },
    /// The successor can serve.
    Ready,
    /// The predecessor has stopped accepting.
    Yours,
}

/// A socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Described {
    pub(super) kind: Kind,
    pub(super) stays: bool,
    /// Behind the socket itself, of the files beside the message, come ways to the processes that have had it: of these generations.
    pub(super) generations: Vec<u8>,
}

/// What it is for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Tcp,
    Udp,
    Quic,
}

/// The links of one replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Replica {
    pub(super) connector: String,
    pub(super) replica: String,
    pub(super) links: usize,
}

impl From<SocketKind> for Kind {
    fn from(kind: SocketKind) -> Self {
        match kind {
            SocketKind::Tcp => Self::Tcp,
            SocketKind::Udp => Self::Udp,
            SocketKind::Quic => Self::Quic,
        }
    }
}

impl From<Kind> for SocketKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Tcp => Self::Tcp,
            Kind::Udp => Self::Udp,
            Kind::Quic => Self::Quic,
        }
    }
}

impl Word {
    /// Says it, with these files beside.
    pub(super) async fn say(&self, channel: &Channel, files: &[OwnedFd]) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        if text.len() > MESSAGE_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more than a message can carry"));
        }
        channel.say(&text, files).await
    }

    /// The other's next; none if that has ended.
    pub(super) async fn hear(
        channel: &Channel,
        patience: Duration,
    ) -> Result<Option<(Self, Vec<OwnedFd>)>, HandoverError> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let heard = time::timeout(patience, channel.hear()).await.map_err(late)??;
        let Some((text, files)) = heard else { return Ok(None) };
        let word = serde_json::from_slice(&text).map_err(|_| HandoverError::Unexpected)?;
        Ok(Some((word, files)))
    }
}
