//! One echo request: permit, ask the host, reply. Nothing is carried.

use std::{net::SocketAddr, time::Duration};

use protocol::{
    error::{Reason, StreamCode},
    id::{Name, Target},
    splice::Stream,
    stream::{OpenPing, Reply},
};
use tokio::time;
use tracing::debug;

use super::{
    Service,
    tcp::{Permitted, Refused, permitted, refuse},
};
use crate::config::NO_PORT;

pub(super) async fn serve(service: &Service, open: OpenPing, mut stream: Stream) {
    let OpenPing { vnet, host, wait } = open;
    let target = Target { host, port: NO_PORT };
    let late = || Refused { reason: Reason::IcmpTimeout, text: "no answer in time".to_owned() };
    let asked = tokio::select! {
        asked = time::timeout(wait, ask(service, &vnet, &target, wait)) => asked.unwrap_or_else(|_| Err(late())),
        // The edge no longer waits.
        _ = stream.send.stopped() => return stream.cut(StreamCode::Cancelled),
    };
    match asked {
        Ok(took) => {
            debug!(%vnet, host = ?target.host, us = took.as_micros(), "a host answered an echo request");
            if stream.send.write_chunk(Reply::Connected { connect: took }.encode()).await.is_ok() {
                let _ = stream.send.finish();
                let _ = stream.send.stopped().await;
            }
        }
        Err(refused) => refuse(service, (None, &vnet, &target), stream, refused).await,
    }
}

/// Permits and asks; of several permitted addresses the first that answers.
async fn ask(service: &Service, vnet: &Name, target: &Target, wait: Duration) -> Result<Duration, Refused> {
    let Permitted { addresses, .. } = permitted(service, (vnet, target), wait).await?;
    let ips = addresses.iter().map(SocketAddr::ip).collect();
    let asked = service.racer.race(ips, wait, |ip| service.network.ping(ip)).await;
    asked.map_err(|last| match last {
        Some((ip, error)) => Refused { reason: Reason::of_ping(&error), text: format!("{ip}: {error}") },
        None => Refused { reason: Reason::DnsFailed, text: "the name has no address".to_owned() },
    })
}
