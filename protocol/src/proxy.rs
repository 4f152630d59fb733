//! The header of the PROXY protocol: whose connection it is that a load balancer has opened. Versions 1 and 2 are read and
//! written, before connections and, version 2, before UDP payloads; and the Simple Proxy Protocol before UDP payloads. Pure
//! layout.
//!
//! ```text
//! version 2   0           12        13               14       16
//!             | signature | 2 | cmd | family | trans. | length | addresses and TLVs (length bytes)
//! version 1   PROXY TCP4 SOURCE DESTINATION PORT PORT CR LF, at most 107 bytes
//! simple      0       2        18            34            36                 38
//!             | 56 EC | client | destination | client port | destination port |, addresses of IPv6
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Most bytes that may follow the head of version 2: addresses, and TLVs that nobody reads here.
pub const TAIL_MAX: usize = 2_048;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const HEAD: usize = 16;
const LINE_BEGIN: &[u8] = b"PROXY ";
/// The longest line of version 1, as its specification counts.
const LINE_MAX: usize = 107;
/// No header of either version is shorter.
const SHORTEST: usize = 12;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UDP4: u8 = 0x12;
const UDP6: u8 = 0x22;
const UNIX: u8 = 0x31;
/// Begins each header of the Simple Proxy Protocol.
const SIMPLE: u16 = 0x56ec;
/// Bytes of each.
const SIMPLE_LEN: usize = 38;

/// Both ends of a client's connection, as whoever accepted it saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// The sender speaks for itself, or of nobody who has an address.
    #[default]
    Local,
    /// The sender speaks for this client.
    Client(Ends),
}

/// How far a header has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// At least so many bytes more belong to it.
    More(usize),
    /// All of it, to the last byte.
    Whole(Header),
}

/// What a UDP payload begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// What it says.
    pub header: Header,
    /// How many bytes it is long.
    pub length: usize,
    /// It is of the Simple Proxy Protocol: answers have to begin with it as well.
    pub is_simple: bool,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// Neither version begins so.
    #[error("no header of the PROXY protocol")]
    Begin,
    /// Version 1 is not to the letter.
    #[error("a line that is not of version 1")]
    Line,
    /// Version 2 with another version, command or kind of address.
    #[error("a command or an address of another kind")]
    Kind,
    /// Longer than is taken, or shorter than its addresses, or TLVs that do not fill it.
    #[error("a length that does not fit")]
    Length,
}

/// Reads a header from what has come so far, of which nothing may lie behind it: bring as much more as is asked for.
///
/// # Errors
/// [`BadHeader`], as soon as it is certain.
pub fn read(bytes: &[u8]) -> Result<Read, BadHeader> {
    if agree(bytes, SIGNATURE) {
        return read_binary(bytes);
    }
    if agree(bytes, LINE_BEGIN) { read_line(bytes) } else { Err(BadHeader::Begin) }
}

/// As far as both go.
fn agree(bytes: &[u8], begin: &[u8]) -> bool {
    bytes.iter().zip(begin).all(|(a, b)| a == b)
}

