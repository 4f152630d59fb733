use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    codec::{HEADER_HEAD, header_head},
    golden,
    limits::{HEADER_BODY_MAX, HOST_NAME_MAX},
};

fn open(target: &str) -> Open {
    let vnet = "prod".parse().expect("a name");
    Open::Tcp(OpenTcp { vnet, target: target.parse().expect("a target"), wait: Duration::from_secs(5), flow: None })
}

/// The same for a flow.
fn of_flow(open: Open) -> Open {
    let flow = Some("4bf92f3577b34da6a3ce929d0e0e4736".parse().expect("an id"));
    match open {
        Open::Tcp(open) => Open::Tcp(OpenTcp { flow, ..open }),
        Open::Udp(open) => Open::Udp(OpenUdp { flow, ..open }),
        ping @ Open::Ping(_) => ping,
    }
}

fn read<T>(frame: &[u8], decode: impl FnOnce(u8, &[u8]) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    let (head, body) = frame.split_first_chunk::<HEADER_HEAD>().expect("a head");
    let (kind, length) = header_head(*head)?;
    assert_eq!(length, body.len());
    decode(kind, body)
}

fn opens() -> Vec<(&'static str, Open, &'static str)> {
    vec![
        ("open-v4", open("10.0.1.10:8080"), "02 001a 0400000000000000 70726f64 00000000 0a00010a 901f 88130000"),
        (
            "open-v6",
            open("[fd00::1]:53"),
            "02 0026 0400000000000000 70726f64 01000000 fd000000000000000000000000000001 3500 88130000",
        ),
        (
            "open-name",
            open("db.internal:5432"),
            "02 0029 0400000000000000 70726f64 02000000 0b00000000000000 64622e696e7465726e616c 3815 88130000",
        ),
        (
            "open-udp",
            Open::Udp(OpenUdp {
                vnet: "prod".parse().expect("a name"),
                target: "10.0.1.10:53".parse().expect("a target"),
                wait: Duration::from_secs(5),
                idle: Duration::from_secs(60),
                session: 7,
                flow: None,
            }),
            "03 0022 0400000000000000 70726f64 00000000 0a00010a 3500 88130000 60ea0000 07000000",
        ),
        (
            "open-ping",
            Open::Ping(OpenPing {
                vnet: "prod".parse().expect("a name"),
                host: Host::Ip(IpAddr::from([10, 0, 1, 10])),
                wait: Duration::from_secs(5),
            }),
            "04 0018 0400000000000000 70726f64 00000000 0a00010a 88130000",
        ),
        (
            "open-tcp-flow",
            of_flow(open("10.0.1.10:8080")),
            "05 002a 0400000000000000 70726f64 00000000 0a00010a 901f 88130000 4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        (
            "open-udp-flow",
            of_flow(Open::Udp(OpenUdp {
                vnet: "prod".parse().expect("a name"),
                target: "10.0.1.10:53".parse().expect("a target"),
                wait: Duration::from_secs(5),
                idle: Duration::from_secs(60),
                session: 7,
                flow: None,
            })),
            "06 0032 0400000000000000 70726f64 00000000 0a00010a 3500 88130000 60ea0000 07000000 \
             4bf92f3577b34da6a3ce929d0e0e4736",
        ),
    ]
}

fn reached(resolve_us: Option<u64>) -> Reply {
    let [permit, dial] = [7, 1500].map(Duration::from_micros);
    Reply::Reached(Stages { resolve: resolve_us.map(Duration::from_micros), permit, dial })
}

fn replies() -> Vec<(&'static str, Reply, &'static str)> {
    let refused = Reply::Refused { reason: Reason::ConnectRefused, text: "no".to_owned() };
    vec![
        ("connected", Reply::Connected { connect: Duration::from_micros(1500) }, "01 0004 dc050000"),
        ("reached", reached(Some(250)), "03 000c fa000000 07000000 dc050000"),
        ("reached-address", reached(None), "03 000c ffffffff 07000000 dc050000"),
        ("refused-open", refused, "02 000c 0500 0200000000000000 6e6f"),
    ]
}

#[test]
fn every_header_and_reply_has_its_golden_bytes() {
    for (name, open, hex) in opens() {
        let bytes = golden::bytes(hex);
        assert_eq!(open.encode(), bytes, "{name}");
        assert_eq!(read(&bytes, Open::decode), Ok(open), "{name}");
        assert_eq!(golden::documented(name), bytes, "{name} in docs/protocol.md");
    }
    for (name, reply, hex) in replies() {
        let bytes = golden::bytes(hex);
        assert_eq!(reply.encode(), bytes, "{name}");
        assert_eq!(read(&bytes, Reply::decode), Ok(reply), "{name}");
        assert_eq!(golden::documented(name), bytes, "{name} in docs/protocol.md");
    }
}

