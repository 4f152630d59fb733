//! Codes that cross the wire: why a link closed, why a stream ended, why something was refused. Numbers are never reused.

use std::{fmt, io};

use net::PingError;

/// Why a link was closed: the application code of a QUIC CONNECTION_CLOSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CloseCode {
    /// Nothing more to say.
    Done = 0,
    /// A malformed, oversized or out-of-order message.
    Protocol = 1,
    /// No common version.
    Version = 2,
    /// No certificate, or one that does not serve for this.
    Unauthorised = 3,
    /// The name or its certificate was revoked.
    Revoked = 4,
    /// The edge grants this name nothing (any more).
    NoGrant = 5,
    /// The same replica registered again.
    Superseded = 6,
    /// The link left packets unanswered for too long.
    Dead = 7,
    /// The peer is shutting down.
    Shutdown = 8,
    /// A bound was reached; try again later.
    Overloaded = 9,
    /// The certificate ran out while the link was up.
    Expired = 10,
}

impl CloseCode {
    const ALL: [Self; 11] = [
        Self::Done,
        Self::Protocol,
        Self::Version,
        Self::Unauthorised,
        Self::Revoked,
        Self::NoGrant,
        Self::Superseded,
        Self::Dead,
        Self::Shutdown,
        Self::Overloaded,
        Self::Expired,
    ];

    /// The code with this number, if it is one of ours.
    #[must_use]
    pub fn from_wire(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|code| u64::from(*code as u32) == number)
    }

    /// The word for logs, metrics and status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Protocol => "protocol_error",
            Self::Version => "version",
            Self::Unauthorised => "unauthorised",
            Self::Revoked => "revoked",
            Self::NoGrant => "no_grant",
            Self::Superseded => "superseded",
            Self::Dead => "dead",
            Self::Shutdown => "shutdown",
            Self::Overloaded => "overloaded",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why one direction of a stream was cut: the code of a STOP_SENDING or RESET_STREAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum StreamCode {
    /// The connection behind the stream was reset: deliver what you have, then close hard.
    Reset = 1,
    /// The reader took nothing while the link's window ran short.
    Stalled = 2,
    /// The opener no longer waits for the reply.
    Cancelled = 3,
    /// The header could not be read.
    BadHeader = 4,
    /// The origin's host or network says that nobody is there to take a UDP session's payloads.
    Unreachable = 5,
}

impl StreamCode {
    /// The code with this number; what is unknown counts as a reset.
    #[must_use]
    pub fn from_wire(number: u64) -> Self {
        match number {
            2 => Self::Stalled,
            3 => Self::Cancelled,
            4 => Self::BadHeader,
            5 => Self::Unreachable,
            _ => Self::Reset,
        }
    }
}

