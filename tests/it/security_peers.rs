//! Peers that got in, or nearly, and keep to no rule from there on: deaf ones, chatty ones, hoarders, forgers of log lines.
//! Honest neighbours must not notice.

use certs::{identity::Identity, tls};
use protocol::{
    control::{Goodbye, Hello, Message, Renew, RouteClaim},
    error::CloseCode,
    limits::CONTROL_BODY_MAX,
    link::{Side, transport::quic},
    wire,
};
use quinn::{Connection, ConnectionError, TransportConfig, VarInt};
use underpass_tests::harness::{
    Connector, Edge, Origin, Rogue, Service, Vnet, World, client,
    origin::habits,
    rogue::{Line, hello, read_token},
    wait::soon_true,
};

/// An edge with an honest connector `dc1` and an echo behind it, that grants a rogue `dc2` something else. Keep it whole: what is
/// dropped is gone.
struct Stand {
    world: World,
    edge: Edge,
    rogue: Rogue,
    _prod: Vnet,
    _dc1: Connector,
    _origin: Origin,
}

fn stand() -> Stand {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let service = Service::tcp("echo").origin(&prod, origin.address());
    let edge =
        world.edge("edge-1").grant("dc1", &[&prod]).grant("dc2", &[&world.vnet("theirs")]).service(&service).start();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let rogue = Rogue::at(world.source(66), &edge.file);
    Stand { world, edge, rogue, _prod: prod, _dc1: dc1, _origin: origin }
}

impl Stand {
    fn join(&self) -> Identity {
        self.rogue.join(&self.world, &self.edge.token("dc2")).identity
    }

    /// A registered link of the rogue's.
    fn link(&self, identity: &Identity) -> Line {
        self.register(identity, quic::link_transport(Side::Connector), hello())
    }

    fn register(&self, identity: &Identity, transport: std::sync::Arc<TransportConfig>, hello: Hello) -> Line {
        let crypto = tls::link_client(identity).expect("a good identity");
        let connection = self.rogue.connect_with(crypto, transport).expect("a good certificate");
        let mut line = self.rogue.line(connection).expect("a live connection");
        self.rogue.run(wire::write_message(&mut line.send, &Message::Hello(hello))).expect("the edge listens");
        soon_true("the rogue to be registered", || self.edge.links("dc2") == 1);
        line
    }

    fn others_are_unharmed(&self) {
        assert_eq!(self.edge.links("dc1"), 2);
        assert_eq!(client::exchange(self.edge.listener("echo"), b"fine").expect("it serves"), b"fine");
    }
}

/// Lines of the edge's log that hold this.
fn lines_with(edge: &Edge, part: &str) -> usize {
    edge.process.log().lines().filter(|line| line.contains(part)).count()
}

#[test]
fn a_connector_that_never_reads_its_control_stream_is_cut_off() {
    let stand = stand();
    let identity = stand.join();
    let mut narrow = TransportConfig::default();
    // Room for one byte, and nobody who takes it.
    narrow.stream_receive_window(VarInt::from_u32(1)).keep_alive_interval(Some(std::time::Duration::from_secs(1)));
    let line = stand.register(&identity, std::sync::Arc::new(narrow), hello());
    let end = stand.rogue.end_of(&line.connection);
    assert!(
        matches!(&end, ConnectionError::ApplicationClosed(close) if closed_as(close, CloseCode::Protocol)),
        "{end}"
    );
    soon_true("its link to be gone", || stand.edge.links("dc2") == 0);
    stand.others_are_unharmed();
}

fn closed_as(close: &quinn::ApplicationClose, code: CloseCode) -> bool {
    close.error_code.into_inner() == u64::from(code as u32)
}

#[test]
fn a_connector_that_stops_its_control_stream_loses_the_whole_connection() {
    let stand = stand();
    let identity = stand.join();
    let mut line = stand.link(&identity);
    let welcome = stand.rogue.run(line.control.next()).expect("it is registered");
    assert!(matches!(welcome, Message::Welcome(_)), "{welcome:?}");
    drop(line.control);
    // The answer to this finds nobody.
    let csr = vec![0; 16];
    let renew = Message::Renew(Renew { csr });
    stand.rogue.run(wire::write_message(&mut line.send, &renew)).expect("the edge listens");
    let end = stand.rogue.end_of(&line.connection);
    assert!(matches!(end, ConnectionError::ApplicationClosed(_)), "what no table holds must not live on: {end}");
    soon_true("its link to be gone", || stand.edge.links("dc2") == 0);
}

