//! Plain TCP clients that know which bytes to expect.

pub mod http;
pub mod resolver;
mod timed;
pub mod udp;

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};

pub use self::timed::Timed;
pub use crate::pattern::Pattern;
use crate::sample::Trouble;

/// Longest silence that a client bears who does not say otherwise.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Connects, with [`PATIENCE`] on every later read and write.
///
/// # Errors
/// What the connect says.
pub fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_nodelay(true)?;
    patient(stream)
}

/// [`connect`] from this source address, port 0.
///
/// # Errors
/// What the connect says.
pub fn connect_from(source: SocketAddr, at: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.bind(&SockAddr::from(source))?;
    socket.connect_timeout(&SockAddr::from(at), PATIENCE)?;
    patient(socket.into())
}

fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Connects, says nothing, and reads to the end.
///
/// # Errors
/// If the connection is refused, reset or silent.
pub fn listen_to(at: SocketAddr) -> io::Result<String> {
    let mut text = String::new();
    connect(at)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Sends `bytes`, ends its own side, and returns all that comes back.
///
/// # Errors
/// If the connection is refused, reset or silent.
pub fn exchange(at: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let stream = connect(at)?;
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            (&stream).write_all(bytes)?;
            stream.shutdown(Shutdown::Write)
        });
        let mut back = Vec::new();
        (&stream).read_to_end(&mut back)?;
        sender.join().unwrap_or_else(|_| Err(io::Error::other("sending panicked")))?;
        Ok(back)
    })
}

/// Sends a few bytes and waits until they are back: the flow is open from end to end.
///
/// # Errors
/// If they do not come back.
pub fn ping(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    comes_back(&mut stream, bytes).map_err(|trouble| match trouble {
        Trouble::Told(error) => error,
        Trouble::Failed(why) | Trouble::Wrong(why) => io::Error::other(why),
    })
}

/// Waits until what was sent is back, and tells what did not come from what came and is wrong.
///
/// # Errors
/// Either of them.
pub fn comes_back(stream: &mut impl Read, sent: &[u8]) -> Result<(), Trouble> {
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back)?;
    match sent.iter().zip(&back).position(|(sent, back)| sent != back) {
        None => Ok(()),
        Some(at) => Err(Trouble::Wrong(format!("byte {at} of {} came back changed", sent.len()))),
    }
}

/// Reads until the end or an error, and returns what came with how it ended.
pub fn read_all(mut stream: &TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut got = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (got, Ok(())),
            Ok(n) => got.extend_from_slice(&buffer[..n]),
            Err(error) => return (got, Err(error)),
        }
    }
}
