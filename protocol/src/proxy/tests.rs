use proptest::{collection::vec, prelude::*};

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
    fn no_bytes_upset_the_reader(begin in 0..3_usize, bytes in vec(any::<u8>(), 0..200)) {
        let begin: &[u8] = [&b""[..], LINE_BEGIN, SIGNATURE][begin];
        let _ = feed(&[begin, &bytes].concat());
    }
}
