//! Control messages: registration, renewal, goodbye, enrolment. Shapes are frozen once released; new information is a
//! new kind.

mod bounds;
mod refusal;

use std::fmt;

use bytes::Bytes;
use ipnetwork::IpNetwork;
use wincode::{SchemaRead, SchemaWrite};

pub use self::refusal::{Refusal, RefusalCode};

use self::bounds::Bounded;
use crate::{
    codec::{self, DecodeError, OPTIONAL},
    error::Reason,
    id::Name,
    limits::TEXT_MAX,
};

const HELLO: u16 = 1;
const WELCOME: u16 = 2;
const REFUSED: u16 = 3;
const GOODBYE: u16 = 4;
const RENEW: u16 = 5;
const RENEWED: u16 = 6;
const WINDOWS: u16 = 7;
const CLAIMS: u16 = 8;
const JUDGED: u16 = 9;
const SUCCESSOR: u16 = 10;
const ENROL: u16 = 16;
const ENROLLED: u16 = 17;

/// A route a connector claims, as it crosses the wire: the VNet's name and the CIDR in text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, SchemaRead, SchemaWrite)]
pub struct RouteClaim {
    /// VNet.
    pub vnet: String,
    /// `ADDRESS/PREFIX`.
    pub cidr: String,
}

impl RouteClaim {
    /// The claim's names, checked.
    ///
    /// # Errors
    /// What is wrong with it, in words fit for `refused_routes`.
    pub fn parse(&self) -> Result<(Name, IpNetwork), &'static str> {
        let vnet = self.vnet.parse().map_err(|_| "not a VNet name")?;
        let cidr: IpNetwork = self.cidr.parse().map_err(|_| "not a CIDR")?;
        if cidr.network() != cidr.ip() {
            return Err("has bits set behind its prefix");
        }
        Ok((vnet, cidr))
    }
}

/// A claim the edge did not accept.
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct RefusedRoute {
    /// What was claimed.
    pub route: RouteClaim,
    /// Why not.
    pub reason: String,
}

/// First message of a link, from the connector.
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Hello {
    /// Oldest protocol version it speaks.
    pub version_min: u16,
    /// Newest protocol version it speaks.
    pub version_max: u16,
    /// Product version, for people. At most [`TEXT_MAX`] bytes.
    pub software: String,
    /// Random number of the replica's process: links of another run of the same replica are superseded at once.
    pub run: u64,
    /// A number that no other link of the replica to this edge has, below twice `links`. A stand-in for a link has another
    /// one than the link it stands in for, so that both live side by side.
    pub slot: u16,
    /// How many links the replica keeps to each edge.
    pub links: u16,
    /// What it asks to serve. At most [`crate::limits::ROUTES_MAX`].
    pub routes: Vec<RouteClaim>,
}

/// The edge's answer to a [`Hello`] it accepts.
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Welcome {
    /// The version both speak.
    pub version: u16,
    /// The edge's name.
    pub edge: String,
    /// The link's number at the edge.
    pub link: u64,
    /// What the link may serve.
    pub accepted: Vec<RouteClaim>,
    /// What it may not, and why. Not all of it if that is too long for a frame: see [`Welcome::fitting`].
    pub refused: Vec<RefusedRoute>,
}

/// The sender places nothing new on this link and will close it when what it carries has ended.
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Goodbye {
    /// How long it waits for flows to end, milliseconds.
    pub grace_ms: u32,
}

/// A request to renew the certificate of the link's own identity.
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Renew {
    /// A PKCS#10 request in DER. Only its public key is used.
    pub csr: Vec<u8>,
}

/// A certificate: the answer to [`Renew`].
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Renewed {
    /// The certificate in DER.
    pub certificate: Vec<u8>,
}

/// A request to redeem a join token. Sent on [`crate::version::ALPN_ENROL`] only.
#[derive(Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Enrol {
    /// Which token: its public number.
    pub token: [u8; 16],
    /// Its secret.
    pub secret: [u8; 32],
    /// The replica's own name for itself.
    pub replica: String,
    /// A PKCS#10 request in DER. Only its public key is used.
    pub csr: Vec<u8>,
}

impl fmt::Debug for Enrol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrol").field("replica", &self.replica).field("secret", &"***").finish_non_exhaustive()
    }
}

/// The first certificate: the answer to [`Enrol`].
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Enrolled {
    /// The connector's name.
    pub connector: String,
    /// The certificate in DER.
    pub certificate: Vec<u8>,
    /// The fleet's CA certificate in DER.
    pub ca: Vec<u8>,
}

/// How much of a flow its reader allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct FlowWindow {
    /// Number of the flow's stream: how many the edge had opened before it.
    pub stream: u64,
    /// Bytes its writer may have sent in all, header and reply not counted.
    pub limit: u64,
}

/// Readers of flows have taken something, and allow their writers more. Needs [`crate::version::VERSION_WINDOWS`].
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Windows {
    /// At most [`crate::limits::WINDOWS_MAX`]; those of flows that have ended are ignored.
    pub windows: Vec<FlowWindow>,
}

/// What a replica claims from now on, over a link that is up: all of it, in place of what it claimed before. Needs
/// [`crate::version::VERSION_CLAIMS`]; the next is sent only after the answer to this one.
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Claims {
    /// How many links the replica keeps to each edge.
    pub links: u16,
    /// What it asks to serve. At most [`crate::limits::ROUTES_MAX`].
    pub routes: Vec<RouteClaim>,
}

