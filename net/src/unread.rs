//! What the kernel may hold of a connection that nobody has read yet.
//!
//! The kernel lets its receive buffer grow with what is read of it, up to many megabytes. Who takes a first window at full
//! speed and then next to nothing has it filled: a thousand slow readers cost the host of a connector gigabytes, and the
//! network before it as much traffic. So a buffer keeps its first size until enough was read to show that somebody reads.

use std::{
    os::fd::AsFd,
    sync::atomic::{AtomicUsize, Ordering},
};

use nix::{
    getsockopt_impl, libc, setsockopt_impl, sockopt_impl,
    sys::socket::{setsockopt, sockopt::RcvBuf},
};

/// So much was read when the buffer may grow. More than what a client's and an edge's buffers take of an answer at once.
const PROVEN: usize = 1024 * 1024;

/// The size it has then, before the kernel sizes it again; any process may ask for so much. The kernel lets a buffer grow when
/// more is read in a round trip than ever before, which does not happen while the buffer holds no more.
const OPENED: usize = 212_992;

/// `SOCK_RCVBUF_LOCK` of the kernel: the receive buffer keeps its size.
const RECEIVE: libc::c_int = 2;

sockopt_impl!(
    /// Locks which of a socket's buffers keep their size (Linux 5.15).
    BufferLock,
    Both,
    libc::SOL_SOCKET,
    libc::SO_BUF_LOCK,
    libc::c_int
);

sockopt_impl!(
    /// The largest window the kernel offers.
    WindowClamp,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_WINDOW_CLAMP,
    libc::c_int
);

/// How much of a connection was read, until it is enough.
#[derive(Debug)]
pub(crate) struct Unread(AtomicUsize);

impl Unread {
    /// From now on the connection's receive buffer keeps its size. A kernel that has no such lock does as it always did.
    pub(crate) fn of(socket: &impl AsFd) -> Self {
        let locked = setsockopt(socket, BufferLock, &RECEIVE).is_ok();
        Self(AtomicUsize::new(if locked { 0 } else { PROVEN }))
    }

    /// So many bytes were read.
    pub(crate) fn taken(&self, socket: &impl AsFd, bytes: usize) {
        // One task at a time reads; a connection that is counted wrongly is let go a little sooner or later.
        let before = self.0.load(Ordering::Relaxed);
        if before < PROVEN {
            self.0.store(before + bytes, Ordering::Relaxed);
            if before + bytes >= PROVEN {
                // A kernel that took the lock refuses none of this. The clamp stands at the locked size.
                let _ = setsockopt(socket, RcvBuf, &OPENED);
                let _ = setsockopt(socket, WindowClamp, &libc::c_int::MAX);
                let _ = setsockopt(socket, BufferLock, &0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use nix::sys::socket::getsockopt;

    use super::*;

    #[test]
    fn a_buffer_may_grow_once_enough_was_read() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let lock = || getsockopt(&socket, BufferLock).expect("the kernel has it");
        let unread = Unread::of(&socket);
        for (bytes, locked) in [(0, RECEIVE), (PROVEN - 1, RECEIVE), (1, 0), (PROVEN, 0)] {
            unread.taken(&socket, bytes);
            assert_eq!(lock(), locked, "after {bytes} more");
        }
    }
}
