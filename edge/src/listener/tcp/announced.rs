//! Connections of load balancers in front, which say by the PROXY protocol whose they are, before anything else.

use std::{io, net::SocketAddr, time::Duration};

use bytes::{BufMut, BytesMut};
use net::Socket;
use protocol::proxy::{self, Ends, Header, Read};
use tokio::time;
use tracing::debug;

use crate::{
    listener::{shared::Shared, state::ListenerState},
    metrics::RefusedFlow,
};

/// How long the header may take.
const HEADER_WAIT: Duration = Duration::from_secs(5);

/// A connection that has come in, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::listener) struct Known {
    /// Whose it is. Where it was for, or where it has come in if nobody has said.
    pub(in crate::listener) ends: Ends,
    /// Where it was for, if a header has said so.
    pub(in crate::listener) destination: Option<SocketAddr>,
}

impl Known {
    /// Of which a header has said this.
    fn announced(ends: Ends) -> Self {
        let Ends { destination, .. } = ends;
        let destination = SocketAddr::new(destination.ip().to_canonical(), destination.port());
        Self { ends, destination: Some(destination) }
    }

    /// Of which no header has said anything.
    pub(in crate::listener) fn unannounced(ends: Ends) -> Self {
        Self { ends, destination: None }
    }
}

/// Whose the connection is, by its header; none if that did not come, which has been told then.
pub(in crate::listener) async fn known(
    arrived: (&Shared, &ListenerState),
    client: &Socket,
    ends: Ends,
) -> Option<Known> {
    let (shared, state) = arrived;
    let reading = async {
        let read = time::timeout(HEADER_WAIT, read_header(client)).await;
        read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    };
    let header = tokio::select! {
        header = reading => header,
        () = shared.cut.cancelled() => return None,
        // It has asked for nothing yet: nobody waits for it.
        () = state.closed() => return None,
    };
    match header {
        Ok(Header::Local) => Some(Known::unannounced(ends)),
        Ok(Header::Client(ends)) => Some(Known::announced(ends)),
        Err(error) => {
            let listener = state.listener();
            debug!(listener = %listener.name, proxy = %ends.source, %error, "no PROXY header");
            shared.metrics.refused_flow(&listener.name, RefusedFlow::ProxyHeader);
            None
        }
    }
}

/// Takes the header and not a byte behind it.
async fn read_header(client: &Socket) -> io::Result<Header> {
    let mut bytes = BytesMut::new();
    loop {
        let more = match proxy::read(&bytes).map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))? {
            Read::Whole(header) => return Ok(header),
            Read::More(more) => more,
        };
        bytes.reserve(more);
        match client.try_read(&mut (&mut bytes).limit(more)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => client.readable().await?,
            Err(error) => return Err(error),
        }
    }
}
