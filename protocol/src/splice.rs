//! Carries bytes between a socket and a stream until both directions have ended. The same code runs on both sides of a
//! link: "local" is the client at an edge and the origin at a connector.
//!
//! Each direction ends alone. A reset crosses as a stop code and the end of data: the far side delivers what it has, then
//! closes hard. A splice that is dropped before its end cuts both sides, so that nobody takes a part for the whole.

mod arena;
mod directions;
mod progress;
mod relay;

use std::{
    future::ready,
    net::{IpAddr, Ipv4Addr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use net::Socket;
use tokio::{select, sync::Notify, time};

pub use arena::{read_next, read_some};
pub use progress::{Count, Totals};
pub use relay::relay;

use self::{
    directions::{CHUNKS, End, Taking, download, upload},
    progress::Progress,
};
use crate::{
    error::StreamCode,
    inflow::Inflow,
    limits::RESET_LEAD,
    link::{RecvStream, SendStream},
    windows::Windows,
};

/// Both halves of a stream of a link.
#[derive(Debug)]
pub struct Stream {
    /// Towards the peer.
    pub send: SendStream,
    /// From the peer.
    pub recv: Inflow,
}

impl Stream {
    /// A stream that was opened or accepted.
    #[must_use]
    pub fn new((send, recv): (SendStream, RecvStream)) -> Self {
        let recv = Inflow::new(recv, &send);
        Self { send, recv }
    }

    /// Its number on its link.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.send.number()
    }

    /// Gives up both directions.
    pub fn cut(&mut self, code: StreamCode) {
        // Either direction may have ended already; then there is nothing left to cut.
        let _ = self.recv.stop(code);
        let _ = self.send.reset(code);
    }
}

/// What a splice carried and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Bytes from the socket to the stream.
    pub sent: u64,
    /// Bytes from the stream to the socket.
    pub received: u64,
    /// Why it is over.
    pub ended: Ended,
}

/// Why a splice is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Both directions came to their end.
    Finished,
    /// The local peer reset its connection.
    LocalReset,
    /// The peer on the other side of the link reset its connection.
    RemoteReset,
    /// The reader on either side took little while what flows hold of the link ran short.
    Stalled,
    /// The link died.
    LinkLost,
    /// Nothing was carried for the idle limit.
    Idle,
}

impl Ended {
    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::LocalReset => "local_reset",
            Self::RemoteReset => "remote_reset",
            Self::Stalled => "stalled",
            Self::LinkLost => "link_lost",
            Self::Idle => "idle",
        }
    }
}

/// How to splice.
#[derive(Debug, Default)]
pub struct Manner {
    /// For whose sake the socket is written to: what nobody takes is counted against them.
    pub source: Option<IpAddr>,
    /// Bytes of the socket that are on the stream already.
    pub sent: u64,
    /// Bytes of the socket that were read already and go first.
    pub first: Bytes,
    /// Close when neither direction carries a byte for this long.
    pub idle: Option<Duration>,
    /// Counts what this flow carries.
    pub count: Count,
}

/// Carries until both directions have ended; closes the socket and the stream as their ends demand.
pub async fn splice(socket: Socket, stream: Stream, windows: &Arc<Windows>, manner: Manner) -> Carried {
    let progress = Progress::new(manner.count.clone());
    let mut ends = Ends(Some((socket, stream)));
    let (socket, stream) = ends.0.as_mut().expect("taken only below");
    socket.close_hard();
    let ended = carry(socket, stream, windows, manner, &progress).await;
    let (socket, mut stream) = ends.0.take().expect("taken only here");
    match ended {
        Ended::Finished => socket.close_softly(),
        Ended::LocalReset => {
            drop(socket);
            tell_reset(&mut stream, lead(windows.rtt())).await;
        }
        // The peer's end of data has been delivered to the socket: once the kernel has sent it, the reset may follow.
        Ended::RemoteReset => socket.abort_when_sent(windows.last_wait()).await,
        Ended::Stalled => {
            stream.cut(StreamCode::Stalled);
            socket.abort();
        }
        Ended::LinkLost | Ended::Idle => {
            stream.cut(StreamCode::Reset);
            socket.abort();
        }
    }
    progress.carried(ended)
}

