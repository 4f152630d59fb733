//! What a connector does with the streams that edges open: permit, dial, carry. It parses nothing that it carries.

mod ping;
mod policy;
mod rulings;
mod tcp;
mod udp;

pub use net::{Racer, Resolver};
pub use policy::{Denied, Host, Permit, Policy, Rules};
pub use rulings::{Ruling, Rulings};

use std::{sync::Arc, time::Duration};

use net::Network;
use protocol::{
    error::StreamCode, limits::HEADER_WAIT, link::Connection, sparing::Sparing, splice::Stream, stream::Open,
    switch::Switch, windows::Windows, wire,
};
use tokio::time;
use tracing::debug;

use crate::metrics::Metrics;

/// Everything a stream needs to be served.
#[derive(Debug)]
pub struct Service {
    /// Where dials go out.
    pub network: Arc<dyn Network>,
    /// What may be dialled.
    pub rulings: Rulings,
    /// Names, inside the private network.
    pub resolver: Resolver,
    /// Which of a name's addresses is dialled first.
    pub racer: Racer,
    /// What is counted.
    pub metrics: Metrics,
    /// How often edges asked for what is not permitted.
    pub denials: Sparing,
}

/// What the streams of one link share.
#[derive(Debug)]
pub struct LinkSide {
    /// The link.
    pub connection: Connection,
    /// What flows may have on their way.
    pub windows: Arc<Windows>,
    /// Where datagrams go.
    pub switch: Arc<Switch>,
}

/// Serves one stream until it has ended.
pub async fn serve(service: Arc<Service>, mut stream: Stream, link: Arc<LinkSide>) {
    let header = match time::timeout(HEADER_WAIT, wire::read_open(&mut stream.recv)).await {
        Ok(Ok(header)) => header,
        Ok(Err(error)) => {
            debug!(%error, "stream without a readable header");
            return stream.cut(StreamCode::BadHeader);
        }
        Err(_) => return stream.cut(StreamCode::BadHeader),
    };
    match header {
        Open::Tcp(open) => tcp::serve(&service, open, stream, &link.windows).await,
        Open::Udp(open) => udp::serve(&service, open, stream, &link).await,
        Open::Ping(open) => ping::serve(&service, open, stream).await,
    }
}

/// Milliseconds, for logs.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
