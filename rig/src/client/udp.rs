//! UDP clients: what is lost on the way is sent again, and how often that was is counted.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// No payload is longer.
const PAYLOAD_MAX: usize = 64 * 1024;
/// How a waiting client hears nothing, or that nobody is there at the moment.
const SILENT: [ErrorKind; 3] = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::ConnectionRefused];

/// A client of one address.
#[derive(Debug)]
pub struct UdpClient(UdpSocket);

/// How patiently something is asked.
#[derive(Debug)]
pub struct Asking<'a> {
    /// Silence after which it is asked again.
    pub again: Duration,
    /// After this it is given up.
    pub patience: Duration,
    /// Counts how often it was asked again.
    pub repeats: &'a mut u32,
}

impl UdpClient {
    /// A client on any port.
    ///
    /// # Errors
    /// The kernel's, when it has no socket to give.
    pub fn new(at: SocketAddr) -> io::Result<Self> {
        let any = match at.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self::from((any, 0).into(), at)
    }

    /// A client from this address.
    ///
    /// # Errors
    /// The kernel's, when somebody has it.
    pub fn from(source: SocketAddr, at: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(source)?;
        socket.connect(at)?;
        Ok(Self(socket))
    }

    /// Where it sends from.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Sends a payload.
    pub fn send(&self, payload: &[u8]) {
        // What is lost on the way is lost with UDP; the kernel's word of an earlier payload is none of this one.
        if self.0.send(payload).is_err() {
            let _ = self.0.send(payload);
        }
    }

    /// The next payload, if one comes within `limit`.
    ///
    /// # Errors
    /// If the socket breaks.
    pub fn receive(&self, limit: Duration) -> io::Result<Option<Vec<u8>>> {
        // No time at all would be any.
        self.0.set_read_timeout(Some(limit.max(Duration::from_micros(1))))?;
        let mut buffer = vec![0; PAYLOAD_MAX];
        match self.0.recv(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                Ok(Some(buffer))
            }
            Err(error) if SILENT.contains(&error.kind()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks, again and again as UDP clients do, until `take` takes an answer for one; none if it never does.
    ///
    /// # Errors
    /// If the socket breaks.
    pub fn ask<T>(
        &self,
        payload: &[u8],
        asking: Asking<'_>,
        mut take: impl FnMut(Vec<u8>) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let until = Instant::now() + asking.patience;
        loop {
            self.send(payload);
            let again = until.min(Instant::now() + asking.again);
            loop {
                let left = again.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                if let Some(taken) = self.receive(left)?.and_then(&mut take) {
                    return Ok(Some(taken));
                }
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            *asking.repeats += 1;
        }
    }
}
