//! At which stage of a flow's way a reason is met, and what to do about it. Pure.

use protocol::error::Reason;

/// No load balancer's pool has an origin that can take it.
pub(super) const NO_PLACE: &str =
    "look at the pools with `underpass status --unhealthy`, and at what is passed over with `underpass explain`";

/// The stage of an opening at which a refusal with this reason is met: a connector resolves, then permits, then dials.
pub(super) fn stage(reason: Reason) -> &'static str {
    match reason {
        Reason::NoRoute
        | Reason::TunnelDown
        | Reason::LinkLost
        | Reason::ConnectorOverloaded
        | Reason::IcmpNotPermitted => "open",
        Reason::DnsFailed => "resolve",
        Reason::PolicyDenied => "permit",
        Reason::ConnectRefused
        | Reason::ConnectTimeout
        | Reason::NetworkUnreachable
        | Reason::ConnectionReset
        | Reason::IcmpTimeout
        | Reason::UdpNoAnswer
        | Reason::PassiveFailures => "dial",
        Reason::TlsUntrusted | Reason::TlsNameMismatch | Reason::TlsHandshake => "tls",
        Reason::HttpTimeout | Reason::HttpInvalid | Reason::CodeMismatch | Reason::BodyMismatch => "first_byte",
    }
}

/// What to do where the listener itself does not take it.
pub(super) fn of_listener(stage: &str) -> &'static str {
    if stage == "accept" {
        "take the drain back with `underpass undrain`, or raise `max_connections`"
    } else {
        "the edge answers such a request itself: ask otherwise, or change what the listener takes"
    }
}

/// What to do about it.
pub(super) fn of(reason: Reason) -> &'static str {
    match reason {
        Reason::NoRoute => {
            "no connector claims this address in its VNet: add the route to one, and to its grant at the edge"
        }
        Reason::TunnelDown => {
            "no link of the connectors that lead there is up: look at them with `underpass connector list`"
        }
        Reason::LinkLost => "the link broke meanwhile: look at the connector's log, and at the network between both",
        Reason::PolicyDenied => "the connector does not permit this target: look at its routes and its [allow]",
        Reason::ConnectRefused => "nothing listens there: look whether the origin runs, and at its address and port",
        Reason::ConnectTimeout => "nobody answers there: look for a firewall before the origin, and at its address",
        Reason::NetworkUnreachable => "there is no way to this address: look at the routes of the host that dials",
        Reason::ConnectionReset => "the origin accepts and then resets: look at its log",
        Reason::TlsUntrusted => "give the pool the origin's authority (`tls = { ca = … }`)",
        Reason::TlsNameMismatch => "give the pool the name in the origin's certificate (`tls = { server_name = … }`)",
        Reason::TlsHandshake => "look whether the origin speaks TLS on this port, and at its log",
        Reason::HttpTimeout => {
            "the origin takes connections and does not answer: look at its load, or raise `response_timeout`"
        }
        Reason::HttpInvalid => "the origin does not answer in HTTP: look at its port and at the pool's `upstream`",
        Reason::DnsFailed => {
            "the name cannot be resolved where it is dialled: look at the name, and at the name servers of that host"
        }
        Reason::ConnectorOverloaded => {
            "the connector has run out of files or ports: raise its limits, or run another replica"
        }
        Reason::CodeMismatch
        | Reason::BodyMismatch
        | Reason::UdpNoAnswer
        | Reason::IcmpTimeout
        | Reason::IcmpNotPermitted
        | Reason::PassiveFailures => {
            "the monitor finds the origin ill: `underpass status --unhealthy` says at which stage"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_stage_and_advice() {
        for reason in Reason::ALL.iter().copied() {
            assert!(!stage(reason).is_empty() && of(reason).len() > 20, "{reason:?}");
        }
        assert_eq!(stage(Reason::PolicyDenied), "permit");
        assert_eq!(stage(Reason::DnsFailed), "resolve");
    }
}
