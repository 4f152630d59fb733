//! Plain TCP clients that know which bytes to expect.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

pub use rig::pattern::Pattern;
use socket2::{Domain, SockAddr, Socket, Type};

/// Longest silence any test's client bears.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Connects, with [`PATIENCE`] on every later read and write.
///
/// # Errors
/// What the connect says.
pub fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// [`connect`] from this source address, port 0.
///
/// # Errors
/// What the connect says.
pub fn connect_from(source: SocketAddr, at: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.bind(&SockAddr::from(source))?;
    socket.connect_timeout(&SockAddr::from(at), PATIENCE)?;
    let stream = TcpStream::from(socket);
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
        sender.join().expect("sending does not panic")?;
        Ok(back)
    })
}

/// What [`ping`] says when it gets an answer, and not its own bytes.
pub const OTHER_BYTES: &str = "other bytes came back";

/// Sends a few bytes and waits until they are back: the flow is open from end to end.
///
/// # Errors
/// If they do not come back.
pub fn ping(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    if back == bytes { Ok(()) } else { Err(io::Error::other(OTHER_BYTES)) }
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