/// Reads the header that a UDP payload begins with: of version 2, or of the Simple Proxy Protocol.
///
/// # Errors
/// [`BadHeader`].
pub fn read_datagram(payload: &[u8]) -> Result<Announced, BadHeader> {
    if payload.starts_with(&SIMPLE.to_be_bytes()) {
        return read_simple(payload);
    }
    let (head, rest) = payload.split_first_chunk::<HEAD>().ok_or(BadHeader::Begin)?;
    if !head.starts_with(SIGNATURE) {
        return Err(BadHeader::Begin);
    }
    let [.., command, kind, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let tail = rest.get(..length).filter(|tail| tail.len() <= TAIL_MAX).ok_or(BadHeader::Length)?;
    let header = match command {
        LOCAL => Header::Local,
        PROXY => of_client(kind, tail, (UDP4, UDP6))?,
        _ => return Err(BadHeader::Kind),
    };
    Ok(Announced { header, length: HEAD + length, is_simple: false })
}

fn read_simple(payload: &[u8]) -> Result<Announced, BadHeader> {
    let (head, _) = payload.split_at_checked(SIMPLE_LEN).ok_or(BadHeader::Length)?;
    let (header, _) = addresses::<16>(&head[SIMPLE.to_be_bytes().len()..])?;
    let header = match header {
        Header::Client(Ends { source, .. }) if source.ip().is_unspecified() => Header::Local,
        Header::Client(Ends { source, destination }) => {
            let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            Header::Client(Ends { source: plain(source), destination: plain(destination) })
        }
        Header::Local => Header::Local,
    };
    Ok(Announced { header, length: SIMPLE_LEN, is_simple: true })
}

fn read_binary(bytes: &[u8]) -> Result<Read, BadHeader> {
    let Some((head, tail)) = bytes.split_first_chunk::<HEAD>() else {
        // A first byte alone could still be of either version.
        let known = if bytes.is_empty() { SHORTEST } else { HEAD };
        return Ok(Read::More(known - bytes.len()));
    };
    let [.., command, kind, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !matches!(command, LOCAL | PROXY) {
        return Err(BadHeader::Kind);
    }
    if length > TAIL_MAX || tail.len() > length {
        return Err(BadHeader::Length);
    }
    if tail.len() < length {
        return Ok(Read::More(length - tail.len()));
    }
    if command == LOCAL {
        return Ok(Read::Whole(Header::Local));
    }
    of_client(kind, tail, (TCP4, TCP6)).map(Read::Whole)
}

/// What the tail of version 2 says of a client, over the transport with these two kinds of address.
fn of_client(kind: u8, tail: &[u8], (kind4, kind6): (u8, u8)) -> Result<Header, BadHeader> {
    let (header, tlvs) = match kind {
        UNSPECIFIED | UNIX => return Ok(Header::Local),
        kind if kind == kind4 => addresses::<4>(tail)?,
        kind if kind == kind6 => addresses::<16>(tail)?,
        _ => return Err(BadHeader::Kind),
    };
    check_tlvs(tlvs)?;
    Ok(header)
}

fn addresses<const SIZE: usize>(tail: &[u8]) -> Result<(Header, &[u8]), BadHeader>
where
    IpAddr: From<[u8; SIZE]>,
{
    let short = BadHeader::Length;
    let (source, tail) = tail.split_first_chunk::<SIZE>().ok_or(short)?;
    let (destination, tail) = tail.split_first_chunk::<SIZE>().ok_or(short)?;
    let (ports, tlvs) = tail.split_first_chunk::<4>().ok_or(short)?;
    let mut ports = &ports[..];
    let source = SocketAddr::new(IpAddr::from(*source), ports.get_u16());
    let destination = SocketAddr::new(IpAddr::from(*destination), ports.get_u16());
    Ok((Header::Client(Ends { source, destination }), tlvs))
}

/// Type, length and as many bytes, again and again.
fn check_tlvs(mut tlvs: &[u8]) -> Result<(), BadHeader> {
    while let [_, high, low, rest @ ..] = tlvs {
        tlvs = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..).ok_or(BadHeader::Length)?;
    }
    if tlvs.is_empty() { Ok(()) } else { Err(BadHeader::Length) }
}

fn read_line(bytes: &[u8]) -> Result<Read, BadHeader> {
    let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
        return match bytes.len() {
            len if len < SHORTEST => Ok(Read::More(SHORTEST - len)),
            len if len < LINE_MAX => Ok(Read::More(1)),
            _ => Err(BadHeader::Line),
        };
    };
    let line = bytes.strip_suffix(b"\r\n").filter(|_| end + 1 == bytes.len() && bytes.len() <= LINE_MAX);
    let line = line.and_then(|line| std::str::from_utf8(line).ok()).ok_or(BadHeader::Line)?;
    let words: Vec<&str> = line.split(' ').collect();
    let header = match words[..] {
        ["PROXY", "UNKNOWN", ..] => Some(Header::Local),
        ["PROXY", "TCP4", source, destination, from, to] => ends::<Ipv4Addr>([source, destination], [from, to]),
        ["PROXY", "TCP6", source, destination, from, to] => ends::<Ipv6Addr>([source, destination], [from, to]),
        _ => None,
    };
    header.map(Read::Whole).ok_or(BadHeader::Line)
}

fn ends<A: std::str::FromStr + Into<IpAddr>>(addresses: [&str; 2], ports: [&str; 2]) -> Option<Header> {
    let [Some(source), Some(destination)] = [0, 1].map(|at| {
        let address: A = addresses[at].parse().ok()?;
        Some(SocketAddr::new(address.into(), port(ports[at])?))
    }) else {
        return None;
    };
    Some(Header::Client(Ends { source, destination }))
}

fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl Header {
    /// The header as version 1, for the beginning of a connection.
    #[must_use]
    pub fn encode_line(&self) -> Bytes {
        let Self::Client(Ends { source, destination }) = self else { return Bytes::from_static(b"PROXY UNKNOWN\r\n") };
        let (from_port, to_port) = (source.port(), destination.port());
        let (family, from, to) = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
            (from @ IpAddr::V4(_), to @ IpAddr::V4(_)) => ("TCP4", from, to),
            (from, to) => ("TCP6", as_v6(from).into(), as_v6(to).into()),
        };
        format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into()
    }

    /// The header of the Simple Proxy Protocol, for the beginning of each UDP payload. Whoever speaks for itself has no address
    /// there.
    #[must_use]
    pub fn encode_simple(&self) -> Bytes {
        let nobody = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
        let Ends { source, destination } = match self {
            Self::Client(ends) => *ends,
            Self::Local => Ends { source: nobody, destination: nobody },
        };
        let mut bytes = BytesMut::with_capacity(SIMPLE_LEN);
        bytes.put_u16(SIMPLE);
        bytes.put_slice(&as_v6(source.ip()).octets());
        bytes.put_slice(&as_v6(destination.ip()).octets());
        bytes.put_u16(source.port());
        bytes.put_u16(destination.port());
        bytes.freeze()
    }

    /// The header as version 2, for the beginning of a connection.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.encode_as(TCP4, TCP6)
    }

    /// The header as version 2, for the beginning of each UDP payload.
    #[must_use]
    pub fn encode_datagram(&self) -> Bytes {
        self.encode_as(UDP4, UDP6)
    }

    fn encode_as(&self, kind4: u8, kind6: u8) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD + 36);
        bytes.put_slice(SIGNATURE);
        match self {
            Self::Local => bytes.put_slice(&[LOCAL, UNSPECIFIED, 0, 0]),
            Self::Client(Ends { source, destination }) => {
                match (source.ip().to_canonical(), destination.ip().to_canonical()) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        bytes.put_slice(&[PROXY, kind4, 0, 12]);
                        bytes.put_slice(&from.octets());
                        bytes.put_slice(&to.octets());
                    }
                    (from, to) => {
                        bytes.put_slice(&[PROXY, kind6, 0, 36]);
                        bytes.put_slice(&as_v6(from).octets());
                        bytes.put_slice(&as_v6(to).octets());
                    }
                }
                bytes.put_u16(source.port());
                bytes.put_u16(destination.port());
            }
        }
        bytes.freeze()
    }
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests;
