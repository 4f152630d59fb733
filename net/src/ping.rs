//! ICMP echo: asks a host for a sign of life, over a socket that needs no privilege where the system gives one.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Longest answer read: a request's size, and room for an IPv4 header with options.
const ANSWER_MAX: usize = 256;

/// Why a host was not asked, or could not be.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// The system gives this process neither a ping socket nor a raw one.
    #[error("the system gives this process no socket for ICMP: net.ipv4.ping_group_range, or CAP_NET_RAW")]
    NotPermitted,
    /// There is no way there, or another error of the system's.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// What a socket hands over with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hands {
    /// Only answers to its own requests, from the ICMP header on.
    Ping,
    /// Every ICMP message of the host's; over IPv4 with the IP header before it.
    Raw,
}

/// Sends one echo request and waits for its answer, without an end: whoever calls limits the wait.
pub(crate) async fn ping(ip: IpAddr) -> Result<Duration, PingError> {
    let (socket, kind) = open(ip)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddr::new(ip, 0).into())?;
    // To the runtime a connected socket of datagrams is like any other, whatever is in them.
    let socket = UdpSocket::from_std(socket.into())?;
    // Tells this request from all others, and cannot be guessed.
    let token: [u8; 8] = rand::random();
    let asked = Instant::now();
    socket.send(&request(ip, token)).await?;
    let mut answer = [0; ANSWER_MAX];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(&answer[..length], (ip, kind), token) {
            return Ok(asked.elapsed());
        }
    }
}

fn open(ip: IpAddr) -> Result<(Socket, Hands), PingError> {
    let protocol = if ip.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let domain = Domain::for_address(SocketAddr::new(ip, 0));
    if let Ok(socket) = Socket::new(domain, Type::DGRAM, Some(protocol)) {
        return Ok((socket, Hands::Ping));
    }
    match Socket::new(domain, Type::RAW, Some(protocol)) {
        Ok(socket) => Ok((socket, Hands::Raw)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(PingError::NotPermitted),
        Err(error) => Err(error.into()),
    }
}

/// ```text
/// type u8 │ code u8 │ checksum u16 │ identifier u16 │ sequence u16 │ token, 8 bytes
/// ```
/// A ping socket sets the identifier; IPv6 sets the checksum.
fn request(ip: IpAddr, token: [u8; 8]) -> [u8; 16] {
    let kind = if ip.is_ipv4() { 8 } else { 128 };
    let [a, b, ..] = token;
    let mut message = [kind, 0, 0, 0, a, b, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    message[8..].copy_from_slice(&token);
    if ip.is_ipv4() {
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

/// RFC 1071.
fn checksum(message: &[u8; 16]) -> u16 {
    let (words, _) = message.as_chunks::<2>();
    let mut sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to sixteen bits")
}

fn is_answer(received: &[u8], (ip, kind): (IpAddr, Hands), token: [u8; 8]) -> bool {
    let message = match (ip, kind, received.first()) {
        (IpAddr::V4(_), Hands::Raw, Some(first)) => received.get(usize::from(first & 0x0f) * 4..),
        (IpAddr::V4(_) | IpAddr::V6(_), Hands::Ping | Hands::Raw, _) => Some(received),
    };
    let answers = if ip.is_ipv4() { 0 } else { 129 };
    message.is_some_and(|m| m.len() == 16 && m[..2] == [answers, 0] && m[8..] == token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn a_request_sums_to_nothing() {
        let message = request(V4, *b"abcdefgh");
        assert_eq!(checksum(&message), 0);
        assert_eq!((message[0], &message[8..]), (8, &b"abcdefgh"[..]));
        assert_eq!(request(V6, *b"abcdefgh")[..4], [128, 0, 0, 0]);
    }

    #[test]
    fn only_the_answer_to_this_request_is_one() {
        let answer = |kind: u8, token: &[u8; 8]| [&[kind, 0, 1, 2, 3, 4, 0, 1][..], token].concat();
        let behind_ip = |message: &[u8]| [&[0x46][..], &[0; 23], message].concat();
        let token = *b"abcdefgh";
        assert!(is_answer(&answer(0, &token), (V4, Hands::Ping), token));
        assert!(is_answer(&behind_ip(&answer(0, &token)), (V4, Hands::Raw), token));
        assert!(is_answer(&answer(129, &token), (V6, Hands::Raw), token));
        assert!(!is_answer(&answer(8, &token), (V4, Hands::Ping), token), "the request itself");
        assert!(!is_answer(&behind_ip(&answer(0, b"abcdefgi")), (V4, Hands::Raw), token), "another's");
        assert!(!is_answer(&answer(0, &token)[..15], (V4, Hands::Ping), token), "cut short");
        assert!(!is_answer(&[0x4f], (V4, Hands::Raw), token));
        assert!(!is_answer(&[], (V4, Hands::Raw), token));
    }
}
