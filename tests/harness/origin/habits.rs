//! What small origins do: one function a habit.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

use rig::origin::{
    habits,
    http::{self, Answer, Request},
};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::{Connection, Ending, Origin, reset};
use crate::harness::client::Pattern;

const CHUNK: usize = 64 * 1024;

/// Sends back what it gets, until the end of it.
#[must_use]
pub fn echo(at: SocketAddr) -> Origin {
    Origin::start(at, habits::echo)
}

/// Says `text` before the client says anything, then echoes.
#[must_use]
pub fn banner(at: SocketAddr, text: &'static str) -> Origin {
    Origin::start(at, habits::greets(text))
}

/// Says its name and ends: for finding out who answered.
#[must_use]
pub fn names_itself(at: SocketAddr, name: &'static str) -> Origin {
    Origin::start(at, move |mut stream| {
        stream.write_all(name.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        read_to_end(stream)
    })
}

/// Reads all that the client sends up to its end, and only then answers: how much it was, then `len` bytes of pattern.
#[must_use]
pub fn answers_after_the_end(at: SocketAddr, len: usize) -> Origin {
    Origin::start(at, move |mut stream| {
        let mut got = Vec::new();
        stream.read_to_end(&mut got)?;
        stream.write_all(format!("{:020}", got.len()).as_bytes())?;
        Pattern::new(1).write_to(stream, len)?;
        stream.shutdown(Shutdown::Write).map(|()| Ending::Clean)
    })
}

/// Waits for one byte, sends `len` bytes of pattern and resets the connection right behind them.
#[must_use]
pub fn sends_then_resets(at: SocketAddr, len: usize) -> Origin {
    Origin::start(at, move |mut stream| {
        hold_little(stream);
        stream.read_exact(&mut [0])?;
        Pattern::new(1).write_to(stream, len)?;
        reset(stream)?;
        Ok(Ending::Reset)
    })
}

/// Reads for ever and answers nothing; tells how the connection ended.
#[must_use]
pub fn reads_only(at: SocketAddr) -> Origin {
    Origin::start(at, read_to_end)
}

/// Accepts, and neither reads nor answers nor closes.
#[must_use]
pub fn hangs(at: SocketAddr) -> Origin {
    Origin::start(at, |stream| {
        // Ends when the origin is stopped: what it keeps of the connection is shut down then.
        while stream.peek(&mut [0])? != 0 {
            thread::park_timeout(std::time::Duration::from_millis(50));
        }
        Ok(Ending::Clean)
    })
}

/// Waits for one byte, then sends pattern as fast as it is taken: `len` bytes, then ends.
#[must_use]
pub fn pours(at: SocketAddr, len: usize) -> Origin {
    Origin::start(at, move |mut stream| {
        hold_little(stream);
        stream.read_exact(&mut [0])?;
        Pattern::new(1).write_to(stream, len)?;
        stream.shutdown(Shutdown::Write)?;
        read_to_end(stream)
    })
}

/// Keeps the kernel from taking megabytes that nobody reads: a thousand such connections would cost the machine, and with it
/// whoever is measured beside them, more than all else.
pub(super) fn hold_little(stream: &Connection) {
    SockRef::from(stream).set_send_buffer_size(64 * 1024).expect("a TCP socket takes a size");
}

/// A plain HTTP server whose status code can be changed as it runs; its body is `name`.
#[must_use]
pub fn http(at: SocketAddr, name: &'static str) -> (Origin, Arc<AtomicU16>) {
    let code = Arc::new(AtomicU16::new(200));
    let shared = code.clone();
    let answer = move |_: &Request| Answer { code: shared.load(Ordering::SeqCst), body: name.into() };
    (Origin::start(at, move |stream| http::serve(stream, &answer)), code)
}

fn read_to_end(mut stream: &Connection) -> io::Result<Ending> {
    let mut buffer = vec![0; CHUNK];
    while stream.read(&mut buffer)? != 0 {}
    Ok(Ending::Clean)
}

/// A listening address whose queue is full, so that a connect to it is never answered.
#[derive(Debug)]
pub struct FullQueue {
    _listener: Socket,
    _queued: Vec<Socket>,
}

impl FullQueue {
    /// Fills the queue of `at`.
    ///
    /// # Panics
    /// If the address is taken.
    #[must_use]
    pub fn at(at: SocketAddr) -> Self {
        let socket = || Socket::new(Domain::for_address(at), Type::STREAM, None).expect("a socket can be made");
        let address = SockAddr::from(at);
        let listener = socket();
        listener.set_reuse_address(true).expect("a socket can be told so");
        listener.bind(&address).expect("the address is free");
        listener.listen(0).expect("a bound socket listens");
        // A backlog of 0 still takes one; the rest wait in SYN_SENT and see to it that it stays full.
        let knock = || {
            let client = socket();
            client.set_nonblocking(true).expect("a socket can be told not to block");
            let _ = client.connect(&address);
            client
        };
        Self { _listener: listener, _queued: std::iter::repeat_with(knock).take(4).collect() }
    }
}
