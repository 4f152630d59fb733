//! Many strangers at the tunnel's port: forged addresses, handshakes by the hundred, tokens guessed. What they cost is bounded,
//! and honest connectors join meanwhile.
//!
//! Junk and replayed packets on the same port are in `bad_input`; how many may be half way in, and from one source, is the
//! table of `edge::tunnel::crowd`.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use certs::{digest::Sha256, tls, token::JoinToken};
use protocol::{
    control::{Enrol, Message},
    link::{SendStream, transport::quic},
    wire::{self, ControlReader},
};
use quinn::{ClientConfig, Connecting, Endpoint};
use rcgen::{CertificateParams, KeyPair};
use underpass_tests::harness::{
    Edge, Rogue, Service, World,
    forger::Forger,
    load::LongFlow,
    origin::habits,
    process::Signal,
    rogue::read_token,
    wait::{self, SOON},
};

/// Bytes of a datagram of a handshake (RFC 9000 section 14.1).
const DATAGRAM: usize = 1200;

/// The datagrams a client begins a connection with.
type Flight = Vec<Vec<u8>>;

fn edge(world: &World) -> Edge {
    world.edge("edge-1").grant("dc1", &[&world.vnet("prod")]).grant("dc2", &[&world.vnet("theirs")]).start()
}

/// First flights of genuine clients: they were sent to somebody who does not answer.
struct Flights {
    hole: UdpSocket,
    at: SocketAddr,
    config: ClientConfig,
    begun: Vec<Connecting>,
    seen: Vec<Vec<u8>>,
}

