//! One direction of what follows a change of protocol, carried to its end.

use std::pin::pin;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::listener::http::message::frames::{Frames, GOING_AWAY};

/// Room for each direction.
const BUFFER: usize = 16 * 1024;

/// Which end of a direction broke.
#[derive(Debug, Clone, Copy)]
pub(super) enum Broken {
    Read,
    Write,
}

impl Broken {
    pub(super) fn of<T>(self, reader: T, writer: T) -> T {
        match self {
            Self::Read => reader,
            Self::Write => writer,
        }
    }
}

/// Carries one direction to its end.
pub(super) async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    (mut bytes, count): (BytesMut, impl Fn(u64)),
) -> Result<(), Broken> {
    loop {
        if !bytes.is_empty() {
            to.write_all(&bytes).await.map_err(|_| Broken::Write)?;
            to.flush().await.map_err(|_| Broken::Write)?;
            count(bytes.len() as u64);
        }
        bytes.clear();
        bytes.reserve(BUFFER);
        if from.read_buf(&mut bytes).await.map_err(|_| Broken::Read)? == 0 {
            return Ok(());
        }
    }
}

/// The same for frames to a client, which is told that the edge goes away once that is so: behind the frame under way. What comes
/// after that is for nobody.
pub(super) async fn copy_until(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    (mut bytes, count): (BytesMut, impl Fn(u64)),
    going: impl Future<Output = ()>,
) -> Result<(), Broken> {
    let (mut frames, mut going, mut is_going) = (Frames::default(), pin!(going), false);
    loop {
        if !bytes.is_empty() {
            to.write_all(&bytes).await.map_err(|_| Broken::Write)?;
            to.flush().await.map_err(|_| Broken::Write)?;
            frames.follow(&bytes);
            count(bytes.len() as u64);
        }
        bytes.clear();
        if is_going && frames.is_between() {
            to.write_all(&GOING_AWAY).await.map_err(|_| Broken::Write)?;
            to.flush().await.map_err(|_| Broken::Write)?;
            return copy(from, &mut tokio::io::sink(), (bytes, drop)).await;
        }
        bytes.reserve(BUFFER);
        let read = tokio::select! {
            // However much the origin says, the edge is heard.
            biased;
            () = &mut going, if !is_going => {
                is_going = true;
                continue;
            }
            read = from.read_buf(&mut bytes) => read.map_err(|_| Broken::Read)?,
        };
        if read == 0 {
            return Ok(());
        }
        if is_going {
            bytes.truncate(frames.rest(&bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::io::duplex;
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// A frame with a payload of five bytes.
    const FRAME: &[u8] = b"\x81\x05hello";

    #[tokio::test]
    async fn a_client_is_told_behind_the_frame_under_way() {
        let ((mut origin, mut from), (mut to, mut client)) = (duplex(1024), duplex(1024));
        let going = CancellationToken::new();
        let copying = copy_until(&mut from, &mut to, (BytesMut::new(), drop), going.cancelled());
        let peers = async {
            let mut got = [0; 10];
            origin.write_all(&FRAME[..3]).await.expect("open");
            client.read_exact(&mut got[..3]).await.expect("open");
            going.cancel();
            origin.write_all(&[&FRAME[3..], FRAME].concat()).await.expect("open");
            client.read_exact(&mut got[..8]).await.expect("open");
            assert_eq!(got[..8], [&FRAME[3..], &GOING_AWAY].concat());
            drop(origin);
        };
        let (copied, ()) = tokio::join!(copying, peers);
        copied.expect("the origin has ended");
        drop(to);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("open");
        assert_eq!(rest, b"", "nothing stands behind the Close");
    }

    #[tokio::test]
    async fn a_client_that_waits_is_told_at_once() {
        let ((origin, mut from), (mut to, mut client)) = (duplex(1024), duplex(1024));
        let copying = copy_until(&mut from, &mut to, (BytesMut::new(), drop), ready(()));
        let peers = async {
            let mut got = [0; 4];
            client.read_exact(&mut got).await.expect("open");
            assert_eq!(got, GOING_AWAY);
            drop(origin);
        };
        tokio::join!(copying, peers).0.expect("the origin has ended");
    }
}