/// What failed, and so what another try is to leave alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Culprit {
    /// The tunnel, before anything got to the origin: nothing is known of that.
    Tunnel,
    /// Something on one path: another path to the same origin may do.
    Path,
    /// The origin itself, which gives the same answer over every path.
    Origin,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal, $culprit:ident;)*) => {
        /// Why a path, a probe or an open failed. A closed set, the same on the wire, in status, logs and metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Reason { $($(#[$doc])* $name = $number,)* }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The snake_case word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What failed.
            #[must_use]
            pub fn culprit(self) -> Culprit {
                match self { $(Self::$name => Culprit::$culprit,)* }
            }

            /// The number on the wire.
            #[must_use]
            pub fn to_wire(self) -> u16 {
                self as u16
            }

            /// The reason with this number, if this build knows it.
            #[must_use]
            pub fn from_wire(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// No route of the VNet covers the address.
    NoRoute = 1, "no_route", Tunnel;
    /// A route covers it, but no link that serves it is up.
    TunnelDown = 2, "tunnel_down", Tunnel;
    /// The link died while the answer was awaited.
    LinkLost = 3, "link_lost", Tunnel;
    /// The connector does not permit the target.
    PolicyDenied = 4, "policy_denied", Path;
    /// The origin refused the connection.
    ConnectRefused = 5, "connect_refused", Origin;
    /// The origin, or the tunnel, did not answer in time.
    ConnectTimeout = 6, "connect_timeout", Path;
    /// The connector has no way to the address.
    NetworkUnreachable = 7, "network_unreachable", Path;
    /// The origin reset the connection.
    ConnectionReset = 8, "connection_reset", Origin;
    /// The origin's certificate is not trusted.
    TlsUntrusted = 9, "tls_untrusted", Origin;
    /// The origin's certificate names another host.
    TlsNameMismatch = 10, "tls_name_mismatch", Origin;
    /// The TLS handshake failed otherwise.
    TlsHandshake = 11, "tls_handshake", Path;
    /// Connected, but no HTTP answer in time.
    HttpTimeout = 12, "http_timeout", Path;
    /// The answer is not HTTP.
    HttpInvalid = 13, "http_invalid", Path;
    /// The HTTP status is not an expected one.
    CodeMismatch = 14, "code_mismatch", Path;
    /// The expected text is not in the body.
    BodyMismatch = 15, "body_mismatch", Path;
    /// No answer to a UDP probe.
    UdpNoAnswer = 16, "udp_no_answer", Path;
    /// No answer to an ICMP echo.
    IcmpTimeout = 17, "icmp_timeout", Path;
    /// The name could not be resolved.
    DnsFailed = 18, "dns_failed", Path;
    /// Live traffic failed to connect too often.
    PassiveFailures = 19, "passive_failures", Path;
    /// The connector itself ran out of something (descriptors, ports).
    ConnectorOverloaded = 20, "connector_overloaded", Path;
    /// Whoever was to ask by ICMP cannot: its system gives it no socket for that, or it knows no ICMP.
    IcmpNotPermitted = 21, "icmp_not_permitted", Path;
}

impl Reason {
    /// Whether it may pass within seconds and without anybody's doing: links are dialled again.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::TunnelDown | Self::LinkLost)
    }

    /// How far along the way it got: the stage that failed.
    #[must_use]
    pub fn stage(self) -> &'static str {
        match self {
            Self::NoRoute => "route",
            Self::TunnelDown | Self::LinkLost => "tunnel",
            Self::PolicyDenied => "permit",
            Self::DnsFailed => "resolve",
            Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::NetworkUnreachable
            | Self::PassiveFailures
            | Self::ConnectorOverloaded => "connect",
            Self::TlsUntrusted | Self::TlsNameMismatch | Self::TlsHandshake => "tls",
            Self::ConnectionReset
            | Self::HttpTimeout
            | Self::HttpInvalid
            | Self::CodeMismatch
            | Self::BodyMismatch
            | Self::UdpNoAnswer
            | Self::IcmpTimeout
            | Self::IcmpNotPermitted => "answer",
        }
    }

    /// Whether an answer was waited for in vain.
    #[must_use]
    pub fn is_timeout(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::HttpTimeout | Self::UdpNoAnswer | Self::IcmpTimeout)
    }

    /// Why a TCP dial failed, by the system's error.
    #[must_use]
    pub fn of_dial(error: &io::Error) -> Self {
        // EMFILE and ENFILE have no stable kind of their own.
        if matches!(error.raw_os_error(), Some(23 | 24)) {
            return Self::ConnectorOverloaded;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "the system's errors are many, and most mean no way there")]
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectRefused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::ConnectionReset,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => Self::ConnectorOverloaded,
            _ => Self::NetworkUnreachable,
        }
    }
}

impl Reason {
    /// Why an echo request could not be sent, or told that there is no way.
    #[must_use]
    pub fn of_ping(error: &PingError) -> Self {
        match error {
            PingError::NotPermitted => Self::IcmpNotPermitted,
            PingError::Failed(error) if Self::of_dial(error) == Self::ConnectorOverloaded => Self::ConnectorOverloaded,
            PingError::Failed(_) => Self::NetworkUnreachable,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back_from_their_numbers() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_wire(reason.to_wire()), Some(*reason));
        }
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_wire(u64::from(code as u32)), Some(code));
        }
        assert_eq!(Reason::from_wire(0), None);
        assert_eq!(CloseCode::from_wire(999), None);
    }
    #[test]
    fn a_refusal_of_the_origin_rules_out_all_its_paths_and_a_lost_link_one() {
        assert_eq!(
            (Reason::ConnectRefused.culprit(), Reason::TlsUntrusted.culprit()),
            (Culprit::Origin, Culprit::Origin)
        );
        assert_eq!(Reason::LinkLost.culprit(), Culprit::Tunnel);
        assert_eq!(Reason::PolicyDenied.culprit(), Culprit::Path, "another connector may permit it");
        assert!(
            Reason::ALL.iter().filter(|reason| reason.may_pass()).all(|reason| reason.culprit() == Culprit::Tunnel)
        );
    }
}
