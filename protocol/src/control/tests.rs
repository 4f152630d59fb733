use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    codec::{CONTROL_HEAD, FrameHead},
    golden,
    limits::{CLAIM_TEXT_MAX, CONTROL_BODY_MAX, DER_MAX, LINKS_MAX, ROUTES_MAX, WINDOWS_MAX},
    version::VERSION,
};

fn claim(vnet: &str, cidr: &str) -> RouteClaim {
    RouteClaim { vnet: vnet.to_owned(), cidr: cidr.to_owned() }
}

fn hello() -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        software: "0.1.0".to_owned(),
        run: 0x0123_4567_89ab_cdef,
        slot: 1,
        links: 2,
        routes: vec![claim("prod", "10.0.0.0/16")],
    }
}

fn welcome() -> Welcome {
    let refused = RefusedRoute { route: claim("prod", "0.0.0.0/0"), reason: "outside the grant".to_owned() };
    Welcome {
        version: 1,
        edge: "edge-1".to_owned(),
        link: 7,
        accepted: vec![claim("prod", "10.0.0.0/16")],
        refused: vec![refused],
    }
}

fn claims() -> Claims {
    Claims { links: 2, routes: vec![claim("prod", "10.0.0.0/16")] }
}

fn judged() -> Judged {
    let Welcome { accepted, refused, .. } = welcome();
    Judged { accepted, refused }
}

fn enrol() -> Enrol {
    Enrol { token: [0xa1; 16], secret: [0xb2; 32], replica: "r-1".to_owned(), csr: vec![0x30, 0x03, 1, 2, 3] }
}

fn enrolled() -> Enrolled {
    Enrolled { connector: "dc1".to_owned(), certificate: vec![0x30, 1, 1], ca: vec![0x30, 1, 2] }
}

/// Every message once, by the name of its block in the document, with its frame.
fn golden_frames() -> Vec<(&'static str, Message, &'static str)> {
    vec![
        (
            "hello",
            Message::Hello(hello()),
            "0001 00000044 0100 0100 0500000000000000 302e312e30 efcdab8967452301 0100 0200 0100000000000000 \
             0400000000000000 70726f64 0b00000000000000 31302e302e302e302f3136",
        ),
        (
            "welcome",
            Message::Welcome(welcome()),
            "0002 0000007d 0100 0600000000000000 656467652d31 0700000000000000 0100000000000000 0400000000000000 \
             70726f64 0b00000000000000 31302e302e302e302f3136 0100000000000000 0400000000000000 70726f64 \
             0900000000000000 302e302e302e302f30 1100000000000000 6f75747369646520746865206772616e74",
        ),
        (
            "refused",
            Message::Refused(Refusal::new(RefusalCode::Revoked, "revoked")),
            "0003 00000011 0300 0700000000000000 7265766f6b6564",
        ),
        ("goodbye", Message::Goodbye(Goodbye { grace_ms: 30_000 }), "0004 00000004 30750000"),
        ("renew", Message::Renew(Renew { csr: vec![0x30, 3, 1, 2, 3] }), "0005 0000000d 0500000000000000 3003010203"),
        (
            "renewed",
            Message::Renewed(Renewed { certificate: vec![0x30, 1, 1] }),
            "0006 0000000b 0300000000000000 300101",
        ),
        (
            "windows",
            Message::Windows(Windows { windows: vec![FlowWindow { stream: 3, limit: 262_144 }] }),
            "0007 00000018 0100000000000000 0300000000000000 0000040000000000",
        ),
        (
            "claims",
            Message::Claims(claims()),
            "0008 00000029 0200 0100000000000000 0400000000000000 70726f64 0b00000000000000 31302e302e302e302f3136",
        ),
        (
            "judged",
            Message::Judged(judged()),
            "0009 00000065 0100000000000000 0400000000000000 70726f64 0b00000000000000 31302e302e302e302f3136 \
             0100000000000000 0400000000000000 70726f64 0900000000000000 302e302e302e302f30 \
             1100000000000000 6f75747369646520746865206772616e74",
        ),
        ("successor", Message::Successor(Successor { is_coming: true }), "000a 00000001 01"),
        (
            "enrol",
            Message::Enrol(enrol()),
            "0010 00000048 a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1 \
             b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2 \
             0300000000000000 722d31 0500000000000000 3003010203",
        ),
        (
            "enrolled",
            Message::Enrolled(enrolled()),
            "0011 00000021 0300000000000000 646331 0300000000000000 300101 0300000000000000 300102",
        ),
        ("optional", Message::Ignored(0x8001), "8001 00000000"),
    ]
}

