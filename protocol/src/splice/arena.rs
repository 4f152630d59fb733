//! Reads of all flows of a worker, through one buffer. It knows sockets, not flows.

use std::{cell::RefCell, io};

use bytes::{Bytes, BytesMut};
use net::Socket;

/// Room a read is offered at least.
const READ_MIN: usize = 64 * 1024;
/// Room taken from the allocator at a time; many reads share it.
const READ_BLOCK: usize = 256 * 1024;

thread_local! {
    /// Reads of all flows of a worker land here one after the other, so an idle flow holds no buffer.
    static ARENA: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Reads what a socket holds into the worker's arena. Empty: the end of data.
///
/// # Errors
/// `WouldBlock` if there is nothing; else the connection's error.
pub fn read_some(socket: &Socket) -> io::Result<Bytes> {
    ARENA.with_borrow_mut(|arena| {
        if arena.capacity() - arena.len() < READ_MIN {
            arena.reserve(READ_BLOCK);
        }
        socket.try_read(arena)?;
        Ok(arena.split().freeze())
    })
}

/// Reads as [`read_some`], waiting for the first byte, the end or an error.
///
/// # Errors
/// The connection's error.
pub async fn read_next(socket: &Socket) -> io::Result<Bytes> {
    loop {
        socket.readable().await?;
        match read_some(socket) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}
