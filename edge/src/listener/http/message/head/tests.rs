use proptest::prelude::*;

use super::*;

/// Lines are written with `|` for CRLF; the empty line at the end is added.
fn judged(head: &str) -> Result<Framing, Fault> {
    message(head).map(|message| message.framing)
}

fn message(head: &str) -> Result<Message, Fault> {
    let head = head.replace('|', "\r\n") + "\r\n\r\n";
    let end = Scan::default().feed(head.as_bytes())?;
    assert_eq!(end, Some(head.len()), "{head:?}");
    check(head.as_bytes())
}

fn check_all(table: &[(&str, Result<Framing, Fault>)]) {
    for (head, expected) in table {
        assert_eq!(judged(head), *expected, "{head:?}");
    }
}

#[test]
fn good_heads_pass() {
    check_all(&[
        ("GET / HTTP/1.1|Host: a", Ok(Framing::None)),
        ("GET / HTTP/1.0", Ok(Framing::None)),
        ("POST / HTTP/1.1|Host: a|Content-Length: 0", Ok(Framing::Length(0))),
        ("POST / HTTP/1.0|Content-Length:5", Ok(Framing::Length(5))),
        ("POST / HTTP/1.1|host:\t a \t|transfer-encoding: Chunked", Ok(Framing::Chunked)),
        ("OPTIONS * HTTP/1.1|Host: a", Ok(Framing::None)),
        ("GET http://b/c?d=%20 HTTP/1.1|Host: a:80|x-y: \u{e9}", Ok(Framing::None)),
    ]);
}

#[test]
fn line_ends_are_crlf_only() {
    for bad in
        ["GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "GET / HTTP/1.1\r\nx: a\rb\r\n\r\n", "\n"]
    {
        assert_eq!(Scan::default().feed(bad.as_bytes()), Err(Fault::LINE_END), "{bad:?}");
    }
}

#[test]
fn an_old_or_foreign_protocol_is_told_off_at_its_first_line() {
    let first = |line: &str| Scan::default().feed(format!("{line}\r\n").as_bytes());
    assert_eq!(first("GET /"), Err(Fault::REQUEST_LINE));
    assert_eq!(first("EHLO example.com"), Err(Fault::REQUEST_LINE));
    assert_eq!(first("GET / HTTP/1.2"), Err(Fault::VERSION));
    assert_eq!(first("GET / HTTP/2.0"), Err(Fault::VERSION));
    assert_eq!(first("GET / http/1.1"), Err(Fault::REQUEST_LINE));
    assert_eq!(first("GET  / HTTP/1.1"), Err(Fault::REQUEST_LINE));
    assert_eq!(first("GET / HTTP/1.1 "), Err(Fault::REQUEST_LINE));
    assert_eq!(first("GET\t/\tHTTP/1.1"), Err(Fault::REQUEST_LINE));
    assert_eq!(first("G(T / HTTP/1.1"), Err(Fault::REQUEST_LINE));
    assert_eq!(first("GET /a#b HTTP/1.1"), Err(Fault::TARGET));
    assert_eq!(first("GET /a\u{7f} HTTP/1.1"), Err(Fault::TARGET));
    assert_eq!(first("GET http://[/ HTTP/1.1"), Err(Fault::TARGET));
}

#[test]
fn a_target_is_spelt_as_the_library_takes_it() {
    for (target, spelt) in [("/\"a\"?b=`", "/\"a\"?b=`"), ("/`?<\">\u{e9}", "/%60?%3C%22%3E%C3%A9"), ("*", "*")] {
        let request = |target| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\nmore");
        let mut bytes = BytesMut::from(request(target).as_bytes());
        let end = Scan::default().feed(&bytes).expect("good").expect("whole");
        let end = respell(&mut bytes, end);
        assert_eq!((&bytes[..], &bytes[end..]), (request(spelt).as_bytes(), &b"more"[..]));
        assert!(httparse::Request::new(&mut [httparse::EMPTY_HEADER; 4]).parse(&bytes).is_ok_and(|s| s.is_complete()));
    }
}

#[test]
fn connect_is_off() {
    assert_eq!(Scan::default().feed(b"CONNECT a:443 HTTP/1.1\r\n"), Err(Fault::METHOD));
}

#[test]
fn field_names_are_tokens_without_blanks() {
    check_all(&[
        ("GET / HTTP/1.1|Host : a", Err(Fault::FIELD_NAME)),
        ("GET / HTTP/1.1|Host: a|: b", Err(Fault::FIELD_NAME)),
        ("GET / HTTP/1.1|Host: a|b", Err(Fault::FIELD_NAME)),
        ("GET / HTTP/1.1|Host: a|b\u{e9}: c", Err(Fault::FIELD_NAME)),
        ("GET / HTTP/1.1|Host: a|b(c): d", Err(Fault::FIELD_NAME)),
    ]);
}

#[test]
fn a_space_before_the_first_field_and_obs_fold_are_refused() {
    check_all(&[
        ("GET / HTTP/1.1| Host: a", Err(Fault::FOLDED)),
        ("GET / HTTP/1.1|Host: a|b: c| d", Err(Fault::FOLDED)),
        ("GET / HTTP/1.1|Host: a|b: c|\td", Err(Fault::FOLDED)),
    ]);
}

#[test]
fn control_characters_in_values_are_refused() {
    for control in (0..0x20).chain([0x7f]).filter(|c| !matches!(c, b'\t' | b'\r' | b'\n')) {
        let head = format!("GET / HTTP/1.1|Host: a|b: c{}d", char::from(control));
        assert_eq!(judged(&head), Err(Fault::FIELD_VALUE), "{control:#x}");
    }
}

#[test]
fn length_and_encoding_together_are_refused() {
    check_all(&[
        ("POST / HTTP/1.1|Host: a|Content-Length: 4|Transfer-Encoding: chunked", Err(Fault::LENGTH_AND_ENCODING)),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Content-Length: 4", Err(Fault::LENGTH_AND_ENCODING)),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: x|Content-Length: 4", Err(Fault::LENGTH_AND_ENCODING)),
    ]);
}