/// Reads a whole frame, as a receiver does.
fn read_frame(frame: &[u8]) -> Result<Message, DecodeError> {
    let (head, body) = frame.split_first_chunk::<CONTROL_HEAD>().expect("a head");
    let head = FrameHead::decode(*head)?;
    assert_eq!(head.length, body.len());
    Message::decode(head.kind, body)
}

#[test]
fn every_message_has_its_golden_bytes() {
    for (name, message, hex) in golden_frames() {
        let bytes = golden::bytes(hex);
        assert_eq!(message.encode(), bytes, "{name}");
        assert_eq!(read_frame(&bytes).as_ref(), Ok(&message), "{name}");
        assert_eq!(golden::documented(name), bytes, "{name} in docs/protocol.md");
        assert_eq!(message.name(), name);
    }
}

fn text(max: usize) -> impl Strategy<Value = String> {
    vec(any::<char>().prop_filter("no control character", |c| !c.is_control()), 0..=max / 4)
        .prop_map(|chars| chars.into_iter().collect())
}

fn route() -> impl Strategy<Value = RouteClaim> {
    (text(CLAIM_TEXT_MAX), text(CLAIM_TEXT_MAX)).prop_map(|(vnet, cidr)| RouteClaim { vnet, cidr })
}

fn routes() -> impl Strategy<Value = Vec<RouteClaim>> {
    vec(route(), 0..20)
}

fn der() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..2000)
}

fn messages() -> impl Strategy<Value = Message> {
    let numbers = (any::<u16>(), any::<u16>(), any::<u64>(), 1..=LINKS_MAX, any::<u16>());
    let hello = (numbers, text(TEXT_MAX), routes()).prop_map(|(numbers, software, routes)| {
        let (version_min, version_max, run, links, slot) = numbers;
        Message::Hello(Hello { version_min, version_max, software, run, slot: slot % (2 * links), links, routes })
    });
    let refused = || vec((route(), text(TEXT_MAX)).prop_map(|(route, reason)| RefusedRoute { route, reason }), 0..20);
    let judged = (routes(), refused()).prop_map(|(accepted, refused)| Message::Judged(Judged { accepted, refused }));
    let claims = (1..=LINKS_MAX, routes()).prop_map(|(links, routes)| Message::Claims(Claims { links, routes }));
    let welcome = (text(TEXT_MAX), any::<u64>(), routes(), refused()).prop_map(|(edge, link, accepted, refused)| {
        Message::Welcome(Welcome { version: VERSION, edge, link, accepted, refused })
    });
    let refusal = (any::<u16>(), text(TEXT_MAX)).prop_map(|(code, text)| Message::Refused(Refusal { code, text }));
    let enrol = (any::<[u8; 16]>(), any::<[u8; 32]>(), text(TEXT_MAX), der())
        .prop_map(|(token, secret, replica, csr)| Message::Enrol(Enrol { token, secret, replica, csr }));
    let enrolled = (text(TEXT_MAX), der(), der())
        .prop_map(|(connector, certificate, ca)| Message::Enrolled(Enrolled { connector, certificate, ca }));
    let window = (any::<u64>(), any::<u64>()).prop_map(|(stream, limit)| FlowWindow { stream, limit });
    let windows = vec(window, 0..20).prop_map(|windows| Message::Windows(Windows { windows }));
    prop_oneof![
        hello,
        windows,
        claims,
        judged,
        welcome,
        refusal,
        any::<u32>().prop_map(|grace_ms| Message::Goodbye(Goodbye { grace_ms })),
        any::<bool>().prop_map(|is_coming| Message::Successor(Successor { is_coming })),
        der().prop_map(|csr| Message::Renew(Renew { csr })),
        der().prop_map(|certificate| Message::Renewed(Renewed { certificate })),
        enrol,
        enrolled,
        (OPTIONAL..=u16::MAX).prop_map(Message::Ignored),
    ]
}

