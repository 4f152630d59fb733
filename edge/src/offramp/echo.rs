//! ICMP echoes: asked of whoever would dial the origin, the connector behind a link or the edge itself.

use std::{sync::Arc, time::Duration};

use net::Network;
use protocol::{
    error::{Reason, StreamCode},
    stream::{self, OpenPing},
};
use tokio::time;

use super::{
    Failure, Offramp, Opening, Over, refused,
    reply::{Alone, open_over},
};

impl Offramp {
    /// Has an origin's host asked for an ICMP echo; gives the time that its answer took, where it was asked.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn ping(&self, opening: Opening<'_>) -> Result<Duration, Failure> {
        let (link, vnet) = match opening.over()? {
            Over::Network(network) => {
                let asked = time::timeout(opening.wait, self.ask_any(network, opening)).await;
                return asked.unwrap_or_else(|_| Err(refused(Reason::IcmpTimeout, "no answer in time")));
            }
            Over::Link(link, vnet) => (link, vnet.clone()),
        };
        let host = opening.origin.address.host.clone();
        let header = stream::Open::Ping(OpenPing { vnet, host, wait: opening.wait });
        let accepted = open_over(link, opening, &header, &mut Alone).await;
        let mut accepted = accepted.map_err(|failure| match failure {
            // It cut the stream and goes on: a connector that knows no such header.
            Failure::Unanswered(Reason::ConnectionReset) => {
                refused(Reason::IcmpNotPermitted, "the connector knows no ICMP")
            }
            other @ (Failure::Refused(..) | Failure::Unanswered(_) | Failure::ClientGone) => other,
        })?;
        accepted.stream.cut(StreamCode::Cancelled);
        Ok(accepted.connect)
    }

    /// Of several addresses, the first that answers.
    async fn ask_any(&self, network: &Arc<dyn Network>, opening: Opening<'_>) -> Result<Duration, Failure> {
        let addresses = self.addresses(&opening.origin.address.host, opening.wait).await?;
        let asked = self.racer.race(addresses, opening.wait, |ip| network.ping(ip)).await;
        asked.map_err(|last| match last {
            Some((ip, error)) => Failure::Refused(Reason::of_ping(&error), format!("{ip}: {error}")),
            None => refused(Reason::DnsFailed, "the name has no address"),
        })
    }
}
