//! What a TCP flow keeps on its way through: who speaks first, how each side ends, what was sent before a reset.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use underpass_tests::harness::{
    Connector, Edge, Origin, Service, Vnet, World,
    client::{self, Pattern},
    origin::{
        self, Ending,
        habits::{self, FullQueue},
    },
    service::any_port,
    wait,
};

#[test]
fn a_server_may_speak_first() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::banner(world.free_in(&prod, 10), "220 mail ready\r\n");
    let (edge, _dc1) = world.stand(&prod, &[&Service::tcp("mail").origin(&prod, origin.address())]);

    let mut stream = client::connect(edge.listener("mail")).expect("the edge listens");
    let mut greeting = [0; 16];
    stream.read_exact(&mut greeting).expect("the server greets a silent client");
    assert_eq!(&greeting, b"220 mail ready\r\n");
    client::ping(&stream, b"HELO me\r\n").expect("and then answers");
}

#[test]
fn a_client_that_ended_its_side_still_gets_the_whole_answer() {
    let world = World::new();
    let prod = world.vnet("prod");
    let len = 3 << 20;
    let origin = habits::answers_after_the_end(world.free_in(&prod, 10), len);
    let (edge, _dc1) = world.stand(&prod, &[&Service::tcp("late").origin(&prod, origin.address())]);

    for sent in [0, 1, 100_000, 2 << 20] {
        let answer = client::exchange(edge.listener("late"), &Pattern::new(3).bytes(sent)).expect("it answers");
        assert_eq!(String::from_utf8_lossy(&answer[..20]), format!("{sent:020}"));
        assert!(answer[20..] == Pattern::new(1).bytes(len), "after {sent} bytes sent, other bytes came back");
    }
    wait::soon_true("the origin to see four clean ends", || origin.endings() == [Ending::Clean; 4]);
}

#[test]
fn an_origin_that_ended_its_side_still_gets_all_the_client_sends() {
    let world = World::new();
    let prod = world.vnet("prod");
    let got = Arc::new(Mutex::new(Vec::new()));
    let keep = got.clone();
    let origin = Origin::start(world.free_in(&prod, 10), move |mut stream| {
        stream.write_all(b"bye")?;
        stream.shutdown(Shutdown::Write)?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        *keep.lock().expect("no panic while held") = all;
        Ok(Ending::Clean)
    });
    let (edge, _dc1) = world.stand(&prod, &[&Service::tcp("sink").origin(&prod, origin.address())]);

    let mut stream = client::connect(edge.listener("sink")).expect("the edge listens");
    let mut words = String::new();
    stream.read_to_string(&mut words).expect("the origin's end arrives");
    assert_eq!(words, "bye");
    let sent = Pattern::new(9).bytes(1 << 20);
    stream.write_all(&sent).expect("the other direction is open");
    drop(stream);
    wait::soon_true("the origin to see a clean end", || origin.endings() == [Ending::Clean]);
    assert!(*got.lock().expect("no panic while held") == sent, "other bytes arrived");
}

/// One origin under two services: through the tunnel, and from the edge itself.
fn stand_both(world: &World, prod: &Vnet, origin: &Origin) -> (Edge, Connector) {
    let tunnelled = Service::tcp("tunnelled").origin(prod, origin.address());
    let direct = Service::tcp("direct").direct(origin.address());
    world.stand(prod, &[&tunnelled, &direct])
}

#[test]
fn a_client_gets_what_was_sent_before_the_origin_reset() {
    let world = World::new();
    let prod = world.vnet("prod");
    let len = 32 * 1024;
    let origin = habits::sends_then_resets(world.free_in(&prod, 10), len);
    let (edge, _dc1) = stand_both(&world, &prod, &origin);

    for service in ["direct", "tunnelled"].repeat(10) {
        let mut stream = client::connect(edge.listener(service)).expect("the edge listens");
        stream.write_all(b"x").expect("the flow is open");
        let (got, end) = client::read_all(&stream);
        assert_eq!(got.len(), len, "{service}, then {end:?}");
        assert!(got == Pattern::new(1).bytes(len));
        let end = end.expect_err(&format!("{service}: a reset must not look like a clean end"));
        assert_eq!(end.kind(), ErrorKind::ConnectionReset, "{service}");
    }
}

