//! Streams an edge opens over a link: a header that says where it is to lead, then the client's bytes; a reply, then the
//! origin's bytes.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

use crate::{
    codec::{self, DecodeError},
    control::RefusedOpen,
    error::Reason,
    flow_id::{self, FlowId},
    id::{Host, Name, Target},
    limits::{DIAL_WAIT_MAX, SESSION_IDLE_MAX, TEXT_MAX},
};

const TCP: u8 = 2;
const UDP: u8 = 3;
const PING: u8 = 4;
const TCP_FLOW: u8 = 5;
const UDP_FLOW: u8 = 6;
const CONNECTED: u8 = 1;
const REFUSED: u8 = 2;
const REACHED: u8 = 3;
/// In place of microseconds: there was no such stage.
const NO_STAGE: u32 = u32::MAX;

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
struct WireTcpFlow {
    open: WireOpenTcp,
    flow: [u8; flow_id::LENGTH],
}

#[derive(SchemaRead, SchemaWrite)]
struct WireUdpFlow {
    open: WireOpenUdp,
    flow: [u8; flow_id::LENGTH],
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

#[derive(SchemaRead, SchemaWrite)]
struct WireReached {
    resolve_us: u32,
    permit_us: u32,
    dial_us: u32,
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
    /// Which flow it is for; only over a link of [`VERSION_FLOWS`](crate::version::VERSION_FLOWS), and absent of a probe.
    pub flow: Option<FlowId>,
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
    /// Which flow it is for; only over a link of [`VERSION_FLOWS`](crate::version::VERSION_FLOWS), and absent of a probe.
    pub flow: Option<FlowId>,
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
            Self::Tcp(OpenTcp { vnet, target, wait, flow }) => {
                let (host, port) = (wire_host(&target.host), target.port);
                let wait_ms = millis(*wait, DIAL_WAIT_MAX);
                let open = WireOpenTcp { vnet: vnet.to_string(), host, port, wait_ms };
                match flow {
                    Some(flow) => codec::header_frame(TCP_FLOW, &WireTcpFlow { open, flow: flow.bytes() }),
                    None => codec::header_frame(TCP, &open),
                }
            }
            Self::Udp(OpenUdp { vnet, target, wait, idle, session, flow }) => {
                let (host, port) = (wire_host(&target.host), target.port);
                let (wait_ms, idle_ms) = (millis(*wait, DIAL_WAIT_MAX), millis(*idle, SESSION_IDLE_MAX));
                let vnet = vnet.to_string();
                let open = WireOpenUdp { vnet, host, port, wait_ms, idle_ms, session: *session };
                match flow {
                    Some(flow) => codec::header_frame(UDP_FLOW, &WireUdpFlow { open, flow: flow.bytes() }),
                    None => codec::header_frame(UDP, &open),
                }
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
            TCP => tcp(code, codec::decode(code, body)?, None),
            UDP => udp(code, codec::decode(code, body)?, None),
            TCP_FLOW => {
                let WireTcpFlow { open, flow } = codec::decode(code, body)?;
                tcp(code, open, Some(read_flow(code, flow)?))
            }
            UDP_FLOW => {
                let WireUdpFlow { open, flow } = codec::decode(code, body)?;
                udp(code, open, Some(read_flow(code, flow)?))
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

fn tcp(kind: u16, open: WireOpenTcp, flow: Option<FlowId>) -> Result<Open, DecodeError> {
    let WireOpenTcp { vnet, host, port, wait_ms } = open;
    let (vnet, target) = target(kind, &vnet, host, port)?;
    Ok(Open::Tcp(OpenTcp { vnet, target, wait: duration(wait_ms, DIAL_WAIT_MAX), flow }))
}

fn udp(kind: u16, open: WireOpenUdp, flow: Option<FlowId>) -> Result<Open, DecodeError> {
    let WireOpenUdp { vnet, host, port, wait_ms, idle_ms, session } = open;
    let (vnet, target) = target(kind, &vnet, host, port)?;
    let (wait, idle) = (duration(wait_ms, DIAL_WAIT_MAX), duration(idle_ms, SESSION_IDLE_MAX));
    Ok(Open::Udp(OpenUdp { vnet, target, wait, idle, session, flow }))
}

fn read_flow(kind: u16, bytes: [u8; flow_id::LENGTH]) -> Result<FlowId, DecodeError> {
    FlowId::read(bytes).ok_or(DecodeError::OutOfBounds { kind, what: "flow 0" })
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

/// An hour and more is told as an hour: nothing takes as long.
fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(NO_STAGE).min(NO_STAGE - 1)
}

fn duration(millis: u32, max: Duration) -> Duration {
    Duration::from_millis(u64::from(millis)).min(max)
}

/// How long a connector took for each stage of an opening that went well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// To find the addresses of a name; absent of a target that is an address.
    pub resolve: Option<Duration>,
    /// To find them permitted.
    pub permit: Duration,
    /// Until the target had accepted.
    pub dial: Duration,
}

impl Stages {
    /// How long all of it took.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.resolve.unwrap_or_default() + self.permit + self.dial
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
    /// The same of an open that said which flow it is for.
    Reached(Stages),
    /// Nothing was delivered, and nothing will be.
    Refused {
        /// Why.
        reason: Reason,
        /// The same for people, with addresses.
        text: String,
    },
}

impl Reply {
    /// That the target of an open has accepted, told as this open wants it: one that says no flow is of an edge that may know no stages.
    #[must_use]
    pub fn accepted(flow: Option<FlowId>, stages: Stages) -> Self {
        match flow {
            Some(_) => Self::Reached(stages),
            None => Self::Connected { connect: stages.total() },
        }
    }

    /// The whole reply frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Connected { connect } => {
                let connect_us = u32::try_from(connect.as_micros()).unwrap_or(u32::MAX);
                codec::header_frame(CONNECTED, &WireConnected { connect_us })
            }
            Self::Reached(Stages { resolve, permit, dial }) => {
                let resolve_us = resolve.map_or(NO_STAGE, micros);
                let (permit_us, dial_us) = (micros(*permit), micros(*dial));
                codec::header_frame(REACHED, &WireReached { resolve_us, permit_us, dial_us })
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
            REACHED => {
                let WireReached { resolve_us, permit_us, dial_us } = codec::decode(code, body)?;
                let [resolve, permit, dial] =
                    [resolve_us, permit_us, dial_us].map(|us| Duration::from_micros(us.into()));
                let resolve = (resolve_us != NO_STAGE).then_some(resolve);
                Ok(Self::Reached(Stages { resolve, permit, dial }))
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