#[test]
fn a_transfer_encoding_is_exactly_one_chunked() {
    for bad in [
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "gzip, chunked",
        "chunked, identity",
        "identity",
        "xchunked",
        "\"chunked\"",
        "chunked;q=1",
        "",
        "chun\u{a0}ked",
        "\u{a0}chunked",
        "\u{85}chunked",
        "\x0bchunked",
    ] {
        let expected = if bad.contains('\x0b') { Fault::FIELD_VALUE } else { Fault::ENCODING };
        assert_eq!(judged(&format!("POST / HTTP/1.1|Host: a|Transfer-Encoding: {bad}")), Err(expected), "{bad}");
    }
    check_all(&[
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Transfer-Encoding: chunked", Err(Fault::ENCODING)),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Transfer-Encoding: x", Err(Fault::ENCODING)),
    ]);
}

#[test]
fn http_1_0_has_no_transfer_encoding() {
    check_all(&[("POST / HTTP/1.0|Host: a|Transfer-Encoding: chunked", Err(Fault::ENCODING))]);
}

#[test]
fn a_content_length_is_one_number() {
    for bad in
        ["", "+1", "-1", "0x1", "1 1", "1,1", "1.0", "1_0", "9223372036854775808", "99999999999999999999", "\u{b2}"]
    {
        assert_eq!(judged(&format!("POST / HTTP/1.1|Host: a|Content-Length: {bad}")), Err(Fault::LENGTH), "{bad}");
    }
    check_all(&[
        ("POST / HTTP/1.1|Host: a|Content-Length: 9223372036854775807", Ok(Framing::Length(i64::MAX as u64))),
        ("POST / HTTP/1.1|Host: a|Content-Length: 1|Content-Length: 2", Err(Fault::LENGTH)),
        ("POST / HTTP/1.1|Host: a|Content-Length: 1|Content-Length: 1", Err(Fault::LENGTH)),
    ]);
}

#[test]
fn http_1_1_has_exactly_one_valid_host() {
    check_all(&[
        ("GET / HTTP/1.1", Err(Fault::HOST)),
        ("GET / HTTP/1.1|Host:", Err(Fault::HOST)),
        ("GET / HTTP/1.1|Host: a|Host: a", Err(Fault::HOST)),
        ("GET / HTTP/1.0|Host: a|Host: b", Err(Fault::HOST)),
        ("GET / HTTP/1.1|Host: a b", Err(Fault::HOST)),
        ("GET / HTTP/1.1|Host: a/b", Err(Fault::HOST)),
        ("GET / HTTP/1.1|Host: u@a", Err(Fault::HOST)),
        ("GET http://b/ HTTP/1.1|Host: a:x", Err(Fault::HOST)),
        ("GET / HTTP/1.0|Host: a b", Err(Fault::HOST)),
    ]);
}

