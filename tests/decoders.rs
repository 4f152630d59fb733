//! Everything that reads what others wrote, as functions of bytes: `fuzz/` searches them, `fuzz_replay.rs` replays what was
//! found. Each demands what must hold of any input: no panic, and what was read is written as it was.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use certs::token::JoinToken;
use config::Spec;
use connector::config::AllowEntry;
use edge::listener::fuzzing::{self, Framed};
use protocol::{
    codec::{CONTROL_HEAD, FrameHead, HEADER_HEAD, header_head},
    control::{Message, RouteClaim},
    datagram::{Arena, Datagram, take_frame},
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
    ("datagrams", datagrams),
    ("http_head", http_head),
    ("http_chunks", http_chunks),
    ("http2_frames", http2_frames),
    ("http_targets", http_targets),
    ("affinity_cookie", affinity_cookie),
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

/// An edge's configuration, in a file or an object.
pub fn edge_config(data: &[u8]) {
    let (Ok(text), file) = (std::str::from_utf8(data), Path::new("edge.toml")) else { return };
    for spec in [Spec::of_toml(text, file), Spec::of_json(text, "an object")] {
        if let Err(mistakes) = edge::config::check(&spec, file) {
            assert!(!mistakes.list.is_empty(), "a refusal names a mistake");
            continue;
        }
        let again = Spec::of_json(&spec.to_json(), "an object");
        assert!(again == spec && edge::config::check(&again, file).is_ok(), "what is right is right as an object");
        assert!(Spec::of_toml(&again.to_toml(), file) == spec, "and as a file");
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

/// A datagram of a UDP session, and the same bytes as payloads on its stream.
pub fn datagrams(data: &[u8]) {
    if let Ok(read) = Datagram::decode(Bytes::copy_from_slice(data)) {
        let written = Arena::default().copy(&read.payload).into_datagram(read.session, read.sequence);
        assert_eq!(&written[..], data, "a datagram has one form");
    }
    let mut rest = BytesMut::from(data);
    while let Some(payload) = take_frame(&mut rest) {
        let frame = Arena::default().copy(&payload).into_frame();
        let end = data.len() - rest.len();
        assert_eq!(&frame[..], &data[end - frame.len()..end], "a frame has one form");
    }
}

/// An HTTP/1 head. What is accepted, another parser reads the same way; what is not may be anything.
///
/// # Panics
/// If the two disagree about what was accepted.
pub fn http_head(data: &[u8]) {
    let Some((head, framed)) = fuzzing::head(data) else { return };
    let (data, length) = (&head[..], head.len());
    let mut fields = [httparse::EMPTY_HEADER; 200];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(data), Ok(httparse::Status::Complete(length)), "both see the same end");
    let named = |name: &str| {
        let fields = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value).collect::<Vec<&[u8]>>()
    };
    let (lengths, encodings) = (named("content-length"), named("transfer-encoding"));
    match framed {
        Framed::Nothing if lengths.is_empty() => assert!(encodings.is_empty()),
        Framed::Nothing => assert!(encodings.is_empty() && lengths.len() == 1 && lengths[0].iter().all(|b| *b == b'0')),
        Framed::Length(expected) => {
            assert!(encodings.is_empty() && lengths.len() == 1);
            assert_eq!(std::str::from_utf8(lengths[0]).ok().and_then(|l| l.parse().ok()), Some(expected));
        }
        Framed::Chunks => assert!(lengths.is_empty() && encodings.len() == 1 && request.version == Some(1)),
    }
    let hosts = named("host").len();
    assert!(hosts == 1 || hosts == 0 && request.version == Some(0), "{hosts} hosts");
}

/// A chunked body: accepted or not, however it arrives.
///
/// # Panics
/// If its pieces matter.
pub fn http_chunks(data: &[u8]) {
    let whole = fuzzing::chunks([data]);
    assert_eq!(fuzzing::chunks(data.chunks(1)), whole);
    assert_eq!(fuzzing::chunks(data.chunks(7)), whole);
    if let Some(length) = whole {
        assert!(data[..length].ends_with(b"\r\n\r\n"), "behind the last chunk and its trailers is an empty line");
    }
}

/// HTTP/2 frames, counted.
///
/// # Panics
/// If a piece at a time is judged otherwise than all at once.
pub fn http2_frames(data: &[u8]) {
    if let (None, last) = fuzzing::frames([data]) {
        assert_eq!(fuzzing::frames([data]), (None, last));
    }
    let _ = fuzzing::frames(data.chunks(1));
    let _ = fuzzing::frames(data.chunks(10));
}

/// Paths and authorities, one a line.
///
/// # Panics
/// If a spelling is not the only one.
pub fn http_targets(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for line in text.lines() {
        if let Some(path) = fuzzing::path(line) {
            assert_eq!(fuzzing::path(&path).as_ref(), Some(&path), "one spelling");
            let parts = || path.split('/');
            assert!(path.starts_with('/') && parts().all(|part| part != "." && part != ".."), "{path}");
            assert!(!path.contains("%00") && path.bytes().all(|b| (0x21..0x7f).contains(&b)), "{path}");
        }
        if let Some(authority) = fuzzing::authority(line) {
            assert_eq!(fuzzing::authority(&authority).as_ref(), Some(&authority), "one spelling");
        }
    }
}

/// A Cookie field.
///
/// # Panics
/// If it leads anywhere: nobody has the key.
pub fn affinity_cookie(data: &[u8]) {
    assert!(!fuzzing::forges(data), "nobody can make one");
}
