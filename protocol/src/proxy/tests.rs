use ppp::{HeaderResult, v1, v2};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

use super::*;

fn client(source: &str, destination: &str) -> Header {
    let parse = |text: &str| text.parse().expect("an address and a port");
    Header::Client(Ends { source: parse(source), destination: parse(destination) })
}

fn binary(command: u8, kind: u8, tail: &[u8]) -> Vec<u8> {
    let length = u16::try_from(tail.len()).expect("a short tail");
    [&SIGNATURE[..], &[command, kind], &length.to_be_bytes(), tail].concat()
}

/// Brings exactly what is asked for, as a reader does, and gives how much was taken.
fn feed(bytes: &[u8]) -> Result<(Header, usize), Option<BadHeader>> {
    let mut have = 0;
    loop {
        match read(&bytes[..have]) {
            Ok(Read::Whole(header)) => return Ok((header, have)),
            Ok(Read::More(more)) if more > 0 && have + more <= bytes.len() => have += more,
            Ok(Read::More(more)) => {
                assert!(more > 0, "nothing is asked for");
                return Err(None);
            }
            Err(bad) => return Err(Some(bad)),
        }
    }
}

fn of<A: Into<IpAddr>>(source: (A, u16), destination: (A, u16)) -> Header {
    Header::Client(Ends { source: source.into(), destination: destination.into() })
}

/// What the crate `ppp` makes of bytes, and of how many.
fn second_opinion(bytes: &[u8]) -> Option<(Header, usize)> {
    let v4 =
        |said: v1::IPv4| of((said.source_address, said.source_port), (said.destination_address, said.destination_port));
    let v6 =
        |said: v1::IPv6| of((said.source_address, said.source_port), (said.destination_address, said.destination_port));
    Some(match HeaderResult::parse(bytes) {
        HeaderResult::V1(header) => {
            let header = header.ok()?;
            let said = match header.addresses {
                v1::Addresses::Unknown => Header::Local,
                v1::Addresses::Tcp4(said) => v4(said),
                v1::Addresses::Tcp6(said) => v6(said),
            };
            (said, header.header.len())
        }
        HeaderResult::V2(header) => {
            let header = header.ok()?;
            let said = match (header.command, header.addresses) {
                (v2::Command::Proxy, v2::Addresses::IPv4(said)) => v4(said),
                (v2::Command::Proxy, v2::Addresses::IPv6(said)) => v6(said),
                (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) | (v2::Command::Local, _) => {
                    Header::Local
                }
            };
            (said, header.header.len())
        }
    })
}

fn any_ends() -> impl Strategy<Value = Ends> {
    let any_end = || prop_oneof![any::<([u8; 4], u16)>().prop_map_into(), any::<([u8; 16], u16)>().prop_map_into()];
    (any_end(), any_end()).prop_map(|(source, destination)| Ends { source, destination })
}