#[test]
fn the_words_of_a_close_cannot_forge_a_line_of_the_log() {
    let stand = stand();
    let identity = stand.join();
    let line = stand.link(&identity);
    let words = b"bye\n2026-01-01T00:00:00Z  INFO edge::admin: connector revoked connector=dc1\x1b[2J\r";
    line.connection.close(VarInt::from_u32(1), words);
    let _ = stand.edge.process.wait_log(&["link ended", "bye"]);
    let log = stand.edge.process.log();
    let lines = log.lines().filter(|line| line.starts_with("2026-01-01") || line.contains('\u{1b}'));
    assert_eq!(lines.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_thousand_goodbyes_are_heard_once() {
    let stand = stand();
    let identity = stand.join();
    let mut line = stand.link(&identity);
    let goodbye = Message::Goodbye(Goodbye { grace_ms: 1 });
    for _ in 0..1000 {
        stand.rogue.run(wire::write_message(&mut line.send, &goodbye)).expect("the edge listens");
    }
    line.connection.close(VarInt::from_u32(0), b"done");
    // What it had said before is read to its end, or dropped; then the end is told.
    let _ = stand.edge.process.wait_log(&["link ended", "dc2"]);
    let said = lines_with(&stand.edge, "the connector leaves");
    assert!(said <= 1, "{said} lines");
    stand.others_are_unharmed();
}

#[test]
fn a_claim_of_five_hundred_routes_fills_no_log() {
    let stand = stand();
    let identity = stand.join();
    let claim = |n: u16| RouteClaim { vnet: "other".to_owned(), cidr: format!("10.{}.{}.0/24", n / 256, n % 256) };
    let line = stand.register(
        &identity,
        quic::link_transport(Side::Connector),
        Hello { routes: (0..500).map(claim).collect(), ..hello() },
    );
    let _ = stand.edge.process.wait_log(&["link registered", "dc2"]);
    let _ = stand.edge.process.wait_log(&["refused"]);
    let said = lines_with(&stand.edge, "refused");
    assert!((1..=10).contains(&said), "{said} lines for one registration");
    let shown = stand.edge.tunnel("dc2").expect("it is registered")["refused_routes"].as_array().map_or(0, Vec::len);
    assert_eq!(shown, 500, "status has every one");
    drop(line);
}

#[test]
fn a_stranger_cannot_make_the_edge_keep_more_than_a_little() {
    let stand = stand();
    let token = read_token(&stand.edge.token("dc2"));
    let stranger = stand.rogue.connect(tls::enrol_client(token.ca)).expect("an enrolment needs no certificate");
    // On as many streams as the edge lets it open, a message of the greatest length that is never whole, and more.
    let taken = stand.rogue.run(async {
        let hoards: Vec<_> = (0..8).map(|_| tokio::spawn(fill(stranger.clone()))).collect();
        let mut taken = 0;
        for hoard in hoards {
            taken += hoard.await.expect("it does not panic");
        }
        taken
    });
    assert!(taken > 0, "it was let in far enough");
    assert!(taken <= 512 * 1024, "the edge took {taken} bytes of somebody it does not know");
    stand.others_are_unharmed();
}

/// Writes to a stream of its own until the connection is closed.
async fn fill(connection: Connection) -> usize {
    let mut taken = 0;
    let Ok((mut send, _recv)) = connection.open_bi().await else { return taken };
    let (kind, length) = (1_u16.to_be_bytes(), u32::try_from(CONTROL_BODY_MAX).expect("64 KiB").to_be_bytes());
    let mut next = [&kind[..], &length].concat();
    while let Ok(more) = send.write(&next).await {
        taken += more;
        next = vec![0; 4096];
    }
    taken
}

#[test]
fn a_connector_has_one_stream_and_no_other_to_fill() {
    let stand = stand();
    let identity = stand.join();
    let line = stand.link(&identity);
    let opens_another = stand.rogue.run(async {
        tokio::select! {
            biased;
            opened = line.connection.open_bi() => opened.is_ok(),
            () = std::future::ready(()) => false,
        }
    });
    assert!(!opens_another, "nobody at an edge would read it");
}

#[test]
fn renewals_without_end_harm_nobody() {
    const RENEWALS: usize = 200;
    let stand = stand();
    let identity = stand.join();
    let mut line = stand.link(&identity);
    let welcome = stand.rogue.run(line.control.next()).expect("it is registered");
    assert!(matches!(welcome, Message::Welcome(_)), "{welcome:?}");
    let key = rcgen::KeyPair::generate().expect("a key");
    let csr = rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
    let renew = Message::Renew(Renew { csr: csr.der().to_vec() });
    let Line { connection: _connection, mut send, mut control } = line;
    let asking = stand.rogue.spawn(async move {
        for _ in 0..RENEWALS {
            wire::write_message(&mut send, &renew).await.expect("the edge listens");
        }
        send
    });
    // Somebody else joins meanwhile, and has to have a certificate too.
    let prod = stand.world.vnet("prod");
    let late =
        stand.world.connector("dc1").serve(&prod).token(&stand.edge.token("dc1")).dial(&stand.edge.file).launch();
    stand.edge.wait_links("dc1", 4);
    for _ in 0..RENEWALS {
        let answer = stand.rogue.run(control.next()).expect("each is answered in turn");
        assert!(matches!(answer, Message::Renewed(_)), "{answer:?}");
    }
    let _send = stand.rogue.run(asking).expect("it does not panic");
    drop(late);
}