#[test]
fn what_follows_the_wish_for_another_protocol_waits_for_the_answer() {
    let upgrade = "Host: a|Connection: x, Upgrade|Upgrade";
    for (head, framing, switches) in [
        (format!("GET / HTTP/1.1|{upgrade}: websocket"), Framing::None, true),
        (format!("GET / HTTP/1.1|{upgrade}: h2c, tcp"), Framing::None, true),
        (format!("POST / HTTP/1.1|{upgrade}: tcp|Content-Length: 2"), Framing::Length(2), true),
        (format!("POST / HTTP/1.1|{upgrade}: tcp|Transfer-Encoding: chunked"), Framing::Chunked, true),
        (format!("GET / HTTP/1.1|{upgrade}: h2c"), Framing::None, false),
        (format!("GET / HTTP/1.0|{upgrade}: websocket"), Framing::None, false),
        ("GET / HTTP/1.1|Host: a|Upgrade: websocket".to_owned(), Framing::None, false),
    ] {
        assert_eq!(message(&head), Ok(Message { framing, switches }), "{head:?}");
    }
}

#[test]
fn heads_are_bounded_in_bytes_and_fields() {
    let many = format!("GET / HTTP/1.1|Host: a{}", "|a: b".repeat(FIELDS_MAX));
    assert_eq!(judged(&many), Err(Fault::TOO_MANY_FIELDS));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nb: {}", "c".repeat(HEAD_MAX));
    assert_eq!(Scan::default().feed(long.as_bytes()), Err(Fault::HEAD_TOO_LARGE));
    assert_eq!(Scan::default().feed(&[b'a'; HEAD_MAX + 1]), Err(Fault::HEAD_TOO_LARGE));
}

/// Lines as clients and attackers write them.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z-]{1,8}: ?[ -~\t]{0,12}",
        1 => "Host: [a-z.]{1,8}",
        1 => "(Content-Length|Transfer-Encoding)[ ]?: ?(chunked|[0-9]{1,3}|gzip, chunked|\\+1)",
        1 => "[ -~\t]{0,12}",
    ]
}

/// Heads that are nearly right, with a byte in them that may be anything.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::collection::vec(line(), 0..6);
    let first = "(GET|POST|M-SEARCH|OPTIONS) (/[!-~]{0,8}|\\*|http://a/b) HTTP/1\\.[01]";
    let spoilt = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (first, lines, spoilt).prop_map(|(first, lines, spoilt)| {
        let mut head = [&[first, "Host: a".to_owned()][..], &lines].concat().join("\r\n").into_bytes();
        head.extend_from_slice(b"\r\n\r\n");
        if let Some((at, byte)) = spoilt {
            let at = at.index(head.len());
            head[at] = byte;
        }
        head
    })
}

proptest! {
    #[test]
    fn what_is_accepted_another_parser_reads_the_same_way(head in heads()) {
        if let Ok(Some(length)) = Scan::default().feed(&head) && let Ok(framing) = check(&head[..length]) {
            let mut head = BytesMut::from(&head[..]);
            let length = respell(&mut head, length);
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut request = httparse::Request::new(&mut fields);
            prop_assert_eq!(request.parse(&head), Ok(httparse::Status::Complete(length)));
            let target = request.path.expect("a target");
            prop_assert!(Uri::try_from(target).is_ok(), "the library refuses {target}");
            let lengths = request.headers.iter().filter(|f| f.name.eq_ignore_ascii_case("content-length")).count();
            let encodings = request.headers.iter().filter(|f| f.name.eq_ignore_ascii_case("transfer-encoding")).count();
            let expected = match framing.framing {
                Framing::Length(_) => (1, 0),
                Framing::Chunked => (0, 1),
                Framing::None => (0, 0),
            };
            prop_assert_eq!((lengths, encodings), expected);
        }
    }

    #[test]
    fn the_answer_does_not_depend_on_how_bytes_arrive(head in "[ -~\r\n\t]{0,60}(\r\n\r\n)?", cut in 0_usize..60) {
        let whole = Scan::default().feed(head.as_bytes());
        let mut scan = Scan::default();
        let cut = cut.min(head.len());
        let first = scan.feed(&head.as_bytes()[..cut]);
        let parts = match first {
            Ok(None) => scan.feed(head.as_bytes()),
            done => done,
        };
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn nothing_panics(head in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&head);
        let _ = Scan::default().feed(&head);
    }
}
