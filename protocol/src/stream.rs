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
    limits::{DIAL_WAIT_MAX, SESSION_IDLE_MAX, TEXT_MAX},
};

const TCP: u8 = 2;
const UDP: u8 = 3;
const PING: u8 = 4;
const CONNECTED: u8 = 1;
const REFUSED: u8 = 2;

/// Priority of control streams over flows (a higher one goes first).
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
struct WireOpenUdp {
    vnet: String,
    host: WireHost,
    port: u16,
    wait_ms: u32,
    idle_ms: u32,
    session: u32,
}

#[derive(SchemaRead, SchemaWrite)]
struct WireOpenPing {
    vnet: String,
    host: WireHost,
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

/// A request to open a UDP session: after the reply, payloads go as datagrams, and those too large for one on the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUdp {
    /// The VNet the target lives in.
    pub vnet: Name,
    /// Where to.
    pub target: Target,
    /// How long the connector may take to find the target; at most [`DIAL_WAIT_MAX`].
    pub wait: Duration,
    /// Silence in both directions after which the edge ends the session; at most [`SESSION_IDLE_MAX`].
    pub idle: Duration,
    /// What its datagrams bear; unique among the live sessions of the link.
    pub session: u32,
}

/// A request to ask a host for an ICMP echo: the reply says how long the answer took, and ends the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPing {
    /// The VNet the host lives in.
    pub vnet: Name,
    /// Whom to ask.
    pub host: Host,
    /// How long an answer may take; at most [`DIAL_WAIT_MAX`].
    pub wait: Duration,
}

/// First thing on a stream that an edge opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    /// Dial a TCP target and splice.
    Tcp(OpenTcp),
    /// Carry a UDP session.
    Udp(OpenUdp),
    /// Ask a host for an ICMP echo.
    Ping(OpenPing),
}

impl Open {
    /// The whole header frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Tcp(OpenTcp { vnet, target, wait }) => {
                let (host, port) = (wire_host(&target.host), target.port);
                let wait_ms = millis(*wait, DIAL_WAIT_MAX);
                codec::header_frame(TCP, &WireOpenTcp { vnet: vnet.to_string(), host, port, wait_ms })
            }
            Self::Udp(OpenUdp { vnet, target, wait, idle, session }) => {
                let (host, port) = (wire_host(&target.host), target.port);
                let (wait_ms, idle_ms) = (millis(*wait, DIAL_WAIT_MAX), millis(*idle, SESSION_IDLE_MAX));
                let vnet = vnet.to_string();
                codec::header_frame(UDP, &WireOpenUdp { vnet, host, port, wait_ms, idle_ms, session: *session })
            }
            Self::Ping(OpenPing { vnet, host, wait }) => {
                let (host, wait_ms) = (wire_host(host), millis(*wait, DIAL_WAIT_MAX));
                codec::header_frame(PING, &WireOpenPing { vnet: vnet.to_string(), host, wait_ms })
            }
        }
    }

    /// Reads the body of a header frame of this kind.
    ///
    /// # Errors
    /// [`DecodeError`] for an unknown kind, a malformed body, or a value out of bounds.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let code = u16::from(kind);
        match kind {
            TCP => {
                let WireOpenTcp { vnet, host, port, wait_ms } = codec::decode(code, body)?;
                let (vnet, target) = target(code, &vnet, host, port)?;
                Ok(Self::Tcp(OpenTcp { vnet, target, wait: duration(wait_ms, DIAL_WAIT_MAX) }))
            }
            UDP => {
                let WireOpenUdp { vnet, host, port, wait_ms, idle_ms, session } = codec::decode(code, body)?;
                let (vnet, target) = target(code, &vnet, host, port)?;
                let (wait, idle) = (duration(wait_ms, DIAL_WAIT_MAX), duration(idle_ms, SESSION_IDLE_MAX));
                Ok(Self::Udp(OpenUdp { vnet, target, wait, idle, session }))
            }
            PING => {
                let WireOpenPing { vnet, host, wait_ms } = codec::decode(code, body)?;
                let (vnet, host) = place(code, &vnet, host)?;
                Ok(Self::Ping(OpenPing { vnet, host, wait: duration(wait_ms, DIAL_WAIT_MAX) }))
            }
            _ => Err(DecodeError::UnknownKind(code)),
        }
    }
}

fn wire_host(host: &Host) -> WireHost {
    match host {
        Host::Ip(IpAddr::V4(ip)) => WireHost::V4(ip.octets()),
        Host::Ip(IpAddr::V6(ip)) => WireHost::V6(ip.octets()),
        Host::Name(name) => WireHost::Name(name.clone()),
    }
}

fn target(kind: u16, vnet: &str, host: WireHost, port: u16) -> Result<(Name, Target), DecodeError> {
    let (vnet, host) = place(kind, vnet, host)?;
    if port == 0 {
        return Err(DecodeError::OutOfBounds { kind, what: "port 0" });
    }
    Ok((vnet, Target { host, port }))
}

fn place(kind: u16, vnet: &str, host: WireHost) -> Result<(Name, Host), DecodeError> {
    let wrong = |what| DecodeError::OutOfBounds { kind, what };
    let vnet = vnet.parse().map_err(|_| wrong("not a VNet name"))?;
    let host = match host {
        WireHost::V4(octets) => Host::Ip(IpAddr::from(octets)),
        WireHost::V6(octets) => Host::Ip(IpAddr::from(octets)),
        WireHost::Name(name) => Host::name(&name).map_err(|_| wrong("not a host name"))?,
    };
    Ok((vnet, host))
}

fn millis(duration: Duration, max: Duration) -> u32 {
    u32::try_from(duration.min(max).as_millis()).expect("a month of milliseconds fits")
}

fn duration(millis: u32, max: Duration) -> Duration {
    Duration::from_millis(u64::from(millis)).min(max)
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
