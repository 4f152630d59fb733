//! What more than one world's origins do.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    time::Duration,
};

use super::{Connection, Ending};

const CHUNK: usize = 64 * 1024;
/// An echo that hears nothing for this long hangs up.
const IDLE: Duration = Duration::from_secs(600);

/// Sends back what it gets, until the end of it.
///
/// # Errors
/// Those of the connection.
pub fn echo(stream: &Connection) -> io::Result<Ending> {
    echo_telling(stream, |_| ())
}

/// The same, and tells of each piece before it is sent back.
///
/// # Errors
/// Those of the connection.
pub fn echo_telling(mut stream: &Connection, mut tell: impl FnMut(&[u8])) -> io::Result<Ending> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return stream.shutdown(Shutdown::Write).map(|()| Ending::Clean);
        }
        tell(&buffer[..length]);
        stream.write_all(&buffer[..length])?;
    }
}

/// Says this before the client says anything, then echoes.
pub fn greets(says: impl Into<Vec<u8>>) -> impl Fn(&Connection) -> io::Result<Ending> + Send + Sync + 'static {
    let says = says.into();
    move |mut stream| {
        stream.write_all(&says)?;
        echo(stream)
    }
}