#[test]
fn an_origin_gets_what_was_sent_before_the_client_reset() {
    let world = World::new();
    let prod = world.vnet("prod");
    let got = Arc::new(Mutex::new(Vec::new()));
    let keep = got.clone();
    let origin = Origin::start(world.free_in(&prod, 10), move |mut stream| {
        stream.write_all(b"go")?;
        let (all, end) = client::read_all(stream);
        *keep.lock().expect("no panic while held") = all;
        end.map(|()| Ending::Clean)
    });
    let (edge, _dc1) = stand_both(&world, &prod, &origin);

    let sent = Pattern::new(5).bytes(32 * 1024);
    for (round, service) in ["direct", "tunnelled"].repeat(10).into_iter().enumerate() {
        let mut stream = client::connect(edge.listener(service)).expect("the edge listens");
        stream.read_exact(&mut [0; 2]).expect("the flow is open from end to end");
        stream.write_all(&sent).expect("the flow is open");
        origin::reset(&stream).expect("it is one of TCP");
        drop(stream);

        wait::soon_true("the origin to see the end", || origin.endings().len() == round + 1);
        let end = origin.endings().pop();
        assert_eq!(end, Some(Ending::Reset), "{service}: a reset must not look like a clean end");
        let got = std::mem::take(&mut *got.lock().expect("no panic while held"));
        assert_eq!(got.len(), sent.len(), "{service}: what was sent before the reset is lost");
        assert!(got == sent, "{service}");
    }
}

#[test]
fn a_reset_after_a_half_close_still_reaches_the_other_side() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::pours(world.free_in(&prod, 10), 1 << 30);
    let (edge, _dc1) = stand_both(&world, &prod, &origin);

    for (round, service) in ["direct", "tunnelled"].into_iter().enumerate() {
        let mut stream = client::connect(edge.listener(service)).expect("the edge listens");
        stream.write_all(b"x").expect("the flow is open");
        stream.shutdown(Shutdown::Write).expect("the flow is open");
        stream.read_exact(&mut [0; 4096]).expect("it pours");
        origin::reset(&stream).expect("it is one of TCP");
        drop(stream);
        wait::soon_true(&format!("{service}: the origin to be let off"), || origin.endings().len() == round + 1);
        assert_eq!(origin.endings().pop(), Some(Ending::Reset), "{service}");
    }
}

#[test]
fn bytes_come_back_unharmed_from_many_flows_at_once() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let (edge, _dc1) = world.stand(&prod, &[&Service::tcp("echo").origin(&prod, origin.address())]);
    let at = edge.listener("echo");

    std::thread::scope(|scope| {
        for seed in 0..16 {
            scope.spawn(move || {
                // From nothing over a little to more than any buffer on the way.
                for len in [0, 1, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 300_000] {
                    let sent = Pattern::new(seed).bytes(len);
                    let back = client::exchange(at, &sent).expect("the echo answers");
                    assert!(back == sent, "flow {seed}: {len} bytes sent, {} came back", back.len());
                }
            });
        }
    });
}

#[test]
fn an_origin_without_a_vnet_is_reached_from_the_edge_itself() {
    let world = World::new();
    let origin = habits::echo(world.free());
    let edge = world.edge("edge-1").service(&Service::tcp("echo").direct(origin.address())).start();

    assert_eq!(client::exchange(edge.listener("echo"), b"direct").expect("it answers"), b"direct");
}