proptest! {
    #[test]
    fn what_is_sent_is_what_is_read(message in messages()) {
        prop_assert_eq!(read_frame(&message.encode()), Ok(message));
    }

    #[test]
    fn any_bytes_are_a_message_or_a_coded_error(kind in 0u16..20, body in vec(any::<u8>(), 0..300)) {
        if let Ok(message) = Message::decode(kind, &body) {
            prop_assert_eq!(&message.encode()[CONTROL_HEAD..], &body, "one message has one form");
        }
    }

    #[test]
    fn damaged_messages_are_messages_or_coded_errors(
        message in messages(), at in any::<prop::sample::Index>(), damage in vec(any::<u8>(), 1..12),
    ) {
        let frame = message.encode();
        let (head, body) = frame.split_first_chunk::<CONTROL_HEAD>().expect("a head");
        let head = FrameHead::decode(*head).expect("our own");
        let mut body = body.to_vec();
        if !body.is_empty() {
            let at = at.index(body.len());
            let end = body.len().min(at + damage.len());
            body[at..end].copy_from_slice(&damage[..end - at]);
        }
        if let Ok(read @ (Message::Hello(_) | Message::Welcome(_))) = Message::decode(head.kind, &body) {
            prop_assert_eq!(&read.encode()[CONTROL_HEAD..], &body);
        }
    }
}

#[test]
fn a_body_that_is_cut_anywhere_is_malformed() {
    for (name, message, hex) in golden_frames() {
        let frame = golden::bytes(hex);
        let kind = u16::from_be_bytes([frame[0], frame[1]]);
        for end in CONTROL_HEAD..frame.len() {
            let read = Message::decode(kind, &frame[CONTROL_HEAD..end]);
            assert!(matches!(read, Err(DecodeError::Malformed { kind: k, .. }) if k == kind), "{name} cut at {end}");
        }
        let longer = [&frame[CONTROL_HEAD..], &[0]].concat();
        let read = Message::decode(kind, &longer);
        if matches!(message, Message::Ignored(_)) {
            assert_eq!(read, Ok(message), "never looked into");
        } else {
            assert!(matches!(read, Err(DecodeError::Malformed { .. })), "{name} goes on");
        }
    }
}

#[test]
fn no_flipped_bit_does_harm() {
    for (_, _, hex) in golden_frames() {
        let frame = golden::bytes(hex);
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (head, body) = damaged.split_first_chunk::<CONTROL_HEAD>().expect("a head");
            // Whatever comes of it, it is a value or an error.
            let _ = FrameHead::decode(*head).map(|head| Message::decode(head.kind, body));
        }
    }
}

#[test]
fn an_absurd_length_inside_a_body_is_malformed() {
    // Where the lengths are in the golden bodies: texts, lists, byte strings.
    let lengths: [(u16, &str, &[usize]); 9] = [
        (HELLO, "hello", &[4, 29, 37, 49]),
        (WELCOME, "welcome", &[2, 24, 32, 44, 63, 71, 83, 100]),
        (REFUSED, "refused", &[2]),
        (RENEW, "renew", &[0]),
        (WINDOWS, "windows", &[0]),
        (CLAIMS, "claims", &[2, 10, 22]),
        (JUDGED, "judged", &[0, 8, 20, 39, 47, 59, 76]),
        (ENROL, "enrol", &[48, 59]),
        (ENROLLED, "enrolled", &[0, 11, 22]),
    ];
    for (kind, name, places) in lengths {
        let body = &golden::documented(name)[CONTROL_HEAD..];
        for place in places {
            for length in [body.len() as u64, 65_536, 65_537, 1 << 32, 1 << 60, u64::MAX] {
                let mut body = body.to_vec();
                body[*place..place + 8].copy_from_slice(&length.to_le_bytes());
                let read = Message::decode(kind, &body);
                assert!(matches!(read, Err(DecodeError::Malformed { .. })), "{name} at {place}: {length}: {read:?}");
            }
        }
    }
}

#[test]
fn an_oversized_frame_is_known_by_its_head() {
    let head = |length: u32| {
        let [a, b, c, d] = length.to_be_bytes();
        FrameHead::decode([0, 1, a, b, c, d])
    };
    assert_eq!(head(65_536), Ok(FrameHead { kind: 1, length: CONTROL_BODY_MAX }));
    for length in [65_537, 0x0100_0000, u32::MAX] {
        let expected = DecodeError::TooLong { length: length as usize, limit: CONTROL_BODY_MAX };
        assert_eq!(head(length), Err(expected));
    }
}