impl Flights {
    fn new(world: &World) -> Self {
        let hole = UdpSocket::bind(world.free()).expect("the address is free");
        hole.set_read_timeout(Some(SOON)).expect("a socket takes a timeout");
        let at = hole.local_addr().expect("bound");
        Self {
            hole,
            at,
            config: ClientConfig::new(quic::client_crypto(tls::enrol_client(Sha256([7; 32])))),
            begun: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn next(&mut self, rogue: &Rogue) -> Flight {
        let endpoint = rogue.endpoint();
        let begin = async { endpoint.connect_with(self.config.clone(), self.at, certs::verify::EDGE_NAME) };
        // Dropped, it would take its words back.
        self.begun.push(rogue.run(begin).expect("good settings"));
        let mut flight = Flight::new();
        // A post-quantum hello fills two; those of earlier ones, sent again, are not of this one.
        let mut id = None;
        while flight.len() < 2 {
            let mut packet = vec![0; 2048];
            let length = self.hole.recv(&mut packet).expect("a client speaks first");
            packet.truncate(length);
            let own = packet[6..14].to_vec();
            if !self.seen.contains(&own) && *id.get_or_insert_with(|| own.clone()) == own {
                flight.push(packet);
            }
        }
        self.seen.push(id.expect("two datagrams have come"));
        flight
    }
}

#[test]
fn a_source_that_is_not_known_gets_three_times_what_it_sent_and_a_datagram_at_most() {
    let world = World::new();
    let edge = edge(&world);
    let rogue = Rogue::at(world.source(66), &edge.file);
    let mut flights = Flights::new(&world);
    let victims: Vec<(UdpSocket, usize)> = (0..4_u8)
        .map(|n| {
            let victim = UdpSocket::bind(world.source(70 + n)).expect("the address is free");
            victim.set_nonblocking(true).expect("a socket can wait for nothing");
            let flight = flights.next(&rogue);
            for packet in &flight {
                victim.send_to(packet, edge.file.tunnel).expect("loopback takes it");
            }
            (victim, flight.iter().map(Vec::len).sum())
        })
        .collect();
    // Long enough for what is not acknowledged to be sent again and again.
    let mut received = vec![0; victims.len()];
    wait::always("the edge keeps to its bound", Duration::from_secs(3), || {
        for ((victim, sent), received) in victims.iter().zip(&mut received) {
            *received += arrived(victim).iter().map(Vec::len).sum::<usize>();
            // quinn begins a datagram while one byte of the three times is left.
            assert!(*received < 3 * sent + DATAGRAM, "{received} bytes for {sent}");
        }
        true
    });
    assert!(received.iter().all(|received| *received > 1000), "these were good first flights: {received:?}");
}

/// What has come so far.
fn arrived(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut buffer = vec![0; 2048];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => packets.push(buffer[..length].to_vec()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return packets,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A long header of QUIC version 1 whose type is Retry (RFC 9000 section 17.2.5).
fn is_retry(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0xf0 == 0xf0) && packet.get(1..5) == Some(&[0, 0, 0, 1])
}

#[test]
fn under_a_flood_of_handshakes_addresses_prove_themselves_and_honest_connectors_join() {
    /// Twice what is free of proof, and room for what a full buffer drops.
    const HANDSHAKES: usize = 300;
    let world = World::new();
    let mut edge = edge(&world);
    let rogue = Rogue::at(world.source(66), &edge.file);
    let mut flights = Flights::new(&world);
    let flood: Vec<Flight> = (0..HANDSHAKES).map(|_| flights.next(&rogue)).collect();

    let attacker = UdpSocket::bind(world.source(67)).expect("the address is free");
    attacker.set_read_timeout(Some(Duration::from_millis(3))).expect("a socket takes a timeout");
    let mut retries = 0;
    for flight in &flood {
        for packet in flight {
            attacker.send_to(packet, edge.file.tunnel).expect("loopback takes it");
        }
        for answer in arrived(&attacker) {
            if is_retry(&answer) {
                assert!(answer.len() < 400, "a Retry is small: {} bytes", answer.len());
                retries += 1;
            }
        }
        if retries >= 20 {
            break;
        }
    }
    assert!(retries > 0, "an address that answers nothing must prove itself");
    let _dc1 = world.connector("dc1").serve(&world.vnet("prod")).start(&[&edge]);
    assert!(edge.process.is_running());
}

#[test]
fn tokens_guessed_by_the_hundred_keep_no_honest_connector_out_and_fill_no_log() {
    const GUESSERS: usize = 8;
    const GUESSES: usize = 25;
    let world = World::new();
    let edge = edge(&world);
    let rogue = Rogue::at(world.source(66), &edge.file);
    let known = read_token(&edge.token("dc2"));
    let before = edge.process.memory_kib();
    let started = Instant::now();
    let guessers: Vec<_> =
        (0..GUESSERS).map(|_| rogue.spawn(guess(rogue.endpoint(), edge.file.tunnel, known.clone(), GUESSES))).collect();

    let _dc1 = world.connector("dc1").serve(&world.vnet("prod")).start(&[&edge]);
    let refused: usize = guessers.into_iter().map(|guesser| rogue.run(guesser).expect("it does not panic")).sum();
    assert!(refused > GUESSERS * GUESSES / 2, "{refused} were told that they are wrong");
    assert_eq!((edge.links("dc1"), edge.links("dc2")), (2, 0));
    let said = edge.process.log().lines().filter(|line| line.contains("token_unknown")).count();
    let allowed = 10 * (usize::try_from(started.elapsed().as_secs()).expect("a minute at most") + 2);
    assert!((1..=allowed).contains(&said), "{said} lines");
    let grown = edge.process.memory_kib().saturating_sub(before);
    assert!(grown < 100 * 1024, "{grown} KiB");
    // The token itself is as good as before.
    let key = KeyPair::generate().expect("a key");
    let csr = CertificateParams::default().serialize_request(&key).expect("a request");
    let replica = "late".parse().expect("a name");
    assert!(matches!(rogue.redeem(&known, &replica, csr.der()), Ok(Message::Enrolled(_))));
}

/// Tries secrets for a token that is there; how many were refused in words.
async fn guess(endpoint: Endpoint, edge: SocketAddr, token: JoinToken, times: usize) -> usize {
    let key = KeyPair::generate().expect("a key");
    let csr = CertificateParams::default().serialize_request(&key).expect("a request").der().to_vec();
    let mut refused = 0;
    for number in 0..times {
        let config = ClientConfig::new(quic::client_crypto(tls::enrol_client(token.ca)));
        let dialling = endpoint.connect_with(config, edge, certs::verify::EDGE_NAME).expect("good settings");
        let Ok(connection) = dialling.await else { continue };
        let Ok((send, recv)) = connection.open_bi().await else { continue };
        let mut send = SendStream::from(send);
        let secret = [u8::try_from(number).expect("few"); 32];
        let enrol = Enrol { token: token.id.0, secret, replica: "guesser".to_owned(), csr: csr.clone() };
        if wire::write_message(&mut send, &Message::Enrol(enrol)).await.is_err() {
            continue;
        }
        if let Ok(Message::Refused(_)) = ControlReader::new(recv.into()).next().await {
            refused += 1;
        }
    }
    refused
}

/// The names of a connector's links, and where they come from.
fn links(edge: &Edge, connector: &str) -> Vec<(String, SocketAddr)> {
    let tunnel = edge.tunnel(connector).expect("it is granted");
    let links = tunnel["links"].as_array().expect("a list");
    let text = |link: &serde_json::Value, field: &str| link[field].as_str().expect("a text").to_owned();
    links.iter().map(|link| (text(link, "id"), text(link, "remote").parse().expect("an address"))).collect()
}

#[test]
fn forged_words_that_nobody_listens_at_a_connector_harm_no_link_that_answers() {
    let world = World::new();
    let prod = world.vnet("prod");
    let echo = habits::echo(world.free_in(&prod, 10));
    let (edge, dc1) = world.stand(&prod, &[&Service::tcp("echo").origin(&prod, echo.address())]);
    let flow = LongFlow::start(edge.listener("echo"), 1).expect("it opens");
    let before = links(&edge, "dc1");
    let forgers: Vec<Forger> = before.iter().map(|(_, remote)| Forger::new(edge.file.tunnel, *remote)).collect();
    let say = || forgers.iter().for_each(|forger| (0..10).for_each(|_| forger.say_gone()));

    wait::always("the links stay", Duration::from_secs(4), || {
        say();
        links(&edge, "dc1") == before
    });
    let rounds = flow.stop().expect("the flow goes on");
    assert!(rounds > 100, "it stood still: {rounds} blocks");
    // They were heard: a link that does not answer either is given up sooner than by silence, which takes 3 s.
    dc1.process.signal(Signal::STOP);
    wait::until("the links of a frozen connector to go", Duration::from_millis(2_500), || {
        say();
        links(&edge, "dc1").is_empty().then_some(())
    });
    dc1.process.signal(Signal::CONT);
    edge.wait_links("dc1", 2);
}
