//! Streams an edge opens over a link: a header that says where it is to lead, then the client's bytes; a reply, then the
//! origin's bytes.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

use crate::{
    codec::{self, DecodeError},
    control::RefusedOpen,
    error::Reason,
    id::{Host, Name, Target},
    limits::{DIAL_WAIT_MAX, TEXT_MAX},
};

const TCP: u8 = 2;
const CONNECTED: u8 = 1;
const REFUSED: u8 = 2;

/// Priority of control streams over flows (quinn: higher goes first).
pub const PRIORITY_CONTROL: i32 = 2;
/// Priority of probes over flows.
pub const PRIORITY_PROBE: i32 = 1;

#[derive(SchemaRead, SchemaWrite)]
enum WireHost {
    V4([u8; 4]),
    V6([u8; 16]),
    Name(String),
}

#[derive(SchemaRead, SchemaWrite)]
struct WireOpenTcp {
    vnet: String,
    host: WireHost,
    port: u16,
    wait_ms: u32,
}

#[derive(SchemaRead, SchemaWrite)]
struct WireConnected {
    connect_us: u32,
}

/// A request to dial a TCP target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTcp {
    /// The VNet the target lives in.
    pub vnet: Name,
    /// Where to.
    pub target: Target,
    /// How long the connector may take to connect; at most [`DIAL_WAIT_MAX`].
    pub wait: Duration,
}

/// First thing on a stream that an edge opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    /// Dial a TCP target and splice.
    Tcp(OpenTcp),
}

impl Open {
    /// The whole header frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self::Tcp(open) = self;
        let host = match &open.target.host {
            Host::Ip(IpAddr::V4(ip)) => WireHost::V4(ip.octets()),
            Host::Ip(IpAddr::V6(ip)) => WireHost::V6(ip.octets()),
            Host::Name(name) => WireHost::Name(name.clone()),
        };
        let wait_ms = u32::try_from(open.wait.min(DIAL_WAIT_MAX).as_millis()).expect("a minute fits");
        codec::header_frame(TCP, &WireOpenTcp { vnet: open.vnet.to_string(), host, port: open.target.port, wait_ms })
    }

    /// Reads the body of a header frame of this kind.
    ///
    /// # Errors
    /// [`DecodeError`] for an unknown kind, a malformed body, or a value out of bounds.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let code = u16::from(kind);
        if kind != TCP {
            return Err(DecodeError::UnknownKind(code));
        }
        let wire: WireOpenTcp = codec::decode(code, body)?;
        let wrong = |what| DecodeError::OutOfBounds { kind: code, what };
        let vnet = wire.vnet.parse().map_err(|_| wrong("not a VNet name"))?;
        let host = match wire.host {
            WireHost::V4(octets) => Host::Ip(IpAddr::from(octets)),
            WireHost::V6(octets) => Host::Ip(IpAddr::from(octets)),
            WireHost::Name(name) => Host::name(&name).map_err(|_| wrong("not a host name"))?,
        };
        if wire.port == 0 {
            return Err(wrong("port 0"));
        }
        let wait = Duration::from_millis(u64::from(wire.wait_ms)).min(DIAL_WAIT_MAX);
        Ok(Self::Tcp(OpenTcp { vnet, target: Target { host, port: wire.port }, wait }))
    }
}

/// The connector's answer to an [`Open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The target accepted; bytes follow.
    Connected {
        /// How long the connector's dial took.
        connect: Duration,
    },
    /// Nothing was delivered, and nothing will be.
    Refused {
        /// Why.
        reason: Reason,
        /// The same for people, with addresses.
        text: String,
    },
}

impl Reply {
    /// The whole reply frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Connected { connect } => {
                let connect_us = u32::try_from(connect.as_micros()).unwrap_or(u32::MAX);
                codec::header_frame(CONNECTED, &WireConnected { connect_us })
            }
            Self::Refused { reason, text } => codec::header_frame(REFUSED, &RefusedOpen::new(*reason, text)),
        }
    }

    /// Reads the body of a reply frame of this kind.
    ///
    /// # Errors
    /// [`DecodeError`] for an unknown kind, a malformed body, or a text out of bounds.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let code = u16::from(kind);
        match kind {
            CONNECTED => {
                let wire: WireConnected = codec::decode(code, body)?;
                Ok(Self::Connected { connect: Duration::from_micros(u64::from(wire.connect_us)) })
            }
            REFUSED => {
                let wire: RefusedOpen = codec::decode(code, body)?;
                // A newer connector may know more reasons; whatever it is, nothing was delivered.
                let reason = Reason::from_wire(wire.reason).unwrap_or(Reason::NetworkUnreachable);
                if wire.text.len() > TEXT_MAX || wire.text.chars().any(char::is_control) {
                    let what = "a text has at most 256 bytes and no control character";
                    return Err(DecodeError::OutOfBounds { kind: code, what });
                }
                Ok(Self::Refused { reason, text: wire.text })
            }
            other => Err(DecodeError::UnknownKind(u16::from(other))),
        }
    }
}

#[cfg(test)]
mod tests;
