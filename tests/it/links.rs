//! Links that are replaced by others while they still live, and links that come and go.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use protocol::{control::Message, error::CloseCode, link::Connection, wire};
use underpass_tests::harness::{
    Connector, ConnectorFile, Edge, FalseEdge, Origin, Rogue, Service, Vnet, World, client,
    origin::habits,
    relay::Relay,
    rogue::{hello, read_token},
    wait,
};

/// An edge and a connector with one link to it, through a relay. Keep it whole: what is dropped is gone.
struct Stand {
    edge: Edge,
    dc1: Connector,
    relay: Relay,
    _prod: Vnet,
    _origin: Origin,
    _world: World,
}

fn stand(manner: impl FnOnce(ConnectorFile) -> ConnectorFile) -> Stand {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let service = Service::tcp("echo").monitor("tcp").origin(&prod, origin.address());
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).tcp_monitor("tcp").service(&service).start();
    let relay = Relay::start(world.free(), edge.file.tunnel);
    let file = world.connector("dc1").serve(&prod).links_per_edge(1).token(&edge.token("dc1"));
    let dc1 = manner(file).dial_at(relay.address).launch();
    edge.wait_health("echo-1", "healthy");
    Stand { edge, dc1, relay, _prod: prod, _origin: origin, _world: world }
}

impl Stand {
    fn flow(&self) -> TcpStream {
        let flow = client::connect(self.edge.listener("echo")).expect("the edge listens");
        // Often enough for both sides to know how long a round trip takes.
        (0..50).for_each(|_| client::ping(&flow, b"hello").expect("an echo"));
        flow
    }

    /// The links that are up.
    fn up(&self) -> Vec<String> {
        let tunnel = self.edge.tunnel("dc1").expect("it is granted");
        let links = tunnel["links"].as_array().expect("a list");
        let up = links.iter().filter(|link| link["state"] == "up");
        up.map(|link| link["id"].as_str().expect("a name").to_owned()).collect()
    }

    /// Loses what belongs to the links there are, until there is another one.
    fn replace(&self) -> String {
        let before = self.up();
        self.relay.lose_established();
        wait::soon("another link beside one that is suspect", || self.up().into_iter().find(|id| !before.contains(id)))
    }
}

#[test]
fn a_connector_that_is_stopped_gives_a_replaced_link_no_longer_than_any_other() {
    let mut stand = stand(|file| file.grace("1s"));
    let flow = stand.flow();
    let _ = stand.replace();
    stand.relay.lose_none();
    client::ping(&flow, b"still here").expect("a replaced link goes on carrying its flows");
    let status = stand.dc1.process.terminate(Duration::from_secs(5));
    assert!(status.success(), "{status}");
}

#[test]
fn the_late_end_of_a_link_is_not_taken_for_that_of_the_one_with_its_number() {
    let stand = stand(|file| file);
    // Keeps the first link, once it is replaced, from being left.
    let first = stand.flow();
    let _ = stand.replace();
    stand.relay.lose_none();
    client::ping(&first, b"still here").expect("a replaced link goes on carrying its flows");
    let _second = stand.flow();
    let began = Instant::now();
    let third = stand.replace();
    assert!(began.elapsed() < Duration::from_secs(3), "the first link must not have ended yet");
    wait::soon_true("the third to be the only one", || stand.up() == [third.as_str()]);
    // The connector hears of the first one's end when it has been silent for three seconds.
    wait::always("the third stays", Duration::from_secs(4), || stand.up() == [third.as_str()]);
}

#[test]
fn an_edge_that_welcomes_links_and_drops_them_is_not_dialled_without_end() {
    let world = World::new();
    let prod = world.vnet("prod");
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let edge_gone_bad = FalseEdge::start(world.free(), &edge.file);
    let file = world.connector("dc1").serve(&prod).links_per_edge(1).token(&edge.token("dc1"));
    let _dc1 = file.dial_at(edge_gone_bad.address).launch();
    let mut first = None;
    for _ in 0..12 {
        let captive = edge_gone_bad.capture();
        Connection::from(captive.connection).close(CloseCode::Overloaded, "come again");
        first.get_or_insert_with(Instant::now);
    }
    // Waits double from a share of 100 ms to a second: at the least nothing, 0.1, 0.2, 0.4, then 0.5 s each. Dials that fail
    // because the end was there before the welcome are among them; they begin anew when a link has first come.
    let took = first.map(|first: Instant| first.elapsed()).expect("twelve came");
    assert!(took >= Duration::from_millis(2500), "twelve links in {took:?}");
}

#[test]
fn an_edge_passes_over_what_it_may_ignore_before_it_is_told_what_a_connection_is_for() {
    let world = World::new();
    let prod = world.vnet("prod");
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let rogue = Rogue::at(world.source(66), &edge.file);
    let member = rogue.join(&world, &edge.token("dc1"));
    let crypto = certs::tls::link_client(&member.identity).expect("a good identity");
    let mut line = rogue.line(rogue.connect(crypto).expect("a good certificate")).expect("a live connection");
    rogue.run(wire::write_message(&mut line.send, &Message::Ignored(0x8123))).expect("the edge listens");
    let answer = rogue.ask(&mut line, &Message::Hello(hello()));
    assert!(matches!(answer, Ok(Message::Welcome(_))), "{answer:?}");

    let token = read_token(&edge.token("dc1"));
    let connection = rogue.connect(certs::tls::enrol_client(token.ca)).expect("an enrolment needs no certificate");
    let mut line = rogue.line(connection).expect("a live connection");
    rogue.run(wire::write_message(&mut line.send, &Message::Ignored(0x8123))).expect("the edge listens");
    let enrol = protocol::control::Enrol {
        token: token.id.0,
        secret: *token.secret.expose(),
        replica: "r-1".to_owned(),
        csr: Vec::new(),
    };
    let answer = rogue.ask(&mut line, &Message::Enrol(enrol));
    assert!(matches!(answer, Ok(Message::Refused(_))), "a request without a key is refused in words: {answer:?}");
}
