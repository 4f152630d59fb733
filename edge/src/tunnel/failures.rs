//! Handshakes that came to nothing: counted by cause, and told in words, within bounds.

use std::{net::SocketAddr, time::Instant};

use protocol::{handshake::Cause, link::Lost, sparing::Sparing};
use tracing::{debug, info, warn};

use crate::metrics::Metrics;

/// Where failed handshakes are counted and told.
#[derive(Debug)]
pub(super) struct Failures {
    metrics: Metrics,
    told: Sparing,
}

impl Failures {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, told: Sparing::default() }
    }

    /// A handshake took too long.
    pub(super) fn late(&self) {
        self.metrics.handshake_failed(Cause::Silence.as_str());
        debug!("handshake took too long");
    }

    /// This edge has too much under way.
    pub(super) fn crowded(&self, remote: SocketAddr) {
        self.metrics.handshake_failed(Cause::Refused.as_str());
        debug!(%remote, "too many handshakes under way: connection refused");
    }

    /// This edge was behind with its work when the connection's turn came.
    pub(super) fn behind(&self) {
        self.metrics.handshake_failed(Cause::Ended.as_str());
        debug!("this edge is behind with its work: connection refused");
    }

    /// A handshake failed. Certificates are somebody's business; what else comes to a public port is mostly nobody's.
    pub(super) fn failed(&self, lost: &Lost) {
        let (cause, why) = (lost.cause(), lost.to_string());
        self.metrics.handshake_failed(cause.as_str());
        match cause {
            Cause::OurCertificate => self.tell(|untold| {
                let look_at = "do all edges of the fleet have the same CA, and all machines the same time?";
                warn!(%cause, why, look_at, untold, "a connector does not accept this edge's certificate");
            }),
            Cause::TheirCertificate => self.tell(|untold| {
                warn!(%cause, why, untold, "a connector's certificate is not accepted");
            }),
            Cause::Protocol => self.tell(|untold| info!(%cause, why, untold, "a handshake failed")),
            Cause::Silence | Cause::Refused | Cause::Ended => debug!(%cause, why, "a handshake failed"),
        }
    }

    fn tell(&self, say: impl FnOnce(u64)) {
        if let Some(untold) = self.told.may_say(Instant::now()) {
            say(untold);
        }
    }
}
