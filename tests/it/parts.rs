//! The harness's own parts, without the product between: red here means the machine or the harness, not Underpass.

use std::io::{ErrorKind, Write};

use underpass_tests::harness::{
    World,
    client::{self, Pattern},
    origin::{
        Ending,
        habits::{self, FullQueue},
        servers,
    },
    process::{self, command},
    relay::Relay,
    wait::{self, SOON},
};

#[test]
fn small_origins_keep_their_habits() {
    let world = World::new();
    let echo = habits::echo(world.free());
    let sent = Pattern::new(7).bytes(300_000);
    assert!(client::exchange(echo.address(), &sent).expect("echo answers") == sent);
    assert_eq!(echo.accepted(), 1);
    wait::soon_true("the echo to see a clean end", || echo.endings() == [Ending::Clean]);

    let named = habits::names_itself(world.free(), "one");
    assert_eq!(client::listen_to(named.address()).expect("it speaks first"), "one");

    let late = habits::answers_after_the_end(world.free(), 5000);
    let answer = client::exchange(late.address(), b"12345").expect("it answers");
    assert_eq!(answer[..20], *b"00000000000000000005");
    assert!(answer[20..] == Pattern::new(1).bytes(5000));

    let resetting = habits::sends_then_resets(world.free(), 32 * 1024);
    let mut stream = client::connect(resetting.address()).expect("it accepts");
    stream.write_all(b"x").expect("it reads");
    let (got, end) = client::read_all(&stream);
    assert!(got == Pattern::new(1).bytes(32 * 1024), "{} bytes", got.len());
    assert_eq!(end.expect_err("it resets").kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_stopped_origin_refuses_and_comes_back() {
    let world = World::new();
    let mut origin = habits::echo(world.free());
    let stream = client::connect(origin.address()).expect("it listens");
    client::ping(&stream, b"hello").expect("it echoes");
    origin.stop();
    assert_eq!(client::connect(origin.address()).expect_err("stopped").kind(), ErrorKind::ConnectionRefused);
    assert!(client::ping(&stream, b"hello").is_err());
    origin.resume();
    assert!(client::exchange(origin.address(), b"again").is_ok());
}

#[test]
fn a_full_queue_answers_no_connect() {
    let world = World::new();
    let at = world.free();
    let _queue = FullQueue::at(at);
    let limit = std::time::Duration::from_millis(300);
    let error = std::net::TcpStream::connect_timeout(&at, limit).expect_err("nobody takes it");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_relay_passes_records_and_loses() {
    let world = World::new();
    let server = std::net::UdpSocket::bind(world.free()).expect("free");
    let relay = Relay::start(world.free(), server.local_addr().expect("bound"));
    let client = std::net::UdpSocket::bind(world.source(9)).expect("free");
    let mut buffer = [0; 10];
    server.set_read_timeout(Some(SOON)).expect("settable");
    client.set_read_timeout(Some(SOON)).expect("settable");
    client.send_to(b"there", relay.address).expect("sent");
    let (_, from) = server.recv_from(&mut buffer).expect("passed on");
    server.send_to(b"back", from).expect("sent");
    assert_eq!(client.recv(&mut buffer).expect("passed back"), 4);
    assert_eq!(relay.recorded(), [b"there".to_vec()]);
    relay.cut(true);
    client.send_to(b"lost", relay.address).expect("sent");
    server.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("settable");
    assert!(server.recv_from(&mut buffer).is_err());
}

#[test]
fn real_servers_start_and_answer() {
    let world = World::new();
    let nginx = servers::nginx(&world, world.free(), "web-1");
    let mut curl = command("curl");
    curl.args(["-sS", &format!("http://{}/who", nginx.address)]);
    assert_eq!(process::run(curl, SOON).ok().out, "web-1");

    let redis = servers::redis(&world, world.free());
    let mut ping = servers::redis_client("redis-cli", redis.address);
    ping.arg("ping");
    assert_eq!(process::run(ping, SOON).ok().out, "PONG\n");

    let iperf = servers::iperf(&world, world.free());
    assert!(servers::iperf_received(iperf.address, &["-R"]) > 1_000_000);
}

#[test]
fn a_real_database_starts_and_answers() {
    let world = World::new();
    let postgres = servers::postgres(&world, world.free());
    let mut psql = servers::postgres_client("psql", postgres.address);
    psql.args(["-Atc", "select 6*7"]);
    assert_eq!(process::run(psql, SOON).ok().out, "42\n");
}