/// Both sides of a splice that has not come to its end.
struct Ends(Option<(Socket, Stream)>);

impl Drop for Ends {
    fn drop(&mut self) {
        let Some((socket, mut stream)) = self.0.take() else { return };
        stream.cut(StreamCode::Reset);
        socket.abort();
    }
}

async fn carry(
    socket: &Socket,
    stream: &mut Stream,
    windows: &Arc<Windows>,
    Manner { source, sent, first, idle, count: _ }: Manner,
    progress: &Progress,
) -> Ended {
    let (number, last_wait) = (stream.number(), windows.last_wait());
    let unwanted = Arc::new(Notify::new());
    let source = source.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let told = unwanted.clone();
    let taking =
        Taking { reader: windows.reader(number, source, move || told.notify_one()), unwanted: &unwanted, last_wait };
    let mut writer = windows.writer(number, sent);
    let mut up = pin!(upload(socket, (&mut stream.send, &mut writer), first, last_wait, progress));
    let mut down = pin!(download(&mut stream.recv, socket, &taking, progress));
    let mut idle = pin!(progress.idle(idle));
    let (mut up_open, mut down_open, mut end_told, mut reset) = (true, true, false, false);
    while up_open || down_open || !(end_told || reset) {
        // A reset comes as a stop and as the end of data. The stop, told by `up`, must win: an end that has been passed on
        // to the local reader cannot be taken back.
        let end = select! {
            biased;
            end = &mut up, if up_open => { up_open = false; end }
            end = &mut down, if down_open => { down_open = false; end }
            () = ready(()), if !down_open && !end_told && !reset => {
                end_told = true;
                socket.shutdown_write();
                continue;
            }
            // A reset shows on reads; once the local data has ended, only this tells.
            () = socket.broken(), if !up_open && !reset => return Ended::LocalReset,
            () = &mut idle => return Ended::Idle,
        };
        match end {
            End::Finished => {}
            // The peer's side was reset. What it sent before must still be delivered.
            End::Remote(
                StreamCode::Reset | StreamCode::Cancelled | StreamCode::BadHeader | StreamCode::Unreachable,
            ) if down_open => {
                progress.set_reset();
                reset = true;
            }
            End::Stalled if reset => return Ended::RemoteReset,
            End::Remote(StreamCode::Stalled) | End::Stalled => return Ended::Stalled,
            End::Remote(
                StreamCode::Reset | StreamCode::Cancelled | StreamCode::BadHeader | StreamCode::Unreachable,
            ) => {
                return Ended::RemoteReset;
            }
            End::LocalWrite if up_open && !reset => {
                // What the local side sent before its reset may still wait in the kernel.
                progress.set_reset();
                return match time::timeout(last_wait, &mut up).await {
                    Ok(End::Lost) => Ended::LinkLost,
                    Ok(End::Finished | End::LocalRead | End::LocalWrite | End::Remote(_) | End::Stalled) | Err(_) => {
                        Ended::LocalReset
                    }
                };
            }
            End::LocalRead | End::LocalWrite => return Ended::LocalReset,
            End::Lost => return Ended::LinkLost,
        }
    }
    if reset { Ended::RemoteReset } else { Ended::Finished }
}

/// A reset crosses as a stop code, then the end of data.
async fn tell_reset(stream: &mut Stream, lead: Duration) {
    // A peer whose data has arrived in full no longer hears a stop: only cutting our own direction tells it.
    if has_arrived(&mut stream.recv).await || stream.recv.stop(StreamCode::Reset).is_err() {
        return stream.cut(StreamCode::Reset);
    }
    // Should the stop be lost, it is sent again before the end of data can be taken for a good one.
    time::sleep(lead).await;
    let _ = stream.send.finish();
}

/// How far a stop is sent ahead of the end of data: one that is lost is missed and sent again within four round trips.
fn lead(rtt: Duration) -> Duration {
    RESET_LEAD.max(rtt * 4)
}

/// Throws away what the peer has sent so far; true if nothing more can come.
async fn has_arrived(recv: &mut Inflow) -> bool {
    let mut chunks: [Bytes; CHUNKS] = Default::default();
    loop {
        let read = select! {
            biased;
            read = recv.read_chunks(&mut chunks) => read,
            () = ready(()) => return false,
        };
        match read {
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests;
