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
    model::Listener,
};

/// How long the header may take.
const HEADER_WAIT: Duration = Duration::from_secs(5);

/// Whether a connection from there has to begin with a header; from elsewhere, none is looked for.
pub(in crate::listener) fn must_be(listener: &Listener, source: SocketAddr) -> bool {
    let ip = source.ip().to_canonical();
    listener.proxies.iter().any(|network| network.contains(ip))
}

/// For whom the connection is, by its header; none if that did not come, which has been told then.
pub(in crate::listener) async fn ends(arrived: (&Shared, &ListenerState), client: &Socket, ends: Ends) -> Option<Ends> {
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
        Ok(Header::Local) => Some(ends),
        Ok(Header::Client(ends)) => Some(ends),
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