/// The edge's answer to [`Claims`], which are in force when it is sent.
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Judged {
    /// What the link may serve.
    pub accepted: Vec<RouteClaim>,
    /// What it may not, and why. Not all of it if that is too long for a frame: see [`Judged::fitting`].
    pub refused: Vec<RefusedRoute>,
}

/// Another process of this edge is to take over: a link to it is wanted beside this one, which goes on until the edge says goodbye. Or
/// it has failed, and no other link is wanted. Needs [`crate::version::VERSION_SUCCESSOR`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Successor {
    /// Whether there is one.
    pub is_coming: bool,
}

/// Any control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Registration.
    Hello(Hello),
    /// Registration accepted.
    Welcome(Welcome),
    /// Registration, renewal or enrolment refused.
    Refused(Refusal),
    /// No new work on this link.
    Goodbye(Goodbye),
    /// Certificate renewal asked.
    Renew(Renew),
    /// Certificate renewal granted.
    Renewed(Renewed),
    /// More of some flows.
    Windows(Windows),
    /// Other routes than before.
    Claims(Claims),
    /// What became of them.
    Judged(Judged),
    /// Another process of this edge takes over.
    Successor(Successor),
    /// Enrolment asked.
    Enrol(Enrol),
    /// Enrolment granted.
    Enrolled(Enrolled),
    /// A kind this build does not know and may ignore.
    Ignored(u16),
}

impl Message {
    /// The kind's name, for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Welcome(_) => "welcome",
            Self::Refused(_) => "refused",
            Self::Goodbye(_) => "goodbye",
            Self::Renew(_) => "renew",
            Self::Renewed(_) => "renewed",
            Self::Windows(_) => "windows",
            Self::Claims(_) => "claims",
            Self::Judged(_) => "judged",
            Self::Successor(_) => "successor",
            Self::Enrol(_) => "enrol",
            Self::Enrolled(_) => "enrolled",
            Self::Ignored(_) => "optional",
        }
    }

    /// The whole frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Hello(m) => codec::control_frame(HELLO, m),
            Self::Welcome(m) => codec::control_frame(WELCOME, m),
            Self::Refused(m) => codec::control_frame(REFUSED, m),
            Self::Goodbye(m) => codec::control_frame(GOODBYE, m),
            Self::Renew(m) => codec::control_frame(RENEW, m),
            Self::Renewed(m) => codec::control_frame(RENEWED, m),
            Self::Windows(m) => codec::control_frame(WINDOWS, m),
            Self::Claims(m) => codec::control_frame(CLAIMS, m),
            Self::Judged(m) => codec::control_frame(JUDGED, m),
            Self::Successor(m) => codec::control_frame(SUCCESSOR, m),
            Self::Enrol(m) => codec::control_frame(ENROL, m),
            Self::Enrolled(m) => codec::control_frame(ENROLLED, m),
            Self::Ignored(kind) => codec::control_frame(*kind, &()),
        }
    }

    /// Reads the body of a frame of this kind.
    ///
    /// # Errors
    /// [`DecodeError`] for an unknown kind that may not be ignored, a body that is not of its kind's shape or has bytes
    /// left over, and values out of bounds.
    pub fn decode(kind: u16, body: &[u8]) -> Result<Self, DecodeError> {
        match kind {
            HELLO => read(kind, body).map(Self::Hello),
            WELCOME => read(kind, body).map(Self::Welcome),
            REFUSED => read(kind, body).map(Self::Refused),
            GOODBYE => read(kind, body).map(Self::Goodbye),
            RENEW => read(kind, body).map(Self::Renew),
            RENEWED => read(kind, body).map(Self::Renewed),
            WINDOWS => read(kind, body).map(Self::Windows),
            CLAIMS => read(kind, body).map(Self::Claims),
            JUDGED => read(kind, body).map(Self::Judged),
            SUCCESSOR => read(kind, body).map(Self::Successor),
            ENROL => read(kind, body).map(Self::Enrol),
            ENROLLED => read(kind, body).map(Self::Enrolled),
            other if other & OPTIONAL != 0 => Ok(Self::Ignored(other)),
            other => Err(DecodeError::UnknownKind(other)),
        }
    }
}

fn read<'de, T>(kind: u16, body: &'de [u8]) -> Result<T, DecodeError>
where
    T: Bounded + codec::Body<'de>,
{
    let message: T = codec::decode(kind, body)?;
    match message.broken() {
        Some(what) => Err(DecodeError::OutOfBounds { kind, what }),
        None => Ok(message),
    }
}

/// A refusal of one stream, as it crosses the wire.
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub(crate) struct RefusedOpen {
    pub(crate) reason: u16,
    pub(crate) text: String,
}

impl RefusedOpen {
    pub(crate) fn new(reason: Reason, text: &str) -> Self {
        Self { reason: reason.to_wire(), text: cut(text) }
    }
}

/// What a receiver accepts: not too long, and on one line.
pub(crate) fn cut(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .scan(0, |used, c| {
            *used += c.len_utf8();
            (*used <= TEXT_MAX).then_some(c)
        })
        .collect()
}

#[cfg(test)]
mod tests;