#[test]
fn unknown_kinds_are_errors_unless_they_may_be_ignored() {
    for kind in [0, 11, 15, 18, 0x7fff] {
        assert_eq!(Message::decode(kind, b"anything"), Err(DecodeError::UnknownKind(kind)));
    }
    assert!(matches!(Message::decode(SUCCESSOR, b"anything"), Err(DecodeError::Malformed { .. })));
    for kind in [0x8000, 0x8001, 0xffff] {
        assert_eq!(Message::decode(kind, b"anything"), Ok(Message::Ignored(kind)));
    }
}

fn bound_of(message: &Message) -> Option<&'static str> {
    match read_frame(&message.encode()) {
        Err(DecodeError::OutOfBounds { what, .. }) => Some(what),
        Ok(_) => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn values_beyond_their_bounds_are_refused() {
    let hello_with = |edit: &dyn Fn(&mut Hello)| {
        let mut hello = hello();
        edit(&mut hello);
        bound_of(&Message::Hello(hello))
    };
    let long = |length| "x".repeat(length);
    assert_eq!(hello_with(&|h| h.software = long(256)), None);
    assert_eq!(hello_with(&|h| h.routes = vec![claim("v", "10.0.0.0/8"); ROUTES_MAX]), None);
    assert_eq!(hello_with(&|h| (h.links, h.slot) = (64, 127)), None);
    let texts = Some("a text has at most 256 bytes and no control character");
    let claims_bound = Some("there are at most 512 routes, each of two texts of at most 64 bytes");
    let slots = Some("a slot is below twice the number of links");
    let links = Some("a replica keeps 1 to 64 links");
    assert_eq!(hello_with(&|h| h.software = long(257)), texts);
    assert_eq!(hello_with(&|h| h.software = "1\u{1b}[31m".to_owned()), texts);
    assert_eq!(hello_with(&|h| h.routes = vec![claim("v", "10.0.0.0/8"); ROUTES_MAX + 1]), claims_bound);
    assert_eq!(hello_with(&|h| h.routes = vec![claim(&long(65), "10.0.0.0/8")]), claims_bound);
    assert_eq!(hello_with(&|h| h.routes = vec![claim("v", &long(65))]), claims_bound);
    assert_eq!(hello_with(&|h| h.routes = vec![claim("v\n", "10.0.0.0/8")]), claims_bound);
    assert_eq!(hello_with(&|h| h.slot = 4), slots);
    assert_eq!(hello_with(&|h| h.links = 0), links);
    assert_eq!(hello_with(&|h| h.links = 65), links);

    let bound_of_claims = |edit: &dyn Fn(&mut Claims)| {
        let mut claims = claims();
        edit(&mut claims);
        bound_of(&Message::Claims(claims))
    };
    assert_eq!(bound_of_claims(&|c| c.routes = Vec::new()), None, "a connector may claim nothing any more");
    assert_eq!(bound_of_claims(&|c| c.routes = vec![claim("v", "10.0.0.0/8"); ROUTES_MAX]), None);
    assert_eq!(bound_of_claims(&|c| c.routes = vec![claim("v", "10.0.0.0/8"); ROUTES_MAX + 1]), claims_bound);
    assert_eq!(bound_of_claims(&|c| c.routes = vec![claim("v", &long(65))]), claims_bound);
    assert_eq!(bound_of_claims(&|c| c.links = 0), links);
    assert_eq!(bound_of_claims(&|c| c.links = 65), links);
    let bound_of_judged = |edit: &dyn Fn(&mut Judged)| {
        let mut judged = judged();
        edit(&mut judged);
        bound_of(&Message::Judged(judged))
    };
    assert_eq!(bound_of_judged(&|j| j.accepted = vec![claim(&long(65), "10.0.0.0/8")]), claims_bound);
    assert_eq!(bound_of_judged(&|j| j.refused[0].route.cidr = long(65)), claims_bound);
    assert_eq!(bound_of_judged(&|j| j.refused[0].reason = long(257)), texts);

    let version = Some("the chosen version was not offered");
    assert_eq!(bound_of(&Message::Welcome(Welcome { version: 9, ..welcome() })), version);
    let der = Some("a request or certificate has at most 16,384 bytes");
    assert_eq!(bound_of(&Message::Renew(Renew { csr: vec![0; DER_MAX] })), None);
    assert_eq!(bound_of(&Message::Renew(Renew { csr: vec![0; DER_MAX + 1] })), der);
    assert_eq!(bound_of(&Message::Renewed(Renewed { certificate: vec![0; DER_MAX + 1] })), der);
    assert_eq!(bound_of(&Message::Enrol(Enrol { csr: vec![0; DER_MAX + 1], ..enrol() })), der);
    assert_eq!(bound_of(&Message::Enrolled(Enrolled { ca: vec![0; DER_MAX + 1], ..enrolled() })), der);
    assert_eq!(bound_of(&Message::Refused(Refusal { code: 1, text: long(257) })), texts);
    let told =
        |windows| bound_of(&Message::Windows(Windows { windows: vec![FlowWindow { stream: 1, limit: 1 }; windows] }));
    assert_eq!(told(WINDOWS_MAX), None);
    assert_eq!(told(WINDOWS_MAX + 1), Some("a message tells of at most 1,024 windows"));
}

#[test]
fn a_list_longer_than_its_bound_is_refused_before_there_is_room_for_it() {
    // Empty texts take 16 bytes a claim: 4,000 fit into a frame.
    let routes = vec![claim("", ""); 4000];
    let frame = Message::Hello(Hello { routes, ..hello() }).encode();
    assert!(frame.len() <= CONTROL_HEAD + CONTROL_BODY_MAX);
    assert!(matches!(read_frame(&frame), Err(DecodeError::Malformed { .. })));
}

#[test]
fn the_longest_registration_and_its_answer_fit_into_a_frame() {
    let longest = claim(&"v".repeat(63), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128");
    let hello = Hello { software: "x".repeat(TEXT_MAX), routes: vec![longest.clone(); ROUTES_MAX], ..hello() };
    assert!(read_frame(&Message::Hello(hello).encode()).is_ok());
    let longest = vec![longest; ROUTES_MAX];
    let all = Welcome { edge: "e".repeat(63), accepted: longest.clone(), refused: vec![], ..welcome() };
    assert_eq!(all.clone().fitting(), all);
    assert!(read_frame(&Message::Welcome(all.clone()).encode()).is_ok());
    let reason = "r".repeat(TEXT_MAX);
    let refused: Vec<_> =
        longest.iter().map(|route| RefusedRoute { route: route.clone(), reason: reason.clone() }).collect();
    for accepted in [vec![], longest] {
        let fitting = Welcome { accepted: accepted.clone(), refused: refused.clone(), ..all.clone() }.fitting();
        assert_eq!(fitting.accepted, accepted, "what is accepted is never left out");
        assert!(fitting.refused.len() < ROUTES_MAX);
        let one_more = Welcome { refused: refused[..=fitting.refused.len()].to_vec(), ..fitting.clone() };
        assert_eq!(one_more.fitting(), fitting, "no more than that fits");
        assert!(read_frame(&Message::Welcome(fitting).encode()).is_ok());
        let fitting = Judged { accepted, refused: refused.clone() }.fitting();
        assert!(!fitting.refused.is_empty() && read_frame(&Message::Judged(fitting).encode()).is_ok());
    }
}

#[test]
fn explanations_are_cut_to_what_a_receiver_accepts() {
    let refusal = Refusal::new(RefusalCode::NoGrant, &format!("two\nlines {}", "é".repeat(200)));
    assert!(refusal.text.starts_with("two lines é") && refusal.text.len() <= TEXT_MAX);
    assert_eq!(bound_of(&Message::Refused(refusal)), None);
}

#[test]
fn an_unknown_refusal_code_makes_a_connector_try_again() {
    assert_eq!(Refusal { code: 999, text: String::new() }.code(), RefusalCode::Unavailable);
}

#[test]
fn claims_are_read_strictly() {
    assert!(claim("prod", "10.0.0.0/16").parse().is_ok());
    for (vnet, cidr, why) in [
        ("Prod", "10.0.0.0/16", "not a VNet name"),
        ("prod", "10.0.0.0/33", "not a CIDR"),
        ("prod", "", "not a CIDR"),
        ("prod", "10.0.0.1/16", "has bits set behind its prefix"),
    ] {
        assert_eq!(claim(vnet, cidr).parse(), Err(why));
    }
}

#[test]
fn secrets_do_not_show_in_logs() {
    let shown = format!("{:?}", Message::Enrol(enrol()));
    assert!(shown.contains("***") && !shown.contains("178") && !shown.contains("b2"), "{shown}");
}
