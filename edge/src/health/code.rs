//! The code under which a reason is looked up. Pure.

use api::code::Code;
use protocol::error::Reason;

/// The code of a reason: its number on the wire, behind 300.
#[must_use]
pub fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::NoRoute => Code::NoRoute,
        Reason::TunnelDown => Code::TunnelDown,
        Reason::LinkLost => Code::PathLost,
        Reason::PolicyDenied => Code::PolicyDenied,
        Reason::ConnectRefused => Code::ConnectRefused,
        Reason::ConnectTimeout => Code::ConnectTimeout,
        Reason::NetworkUnreachable => Code::NetworkUnreachable,
        Reason::ConnectionReset => Code::ConnectionReset,
        Reason::TlsUntrusted => Code::TlsUntrusted,
        Reason::TlsNameMismatch => Code::TlsNameMismatch,
        Reason::TlsHandshake => Code::TlsHandshake,
        Reason::HttpTimeout => Code::HttpTimeout,
        Reason::HttpInvalid => Code::HttpInvalid,
        Reason::CodeMismatch => Code::CodeMismatch,
        Reason::BodyMismatch => Code::BodyMismatch,
        Reason::UdpNoAnswer => Code::UdpNoAnswer,
        Reason::IcmpTimeout => Code::IcmpTimeout,
        Reason::DnsFailed => Code::DnsFailed,
        Reason::PassiveFailures => Code::PassiveFailures,
        Reason::ConnectorOverloaded => Code::ConnectorOverloaded,
        Reason::IcmpNotPermitted => Code::IcmpNotPermitted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_reason_is_its_number_behind_300() {
        for reason in Reason::ALL {
            assert_eq!(code_of(*reason).as_str(), format!("UP-{}", 300 + reason.to_wire()), "{reason}");
        }
    }
}
