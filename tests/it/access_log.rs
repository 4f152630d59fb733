//! The access log: what ended a flow of any kind is told in words, beside its reason.

use std::{io::Write, net::UdpSocket};

use underpass_tests::harness::{Service, World, client, datagrams::UdpClient, http, origin::habits};

#[test]
fn a_flow_that_a_connector_refuses_is_told_in_the_connectors_words() {
    let world = World::new();
    let prod = world.vnet("prod");
    let permitted = habits::names_itself(world.free_in(&prod, 10), "here");
    let denied = world.free_in(&prod, 11);
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .tcp_monitor("tcp")
        .service(&Service::tcp("denied").origin(&prod, denied))
        .service(&Service::tcp("probed").origin(&prod, denied).monitor("tcp"))
        .service(&Service::tcp("permitted").origin(&prod, permitted.address()))
        .start();
    let only = format!("{}/32:*", permitted.address().ip());
    let _dc1 = world.connector("dc1").serve(&prod).allow_nothing_yet().allow(&only).start(&[&edge]);

    let words = format!("detail=\"{denied} is not on this connector's allow list\"");
    let _ = client::listen_to(edge.listener("denied"));
    let _ = edge.process.wait_log(&["access", "listener=denied", "refused", "policy_denied", &words]);

    // Where health has found it out before, the words are the same.
    edge.wait_reason("probed-1", "policy_denied");
    let _ = client::listen_to(edge.listener("probed"));
    let _ = edge.process.wait_log(&["access", "listener=probed", "refused", "policy_denied", &words]);

    assert_eq!(client::listen_to(edge.listener("permitted")).ok().as_deref(), Some("here"));
    let line = edge.process.wait_log(&["access", "listener=permitted", "finished"]);
    assert!(!line.contains("detail") && !line.contains("reason"), "nothing went wrong: {line}");
}

#[test]
fn a_request_that_reaches_no_origin_is_told_with_name_server_and_address_and_its_client_is_not() {
    let world = World::new();
    let prod = world.vnet("prod");
    let silent = UdpSocket::bind((world.source(53).ip(), 53)).expect("the tests run as root");
    let server = silent.local_addr().expect("bound").ip().to_string();
    let settings = world.write("resolv.conf", &format!("nameserver {server}\n"));
    let nobody = world.free_in(&prod, 10);
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .service(&Service::http("named").target(Some("prod"), "www.test:80"))
        .service(&Service::http("gone").origin(&prod, nobody))
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).resolving_as_in(&settings).start(&[&edge]);

    let answer = http::get(edge.listener("named"), "/").expect("an answer");
    let _ = edge.process.wait_log(&["access", "request", "dns_failed", "detail=", "www.test", &server, "no answer"]);
    assert!(!format!("{answer:?}").contains(&server), "{answer:?}");

    let answer = http::get(edge.listener("gone"), "/").expect("an answer");
    let words = format!("detail=\"{nobody}: ");
    let _ = edge.process.wait_log(&["access", "request", "connect_refused", &words, "refused"]);
    assert!(!format!("{answer:?}").contains(&nobody.to_string()), "{answer:?}");

    // What the edge refuses by itself is told in the words its client reads.
    let _ = http::ask(edge.listener("gone"), "TRACE", "/", "");
    let _ =
        edge.process.wait_log(&["access", "request", "method_refused", "detail=\"A method that is never carried.\""]);
}

#[test]
fn a_session_that_nobody_takes_is_told_by_whose_word_that_is() {
    let world = World::new();
    let prod = world.vnet("prod");
    let nobody = world.free_in(&prod, 10);
    let (edge, _dc1) = world.stand(&prod, &[&Service::udp("gone").origin(&prod, nobody)]);
    UdpClient::new(edge.listener("gone")).send(b"anyone?");
    let words = "detail=\"its host says that nobody listens there (ICMP)\"";
    let _ = edge.process.wait_log(&["access", "session", "unreachable", "connect_refused", words]);
}

#[test]
fn an_origin_that_speaks_before_it_is_asked_is_no_http_server() {
    let world = World::new();
    let banner = habits::banner(world.free(), "SSH-2.0-OpenSSH_9.2p1\r\n");
    let edge = world.edge("edge-1").service(&Service::http("ssh").direct(banner.address())).start();
    let answer = http::get(edge.listener("ssh"), "/").expect("an answer");
    assert_eq!(answer.code, 502);
    let _ = edge.process.wait_log(&["access", "listener=ssh", "status=502", "reason=\"http_invalid\""]);
}

#[test]
fn of_a_head_that_is_refused_no_method_is_invented() {
    let world = World::new();
    let origin = habits::echo(world.free());
    let edge = world.edge("edge-1").service(&Service::http("web").direct(origin.address())).start();
    let mut stream = client::connect(edge.listener("web")).expect("the edge listens");
    stream.write_all(b"\x16\x03\x01 what is this\r\n\r\n").expect("written");
    let _ = client::read_all(&stream);
    let _ = edge.process.wait_log(&["access", "listener=web", "method=- ", "status=400"]);
}
