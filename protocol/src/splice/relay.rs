//! The splice without a tunnel: between two sockets, for origins that an edge reaches directly.

use std::{
    io::{self, IoSlice},
    pin::pin,
};

use bytes::{Buf, Bytes};
use net::Socket;
use tokio::{select, time};

use super::{Carried, Ended, Manner, arena::read_next, progress::Progress};
use crate::limits::LAST_BYTES_WAIT;

/// How one direction came to its end.
#[derive(Clone, Copy)]
enum End {
    Finished,
    Read,
    Write,
}

/// Which socket a direction reads from.
#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

/// Carries between two sockets, without a tunnel: the first is local, the second remote. Ends as [`super::splice`] does.
pub async fn relay(local: Socket, remote: Socket, manner: Manner) -> Carried {
    let progress = Progress::new(manner.count.clone());
    let mut ends = Ends(Some((local, remote)));
    let (local, remote) = ends.0.as_ref().expect("taken only below");
    local.close_hard();
    remote.close_hard();
    let ended = carry(local, remote, manner, &progress).await;
    let (local, remote) = ends.0.take().expect("taken only here");
    match ended {
        Ended::Finished => {
            local.close_softly();
            remote.close_softly();
        }
        Ended::LocalReset => remote.abort_when_sent(LAST_BYTES_WAIT).await,
        Ended::RemoteReset => local.abort_when_sent(LAST_BYTES_WAIT).await,
        Ended::Stalled | Ended::LinkLost | Ended::Idle => {
            local.abort();
            remote.abort();
        }
    }
    progress.carried(ended)
}

/// Both sides of a relay that has not come to its end.
struct Ends(Option<(Socket, Socket)>);

impl Drop for Ends {
    fn drop(&mut self) {
        let Some((local, remote)) = self.0.take() else { return };
        local.abort();
        remote.abort();
    }
}

async fn carry(
    local: &Socket,
    remote: &Socket,
    Manner { first, idle, source: _, sent: _, count: _ }: Manner,
    progress: &Progress,
) -> Ended {
    let mut up = pin!(copy(local, remote, first, |bytes| progress.add_sent(bytes)));
    let mut down = pin!(copy(remote, local, Bytes::new(), |bytes| progress.add_received(bytes)));
    let mut idle = pin!(progress.idle(idle));
    let (mut up_open, mut down_open) = (true, true);
    while up_open || down_open {
        let (way, end) = select! {
            end = &mut up, if up_open => { up_open = false; (Direction::Up, end) }
            end = &mut down, if down_open => { down_open = false; (Direction::Down, end) }
            () = local.broken(), if !up_open => return Ended::LocalReset,
            () = remote.broken(), if !down_open => return Ended::RemoteReset,
            () = &mut idle => return Ended::Idle,
        };
        match (way, end) {
            (Direction::Up, End::Finished) => remote.shutdown_write(),
            (Direction::Down, End::Finished) => local.shutdown_write(),
            (Direction::Up, End::Read) => return Ended::LocalReset,
            (Direction::Down, End::Read) => return Ended::RemoteReset,
            // What the broken side sent before may still wait in the kernel.
            (Direction::Up, End::Write) => {
                if down_open {
                    let _ = time::timeout(LAST_BYTES_WAIT, &mut down).await;
                }
                return Ended::RemoteReset;
            }
            (Direction::Down, End::Write) => {
                if up_open {
                    let _ = time::timeout(LAST_BYTES_WAIT, &mut up).await;
                }
                return Ended::LocalReset;
            }
        }
    }
    Ended::Finished
}

/// One direction between two sockets.
async fn copy(from: &Socket, to: &Socket, first: Bytes, count: impl Fn(usize)) -> End {
    let mut bytes = first;
    loop {
        while !bytes.is_empty() {
            match to.try_write(&[IoSlice::new(&bytes)]) {
                Ok(written) => {
                    count(written);
                    bytes.advance(written);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => match writable_while_wanted(from, to).await {
                    Ok(true) => {}
                    Ok(false) => return End::Read,
                    Err(_) => return End::Write,
                },
                Err(_) => return End::Write,
            }
        }
        match read_next(from).await {
            Ok(read) if read.is_empty() => return End::Finished,
            Ok(read) => bytes = read,
            Err(_) => return End::Read,
        }
    }
}

/// Waits for room. If the source is reset meanwhile, waits a last while only: false.
async fn writable_while_wanted(from: &Socket, to: &Socket) -> io::Result<bool> {
    let mut writable = pin!(to.writable());
    select! {
        biased;
        ready = &mut writable => return ready.map(|()| true),
        () = from.broken() => {}
    }
    match time::timeout(LAST_BYTES_WAIT, writable).await {
        Ok(ready) => ready.map(|()| true),
        Err(_) => Ok(false),
    }
}