#[test]
fn an_origin_may_be_a_name_that_the_connector_resolves() {
    let world = World::new();
    let origin = habits::names_itself(any_port(), "by name");
    let at = origin.address();
    let service = Service::tcp("named").target(Some("prod"), &format!("localhost:{}", at.port()));
    // What the name stands for must be inside a route, and loopback must be allowed by name of its range.
    let grant = "[[connector]]\nname = \"dc1\"\nroutes = [{ vnet = \"prod\", cidr = \"127.0.0.0/8\" }]";
    let edge = world.edge("edge-1").raw(grant).service(&service).start();
    let _dc1 = world.connector("dc1").route("prod", "127.0.0.0/8").allow("127.0.0.0/8:*").start(&[&edge]);

    assert_eq!(client::listen_to(edge.listener("named")).expect("it answers"), "by name");
    assert_eq!(origin.accepted(), 1);
}

#[test]
fn a_name_serves_while_one_of_its_addresses_is_silent() {
    let world = World::new();
    let (v4, v6) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from(Ipv6Addr::LOCALHOST));
    // Whichever the resolver has first: it is silent in one of the two.
    let named: Vec<_> = [("six", v6, v4), ("four", v4, v6)]
        .into_iter()
        .map(|(name, good, silent)| {
            let origin = habits::names_itself(SocketAddr::new(good, 0), name);
            let port = origin.address().port();
            (name, format!("localhost:{port}"), origin, FullQueue::at(SocketAddr::new(silent, port)))
        })
        .collect();
    let routes = ["127.0.0.0/8", "::1/128"];
    let granted = routes.map(|cidr| format!("{{ vnet = \"prod\", cidr = \"{cidr}\" }}")).join(", ");
    let file = world.edge("edge-1").raw(&format!("[[connector]]\nname = \"dc1\"\nroutes = [{granted}]"));
    let file = named.iter().fold(file, |file, (name, at, ..)| {
        let direct = Service::tcp(&format!("{name}-direct")).target(None, at);
        file.service(&direct).service(&Service::tcp(&format!("{name}-tunnel")).target(Some("prod"), at))
    });
    let edge = file.start();
    let connector = routes.iter().fold(world.connector("dc1"), |file, cidr| file.route("prod", cidr));
    let _dc1 = connector.allow("127.0.0.0/8:*").allow("[::1/128]:*").start(&[&edge]);
    for (name, ..) in &named {
        for way in ["direct", "tunnel"] {
            for again in [false, true] {
                let began = Instant::now();
                let answer = client::listen_to(edge.listener(&format!("{name}-{way}"))).expect("it answers");
                assert_eq!(answer, *name, "{way}");
                assert!(began.elapsed() < Duration::from_secs(1), "{name} {way} {again}: {:?}", began.elapsed());
            }
        }
    }
}

#[test]
fn one_client_that_reads_nothing_does_not_hold_up_the_others() {
    let world = World::new();
    let prod = world.vnet("prod");
    let pouring = habits::pours(world.free_in(&prod, 10), 1 << 30);
    let echo = habits::echo(world.free_in(&prod, 11));
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .service(&Service::tcp("pour").origin(&prod, pouring.address()))
        .service(&Service::tcp("echo").origin(&prod, echo.address()))
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).links_per_edge(1).start(&[&edge]);

    let open = client::connect(edge.listener("echo")).expect("the edge listens");
    client::ping(&open, b"hello").expect("the flow is open");
    let mut stalled = client::connect(edge.listener("pour")).expect("the edge listens");
    stalled.write_all(b"x").expect("the flow is open");

    let block = Pattern::new(1).bytes(8192);
    wait::always("others are served within a second", Duration::from_secs(3), || {
        let began = Instant::now();
        client::ping(&open, &block).expect("an open flow goes on");
        assert!(client::exchange(edge.listener("echo"), &block).expect("a new flow is served") == block);
        began.elapsed() < Duration::from_secs(1)
    });
    assert_still_open(&stalled);
}

/// One slow reader is no reason to cut it off while the link has room.
fn assert_still_open(mut stream: &TcpStream) {
    let mut some = vec![0; 1 << 20];
    stream.read_exact(&mut some).expect("what was poured is still there");
    assert!(some == Pattern::new(1).bytes(1 << 20));
}
