//! ICMP echoes: asked of whoever would dial the origin, the connector behind a link or the edge itself.

use std::time::Duration;

use protocol::{
    error::{Reason, StreamCode},
    stream::{self, OpenPing},
};
use tokio::time;

use super::{Carrier, Failure, First, Offramp, Opening, open_over, refused};
use crate::model::{Origin, Via};

impl Offramp {
    /// Has an origin's host asked for an ICMP echo; gives the time that its answer took, where it was asked.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn ping(&self, opening: Opening<'_>) -> Result<Duration, Failure> {
        match (opening.via, &opening.origin.vnet) {
            (Via::Link(id), Some(vnet)) => {
                let (vnet, host) = (vnet.clone(), opening.origin.address.host.clone());
                let header = stream::Open::Ping(OpenPing { vnet, host, wait: opening.wait });
                let opened = open_over(self.link(id)?, opening, &header, &mut First::none()).await;
                let opened = opened.map_err(|failure| match failure {
                    // It cut the stream and goes on: a connector that knows no such header.
                    Failure::Unanswered(Reason::ConnectionReset) => {
                        refused(Reason::IcmpNotPermitted, "the connector knows no ICMP")
                    }
                    other @ (Failure::Refused(..) | Failure::Unanswered(_) | Failure::ClientGone) => other,
                })?;
                if let Carrier::Tunnel(mut stream, ..) = opened.carrier {
                    stream.cut(StreamCode::Cancelled);
                }
                Ok(opened.connect)
            }
            (Via::Direct, None) => {
                let asked = time::timeout(opening.wait, self.ask_any(opening.origin, opening.wait)).await;
                asked.unwrap_or_else(|_| Err(refused(Reason::IcmpTimeout, "no answer in time")))
            }
            (Via::Link(_), None) | (Via::Direct, Some(_)) => Err(refused(Reason::NoRoute, "the origin has moved")),
        }
    }

    /// Of several addresses, the first that answers.
    async fn ask_any(&self, origin: &Origin, wait: Duration) -> Result<Duration, Failure> {
        let addresses = self.addresses(&origin.address.host, wait).await?;
        let asked = self.racer.race(addresses, wait, |ip| self.network.ping(ip)).await;
        asked.map_err(|last| match last {
            Some((ip, error)) => Failure::Refused(Reason::of_ping(&error), format!("{ip}: {error}")),
            None => refused(Reason::DnsFailed, "the name has no address"),
        })
    }
}
