//! Everything that reads what others wrote, as functions of bytes: `fuzz/` searches them, `fuzz_replay.rs` replays what was
//! found. Each demands what must hold of any input: no panic, and what was read is written as it was.

use std::path::Path;

use certs::token::JoinToken;
use connector::config::AllowEntry;
use protocol::{
    codec::{CONTROL_HEAD, FrameHead, HEADER_HEAD, header_head},
    control::{Message, RouteClaim},
    id::{Name, Target},
    proxy::{self, Read},
    stream::{Open, Reply},
};

/// Takes any bytes and must not panic.
pub type Decoder = fn(&[u8]);

/// Each decoder by the name of its fuzz target and corpus.
pub const DECODERS: &[(&str, Decoder)] = &[
    ("control_frames", control_frames),
    ("headers", headers),
    ("proxy_headers", proxy_headers),
    ("join_token", join_token),
    ("edge_config", edge_config),
    ("connector_config", connector_config),
    ("addresses", addresses),
];

/// Control frames one after the other, as on a control stream.
pub fn control_frames(mut data: &[u8]) {
    while let Some((head, rest)) = data.split_first_chunk::<CONTROL_HEAD>() {
        let Ok(head) = FrameHead::decode(*head) else { return };
        let Some((body, next)) = rest.split_at_checked(head.length) else { return };
        match Message::decode(head.kind, body) {
            Ok(Message::Ignored(_)) => {}
            Ok(message) => {
                let _ = message.name();
                assert_eq!(&message.encode()[CONTROL_HEAD..], body, "a message has one form");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        data = next;
    }
}

/// A stream's header, and the same bytes as a reply.
pub fn headers(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<HEADER_HEAD>() else { return };
    let Ok((kind, length)) = header_head(*head) else { return };
    let Some(body) = rest.get(..length) else { return };
    if let Ok(open) = Open::decode(kind, body) {
        let frame = open.encode();
        assert_eq!(Open::decode(kind, &frame[HEADER_HEAD..]), Ok(open));
    }
    if let Ok(reply) = Reply::decode(kind, body) {
        let frame = reply.encode();
        assert_eq!(Reply::decode(kind, &frame[HEADER_HEAD..]), Ok(reply));
    }
}

/// A header of the PROXY protocol, brought byte by byte as it asks for them.
pub fn proxy_headers(data: &[u8]) {
    let mut have = 0;
    while let Ok(read) = proxy::read(&data[..have]) {
        match read {
            Read::Whole(header) => {
                let again = header.encode();
                assert_eq!(proxy::read(&again), Ok(Read::Whole(header)), "what was read can be told on");
                return;
            }
            Read::More(more) => {
                assert!(more > 0, "a reader that is not done wants something");
                have += more;
                if have > data.len() {
                    return;
                }
            }
        }
    }
}

/// The text of a join token.
pub fn join_token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(token) = text.parse::<JoinToken>() {
        assert_eq!(token.reveal().parse(), Ok(token), "what is shown once can be read again");
    }
}

/// An edge's configuration.
pub fn edge_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(mistakes) = edge::config::parse(text, Path::new("edge.toml")) {
        assert!(!mistakes.list.is_empty(), "a refusal names a mistake");
    }
}

/// A connector's configuration.
pub fn connector_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(mistakes) = connector::config::parse(text, Path::new("connector.toml")) {
        assert!(!mistakes.list.is_empty(), "a refusal names a mistake");
    }
}

/// Targets, networks, entries of an allow list, names and claims, one a line.
pub fn addresses(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for line in text.lines() {
        reads_as_written::<Target>(line);
        reads_as_written::<AllowEntry>(line);
        reads_as_written::<Name>(line);
        if let Ok(cidr) = config::cidr(line) {
            assert_eq!(config::cidr(&cidr.to_string()), Ok(cidr));
        }
        let _ = RouteClaim { vnet: line.to_owned(), cidr: line.to_owned() }.parse();
        let _ = RouteClaim { vnet: "v".to_owned(), cidr: line.to_owned() }.parse();
    }
}

fn reads_as_written<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Display + PartialEq + std::fmt::Debug>(
    text: &str,
) {
    if let Ok(read) = text.parse::<T>() {
        let again = read.to_string().parse::<T>();
        assert!(again.is_ok_and(|again| again == read), "{read}");
    }
}
