//! Connections of load balancers in front, which say by the PROXY protocol whose they are, before anything else.

use std::{io, net::SocketAddr, time::Duration};

use bytes::{BufMut, BytesMut};
use net::Socket;
use protocol::proxy::{self, Ends, Header, Read};
use tokio::time;
use tracing::debug;

use super::accept::{self, Arrived};
use crate::{metrics::RefusedFlow, model::Listener};

/// How long the header may take.
const HEADER_WAIT: Duration = Duration::from_secs(5);

/// Whether a connection from there has to begin with a header; from elsewhere, none is looked for.
pub(super) fn must_be(listener: &Listener, source: SocketAddr) -> bool {
    let ip = source.ip().to_canonical();
    listener.proxies.iter().any(|network| network.contains(ip))
}

/// Reads the header, then serves the connection for whom it names.
pub(super) async fn begin(arrived: Arrived, client: Socket, ends: Ends) {
    let (cut, state) = (arrived.shared.cut.clone(), arrived.state.clone());
    let reading = async {
        let read = time::timeout(HEADER_WAIT, read_header(&client)).await;
        read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    };
    let header = tokio::select! {
        header = reading => header,
        () = cut.cancelled() => return client.abort(),
        // It has asked for nothing yet: nobody waits for it.
        () = state.closed() => return client.abort(),
    };
    match header {
        Ok(Header::Local) => accept::begin(arrived, client, ends),
        Ok(Header::Client(ends)) => accept::begin(arrived, client, ends),
        Err(error) => {
            let listener = arrived.state.listener();
            debug!(listener = %listener.name, proxy = %ends.source, %error, "no PROXY header");
            arrived.shared.metrics.refused_flow(&listener.name, RefusedFlow::ProxyHeader);
            client.abort();
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