fn hosts() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<IpAddr>().prop_map(Host::Ip),
        "[a-z][a-zA-Z0-9_.-]{0,252}".prop_map(|name| Host::name(&name).expect("a name")),
    ]
}

proptest! {
    #[test]
    fn an_open_is_read_as_it_was_sent(
        vnet in "[a-z0-9][a-z0-9-]{0,62}", host in hosts(), port in 1u16.., wait in 0u64..=60_000,
    ) {
        let open = Open::Tcp(OpenTcp {
            vnet: vnet.parse().expect("a name"), target: Target { host, port }, wait: Duration::from_millis(wait),
            flow: None,
        });
        let of_flow = of_flow(open.clone());
        prop_assert_eq!(of_flow.encode().len(), open.encode().len() + 16, "what it costs");
        prop_assert_eq!(read(&of_flow.encode(), Open::decode), Ok(of_flow));
        prop_assert_eq!(read(&open.encode(), Open::decode), Ok(open));
    }

    #[test]
    fn a_session_is_read_as_it_was_sent(
        host in hosts(), port in 1u16.., wait in 0u64..=60_000, idle in 0u64..=2_592_000_000, session: u32,
    ) {
        let open = Open::Udp(OpenUdp {
            vnet: "prod".parse().expect("a name"), target: Target { host, port },
            wait: Duration::from_millis(wait), idle: Duration::from_millis(idle), session,
            flow: None,
        });
        let of_flow = of_flow(open.clone());
        prop_assert_eq!(read(&of_flow.encode(), Open::decode), Ok(of_flow));
        prop_assert_eq!(read(&open.encode(), Open::decode), Ok(open));
    }

    #[test]
    fn an_echo_request_is_read_as_it_was_sent(host in hosts(), wait in 0u64..=60_000) {
        let open = Open::Ping(OpenPing {
            vnet: "prod".parse().expect("a name"), host, wait: Duration::from_millis(wait),
        });
        prop_assert_eq!(read(&open.encode(), Open::decode), Ok(open));
    }

    #[test]
    fn a_reply_is_read_as_it_was_sent(number in 1u16..=21, text in "[^\\p{Cc}]{0,60}", connect in any::<u32>()) {
        let reason = Reason::from_wire(number).expect("one of ours");
        let [permit, dial] = [connect / 2, connect / 3].map(|us| Duration::from_micros(us.into()));
        for resolve in [None, Some(permit)] {
            let reply = Reply::Reached(Stages { resolve, permit, dial });
            prop_assert_eq!(read(&reply.encode(), Reply::decode), Ok(reply));
        }
        for reply in [Reply::Refused { reason, text }, Reply::Connected { connect: Duration::from_micros(connect.into()) }] {
            prop_assert_eq!(read(&reply.encode(), Reply::decode), Ok(reply));
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_a_coded_error(kind in 0u8..8, body in vec(any::<u8>(), 0..100)) {
        let _ = Open::decode(kind, &body);
        let _ = Reply::decode(kind, &body);
    }
}

fn check_malformed(name: &str, hex: &str, decode: impl Fn(u8, &[u8]) -> Result<(), DecodeError>) {
    let frame = golden::bytes(hex);
    let is_malformed = |body: &[u8]| matches!(decode(frame[0], body), Err(DecodeError::Malformed { .. }));
    for end in HEADER_HEAD..frame.len() {
        assert!(is_malformed(&frame[HEADER_HEAD..end]), "{name} cut at {end}");
    }
    assert!(is_malformed(&[&frame[HEADER_HEAD..], &[0]].concat()), "{name} goes on");
}

#[test]
fn a_frame_that_is_cut_anywhere_or_goes_on_is_malformed() {
    for (name, _, hex) in opens() {
        check_malformed(name, hex, |kind, body| Open::decode(kind, body).map(drop));
    }
    for (name, _, hex) in replies() {
        check_malformed(name, hex, |kind, body| Reply::decode(kind, body).map(drop));
    }
}

#[test]
fn no_flipped_bit_does_harm() {
    let frames = opens().into_iter().map(|(_, _, hex)| hex).chain(replies().into_iter().map(|(_, _, hex)| hex));
    for hex in frames {
        let frame = golden::bytes(hex);
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = Open::decode(damaged[0], &damaged[HEADER_HEAD..]);
            let _ = Reply::decode(damaged[0], &damaged[HEADER_HEAD..]);
        }
    }
}

#[test]
fn an_absurd_length_is_an_error_before_there_is_room_for_it() {
    assert_eq!(header_head([2, 4, 0]), Ok((2, HEADER_BODY_MAX)));
    let too_long = |length| Err(DecodeError::TooLong { length, limit: HEADER_BODY_MAX });
    assert_eq!(header_head([2, 4, 1]), too_long(1025));
    assert_eq!(header_head([2, 0xff, 0xff]), too_long(65_535));
    for (name, place) in [("open-v4", 0), ("open-name", 16), ("refused-open", 2)] {
        for length in [100u64, 65_536, 65_537, 1 << 40, u64::MAX] {
            let mut frame = golden::documented(name);
            frame[HEADER_HEAD + place..HEADER_HEAD + place + 8].copy_from_slice(&length.to_le_bytes());
            let body = &frame[HEADER_HEAD..];
            assert!(matches!(Open::decode(frame[0], body), Err(DecodeError::Malformed { .. })), "{name}: {length}");
            assert!(matches!(Reply::decode(frame[0], body), Err(DecodeError::Malformed { .. })), "{name}: {length}");
        }
    }
}

#[test]
fn values_beyond_their_bounds_are_refused() {
    let body = |vnet: &str, host, port| {
        let wire = WireOpenTcp { vnet: vnet.to_owned(), host, port, wait_ms: 1 };
        codec::header_frame(TCP, &wire)
    };
    let name = |name: &str| WireHost::Name(name.to_owned());
    let what = |frame: Bytes| match read(&frame, Open::decode) {
        Err(DecodeError::OutOfBounds { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(body("", name("a"), 1)), "not a VNet name");
    assert_eq!(what(body("Prod", name("a"), 1)), "not a VNet name");
    assert_eq!(what(body(&"v".repeat(64), name("a"), 1)), "not a VNet name");
    assert_eq!(what(body("v", WireHost::V4([10, 0, 0, 1]), 0)), "port 0");
    let long = "a".repeat(HOST_NAME_MAX + 1);
    for bad in ["", "-a", ".a", "a b", "a/b", "a\0", "ä", "127.0.0.1", "127.1", "0", "::1", &long] {
        assert_eq!(what(body("v", name(bad), 1)), "not a host name", "{bad}");
    }
    let unknown = |kind| Err(DecodeError::UnknownKind(kind));
    assert_eq!(Open::decode(1, &[]), unknown(1));
    assert_eq!(Open::decode(7, &[]), unknown(7));
    let mut nameless = of_flow(open("10.0.1.10:8080")).encode().to_vec();
    let at = nameless.len() - 16;
    nameless[at..].fill(0);
    assert_eq!(what(nameless.into()), "flow 0");
    assert_eq!(Reply::decode(0, &[]), unknown(0).map(|_: Open| unreachable!()));
}

#[test]
fn a_longer_wait_than_allowed_is_the_longest() {
    let wire = WireOpenTcp { vnet: "v".to_owned(), host: WireHost::V4([10, 0, 0, 1]), port: 1, wait_ms: u32::MAX };
    let Ok(Open::Tcp(open)) = read(&codec::header_frame(TCP, &wire), Open::decode) else { panic!("an open") };
    assert_eq!(open.wait, DIAL_WAIT_MAX);
}

#[test]
fn the_longest_header_and_refusal_fit() {
    let vnet = "v".repeat(63).parse().expect("a name");
    let target = Target { host: Host::name(&"n".repeat(HOST_NAME_MAX)).expect("a name"), port: 65_535 };
    let open = Open::Tcp(OpenTcp { vnet, target, wait: DIAL_WAIT_MAX, flow: None });
    let open = of_flow(open);
    assert_eq!(read(&open.encode(), Open::decode), Ok(open));
    let long = Reply::Refused { reason: Reason::DnsFailed, text: format!("a\n{}", "é".repeat(1000)) };
    let Ok(Reply::Refused { text, .. }) = read(&long.encode(), Reply::decode) else { panic!("a refusal") };
    assert!(text.starts_with("a é") && text.len() <= TEXT_MAX, "cut, and on one line");
}

#[test]
fn a_stage_of_an_hour_and_more_is_still_a_stage() {
    let long = Some(Duration::from_secs(86_400));
    let reply = Reply::Reached(Stages { resolve: long, ..Stages::default() });
    let Ok(Reply::Reached(stages)) = read(&reply.encode(), Reply::decode) else { panic!("a reply") };
    assert!(stages.resolve.is_some_and(|took| took > Duration::from_secs(3600)), "{stages:?}");
}

#[test]
fn a_reason_of_a_newer_connector_is_still_a_refusal() {
    let frame = golden::bytes("02 000c ff7f 0200000000000000 6e6f");
    let read = read(&frame, Reply::decode);
    assert_eq!(read, Ok(Reply::Refused { reason: Reason::NetworkUnreachable, text: "no".to_owned() }));
    let loud = golden::bytes("02 000b 0500 0100000000000000 1b");
    assert!(matches!(Reply::decode(loud[0], &loud[HEADER_HEAD..]), Err(DecodeError::OutOfBounds { .. })));
}