/// Headers of both versions, with some bytes that are others, too many, or missing.
fn nearly_headers() -> impl Strategy<Value = Vec<u8>> {
    let line = |ends: Ends| {
        let family = if ends.source.is_ipv4() { "TCP4" } else { "TCP6" };
        let [(from, port), (to, at)] = [ends.source, ends.destination].map(|end| (end.ip(), end.port()));
        format!("PROXY {family} {from} {to} {port} {at}\r\n").into_bytes()
    };
    let kinds = select(vec![UNSPECIFIED, TCP4, TCP6, UDP4, UDP6, UNIX]);
    let headers = prop_oneof![
        any_ends().prop_map(line),
        (select(vec![LOCAL, PROXY]), kinds, vec(any::<u8>(), 0..60))
            .prop_map(|(command, kind, tail)| binary(command, kind, &tail)),
        (any_ends(), vec(any::<u8>(), 0..4)).prop_map(|(ends, tlvs)| {
            let encoded = Header::Client(ends).encode();
            binary(
                encoded[12],
                encoded[13],
                &[&encoded[16..], &[4, 0, u8::try_from(tlvs.len()).expect("few")], &tlvs].concat(),
            )
        }),
    ];
    let others = vec((any::<Index>(), 0..3_u8, select(b" \r\n01+.:P\0\x11\x12\x21".to_vec())), 0..3);
    (headers, others, vec(any::<u8>(), 0..3)).prop_map(|(mut bytes, others, behind)| {
        bytes.extend(behind);
        for (at, how, other) in others {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = other,
                1 => bytes.insert(at, other),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

#[test]
fn headers_have_their_golden_bytes() {
    let v4 = client("192.0.2.1:4660", "198.51.100.7:443").encode();
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    assert_eq!(&v4[..], [&head[..], &[192, 0, 2, 1, 198, 51, 100, 7, 0x12, 0x34, 0x01, 0xbb]].concat());
    assert_eq!(&Header::Local.encode()[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    let udp = client("192.0.2.1:4660", "198.51.100.7:443").encode_datagram();
    assert_eq!((&udp[..13], &udp[13..]), (&head[..13], &[&[0x12, 0, 12][..], &v4[16..]].concat()[..]));
    let udp = client("[2001:db8::1]:1", "[2001:db8::2]:2").encode_datagram();
    assert_eq!((udp.len(), &udp[13..16]), (52, &[0x22, 0, 36][..]));
    assert_eq!(Header::Local.encode_datagram(), Header::Local.encode());
    let line = |source, destination| String::from_utf8_lossy(&client(source, destination).encode_line()).into_owned();
    assert_eq!(line("192.0.2.1:4660", "198.51.100.7:443"), "PROXY TCP4 192.0.2.1 198.51.100.7 4660 443\r\n");
    assert_eq!(line("[2001:db8::1]:1", "[2001:db8::2]:2"), "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n");
    assert_eq!(line("192.0.2.1:1", "[2001:db8::2]:2"), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    assert_eq!(&Header::Local.encode_line()[..], b"PROXY UNKNOWN\r\n");
    let simple = client("192.0.2.1:4660", "198.51.100.7:443").encode_simple();
    let mapped = |ip: [u8; 4]| [&[0; 10][..], &[0xff; 2], &ip].concat();
    let addresses = [mapped([192, 0, 2, 1]), mapped([198, 51, 100, 7])].concat();
    assert_eq!(simple[..], [&[0x56, 0xec][..], &addresses, &[0x12, 0x34, 0x01, 0xbb]].concat());
    assert_eq!(Header::Local.encode_simple()[2..], [0; 36]);
    let mixed = client("192.0.2.1:1", "[2001:db8::1]:2").encode();
    assert_eq!(feed(&mixed).map(|(h, _)| h), Ok(client("[::ffff:192.0.2.1]:1", "[2001:db8::1]:2")));
}

#[test]
fn lines_of_version_1_are_read_to_the_letter() {
    let line = |text: &str| feed(text.as_bytes()).map(|(header, _)| header);
    assert_eq!(line("PROXY TCP4 192.0.2.1 198.51.100.7 1 65535\r\n"), Ok(client("192.0.2.1:1", "198.51.100.7:65535")));
    assert_eq!(line("PROXY TCP6 2001:db8::1 ::1 80 443\r\n"), Ok(client("[2001:db8::1]:80", "[::1]:443")));
    assert_eq!(line("PROXY UNKNOWN\r\n"), Ok(Header::Local));
    assert_eq!(line("PROXY UNKNOWN ffff::1 ffff::1 1 1\r\n"), Ok(Header::Local));
    for bad in [
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.7 1 2\r\n",
        "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
        "PROXY TCP4\r 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n",
        &format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_MAX)),
    ] {
        assert_eq!(line(bad), Err(Some(BadHeader::Line)), "{bad:?}");
    }
    assert_eq!(line("PROXY\r\n and more of it"), Err(Some(BadHeader::Begin)));
    assert_eq!(line("proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n"), Err(Some(BadHeader::Begin)));
    assert_eq!(read(b"G"), Err(BadHeader::Begin), "at the first byte");
}

#[test]
fn what_is_not_of_a_tcp_client_or_does_not_fit_is_refused_or_local() {
    let v4 = [192, 0, 2, 1, 198, 51, 100, 7, 0, 1, 0, 2];
    let check = |bytes: &[u8], expected| assert_eq!(feed(bytes).map(|(header, _)| header), expected);
    let ends = client("192.0.2.1:1", "198.51.100.7:2");
    check(&binary(PROXY, TCP4, &v4), Ok(ends));
    check(&binary(PROXY, TCP4, &[&v4[..], &[4, 0, 1, 0, 1, 0, 0]].concat()), Ok(ends));
    check(&binary(PROXY, TCP4, &[&v4[..], &[4, 0, 2, 0]].concat()), Err(Some(BadHeader::Length)));
    check(&binary(PROXY, TCP4, &[&v4[..], &[4, 0]].concat()), Err(Some(BadHeader::Length)));
    check(&binary(PROXY, TCP4, &v4[..11]), Err(Some(BadHeader::Length)));
    check(&binary(PROXY, TCP6, &v4), Err(Some(BadHeader::Length)));
    check(&binary(PROXY, 0x12, &v4), Err(Some(BadHeader::Kind)));
    check(&binary(0x22, TCP4, &v4), Err(Some(BadHeader::Kind)));
    check(&binary(0x11, TCP4, &v4), Err(Some(BadHeader::Kind)));
    check(&binary(LOCAL, TCP4, &v4), Ok(Header::Local));
    check(&binary(PROXY, UNSPECIFIED, &[]), Ok(Header::Local));
    check(&binary(PROXY, UNIX, &[0; 216]), Ok(Header::Local));
    check(&binary(PROXY, TCP4, &vec![0; TAIL_MAX + 1]), Err(Some(BadHeader::Length)));
}

proptest! {
    #[test]
    fn headers_come_back_as_they_were_and_nothing_behind_them_is_taken(
        from: [u8; 4], to: [u8; 4], ports: [u16; 2], behind in vec(any::<u8>(), 0..50),
    ) {
        let header = Header::Client(Ends { source: (from, ports[0]).into(), destination: (to, ports[1]).into() });
        let encoded = header.encode();
        let bytes = [&encoded[..], &behind].concat();
        prop_assert_eq!(feed(&bytes), Ok((header, encoded.len())));
        let line = format!("PROXY TCP4 {} {} {} {}\r\n", Ipv4Addr::from(from), Ipv4Addr::from(to), ports[0], ports[1]);
        let bytes = [line.as_bytes(), &behind].concat();
        prop_assert_eq!(feed(&bytes), Ok((header, line.len())));
    }

    #[test]
    fn whoever_is_taken_for_a_client_is_so_by_others(bytes in nearly_headers()) {
        if let Ok((header @ Header::Client(_), len)) = feed(&bytes) {
            prop_assert_eq!(second_opinion(&bytes), Some((header, len)));
        }
    }

    #[test]
    fn what_is_written_is_read_by_others(ends in any_ends()) {
        let canonical = |ends: Ends| {
            let (from, to) = (ends.source.ip().to_canonical(), ends.destination.ip().to_canonical());
            let alike = |ip: IpAddr| if from.is_ipv4() && to.is_ipv4() { ip } else { as_v6(ip).into() };
            let [source, destination] = [(from, ends.source), (to, ends.destination)].map(|(ip, end)| (alike(ip), end.port()).into());
            Header::Client(Ends { source, destination })
        };
        for bytes in [Header::Client(ends).encode_line(), Header::Client(ends).encode(), Header::Client(ends).encode_datagram()] {
            prop_assert_eq!(second_opinion(&bytes), Some((canonical(ends), bytes.len())));
        }
        prop_assert_eq!(second_opinion(&Header::Local.encode()), Some((Header::Local, HEAD)));
    }

    #[test]
    fn no_bytes_upset_the_reader(begin in 0..3_usize, bytes in vec(any::<u8>(), 0..200)) {
        let begin: &[u8] = [&b""[..], LINE_BEGIN, SIGNATURE][begin];
        let _ = feed(&[begin, &bytes].concat());
    }
}

#[test]
fn a_payload_says_whose_it_is_in_either_way_and_what_lies_behind_is_left() {
    let ends = client("192.0.2.1:4660", "198.51.100.7:443");
    for (header, is_simple) in [(ends.encode_datagram(), false), (ends.encode_simple(), true)] {
        let payload = [&header[..], b"hello"].concat();
        let announced = Announced { header: ends, length: header.len(), is_simple };
        assert_eq!(read_datagram(&payload), Ok(announced));
        assert_eq!(read_datagram(&header), Ok(announced), "an empty payload");
        for cut in 0..header.len() {
            assert!(read_datagram(&header[..cut]).is_err(), "{cut} bytes");
        }
    }
    for local in [Header::Local.encode_datagram(), Header::Local.encode_simple()] {
        assert_eq!(read_datagram(&local).map(|announced| announced.header), Ok(Header::Local));
    }
    assert_eq!(read_datagram(&ends.encode()), Err(BadHeader::Kind), "TCP over UDP");
    assert_eq!(read_datagram(b"hello"), Err(BadHeader::Begin));
    let endless = [&SIGNATURE[..], &[PROXY, UDP4, 0xff, 0xff], &[0; 3_000]].concat();
    assert_eq!(read_datagram(&endless), Err(BadHeader::Length));
}

proptest! {
    #[test]
    fn no_payload_is_misread_beyond_its_end(payload in vec(any::<u8>(), 0..80), begin in 0..3_usize) {
        let begins = [&b""[..], &SIGNATURE[..], &[0x56, 0xec]];
        let payload = [begins[begin], &payload].concat();
        if let Ok(announced) = read_datagram(&payload) {
            prop_assert!(announced.length <= payload.len());
        }
    }
}
