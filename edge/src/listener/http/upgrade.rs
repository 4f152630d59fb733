//! After a change of protocol: both connections, carried byte for byte until both have ended.

use std::sync::Arc;

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{
    Connection,
    guard::{Guard, UnderWay},
    record::Record,
    serve::ClientIo,
};
use crate::{model::Held, offramp::Wire};

/// Room for each direction.
const BUFFER: usize = 32 * 1024;

/// Carries until both sides have ended, one breaks, or the edge is cut.
pub(super) async fn carry(
    connection: Arc<Connection>,
    client: OnUpgrade,
    origin: OnUpgrade,
    (mut record, held, _under_way): (Record, Held, UnderWay),
) {
    let both = async { tokio::try_join!(client, origin) };
    let (client, origin) = tokio::select! {
        both = both => match both {
            Ok(both) => both,
            Err(_) => return,
        },
        () = connection.shared.cut.cancelled() => return,
    };
    let (Some((mut client, from_client)), Some((mut origin, from_origin))) = (client_side(client), origin_side(origin))
    else {
        return;
    };
    let carrying = async {
        origin.write_all(&from_client).await?;
        client.write_all(&from_origin).await?;
        copy(&mut client, &mut origin).await
    };
    tokio::select! {
        carried = carrying => {
            if let Ok((up, down)) = carried {
                record.up.fetch_add(up, std::sync::atomic::Ordering::Relaxed);
                record.down = down;
            } else {
                record.reason = Some("connection_reset");
            }
            record.finished = record.reason.is_none();
        }
        () = connection.shared.cut.cancelled() => record.reason = Some("cut"),
    }
    drop(held);
}

async fn copy(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    origin: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> std::io::Result<(u64, u64)> {
    tokio::io::copy_bidirectional_with_sizes(client, origin, BUFFER, BUFFER).await
}

/// The client's connection, no longer held back, and what was read of it already.
fn client_side(upgraded: Upgraded) -> Option<(Guard<ClientIo>, BytesMut)> {
    let parts = upgraded.downcast::<TokioIo<Guard<ClientIo>>>().ok()?;
    let mut guard = parts.io.into_inner();
    guard.release();
    Some((guard, parts.read_buf.into()))
}

fn origin_side(upgraded: Upgraded) -> Option<(Wire, BytesMut)> {
    let parts = upgraded.downcast::<TokioIo<Wire>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf.into()))
}
