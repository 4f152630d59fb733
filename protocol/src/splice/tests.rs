use std::{future::Future, io, net::Ipv4Addr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::{
    error::CloseCode,
    limits::FLOW_WINDOW,
    liveness::Look,
    pair::Pair,
    windows::{Bounds, Windows},
};

const MIB: usize = 1024 * 1024;
const SOON: Duration = Duration::from_millis(50);

/// No test waits longer for anything.
async fn within<T>(work: impl Future<Output = T>) -> T {
    time::timeout(Duration::from_secs(20), work).await.expect("done in time")
}

/// Both ends of a TCP connection over loopback: the one a splice is given, and the other.
async fn sockets() -> (Socket, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port of loopback");
    let address = listener.local_addr().expect("bound");
    let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (accepted, _) = accepted.expect("a connection");
    (Socket::new(accepted).expect("a live connection"), dialled.expect("a connection"))
}

/// One flow: client, edge, link, connector, origin; or client, edge, origin without a link.
struct World {
    client: TcpStream,
    origin: TcpStream,
    edge: JoinHandle<Carried>,
    connector: Option<JoinHandle<Carried>>,
}

impl World {
    async fn tunnel(pair: &Pair) -> Self {
        Self::with(pair, &pair.windows(Bounds::AGREED), Manner::default()).await
    }

    async fn with(pair: &Pair, windows: &[Arc<Windows>; 2], manner: Manner) -> Self {
        let (at_edge, client) = sockets().await;
        let (at_connector, origin) = sockets().await;
        let (near, far) = pair.stream().await;
        let [at_near, at_far] = windows.clone();
        let edge = tokio::spawn(async move { splice(at_edge, near, &at_near, manner).await });
        let connector = tokio::spawn(async move { splice(at_connector, far, &at_far, Manner::default()).await });
        Self { client, origin, edge, connector: Some(connector) }
    }

    async fn direct(manner: Manner) -> Self {
        let (local, client) = sockets().await;
        let (remote, origin) = sockets().await;
        let edge = tokio::spawn(relay(local, remote, manner));
        Self { client, origin, edge, connector: None }
    }

    /// How the edge's splice ended, and the connector's if there is one.
    async fn ended(self) -> (Ended, Option<Ended>) {
        let edge = within(self.edge).await.expect("no panic").ended;
        let Some(connector) = self.connector else { return (edge, None) };
        (edge, Some(within(connector).await.expect("no panic").ended))
    }
}

/// Every case below holds with a tunnel and without.
macro_rules! both_ways {
    ($($name:ident)*) => { $(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn over_a_link() {
                let pair = Pair::new().await;
                within(super::$name(World::tunnel(&pair).await)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_a_link_again_and_again() {
                let pair = Pair::new().await;
                for _ in 0..6 {
                    within(super::$name(World::tunnel(&pair).await)).await;
                }
            }

            #[tokio::test]
            async fn directly() {
                within(super::$name(World::direct(Manner::default()).await)).await;
            }
        }
    )* };
}

both_ways! {
    bytes_cross_both_ways_whole
    each_direction_ends_alone
    a_server_may_speak_first
    a_reset_by_the_client_follows_all_it_sent
    a_reset_by_the_origin_follows_all_it_sent
    a_reset_while_the_other_side_talks_follows_all_that_was_sent
    a_reset_after_the_own_end_of_data_crosses
    a_reset_after_the_end_of_the_other_direction_crosses
    a_reset_with_unread_data_on_both_sides_ends_both
    a_dropped_splice_is_a_reset_on_both_sides
}

fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let step = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some(state.to_be_bytes()[0])
    };
    std::iter::repeat_n((), length).scan(seed, |state, ()| step(state)).collect()
}

/// Reads to the end of data, or to the error that ends it.
async fn read_all(from: &mut TcpStream) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut bytes = Vec::new();
    let end = from.read_to_end(&mut bytes).await;
    (bytes, end.err().map(|e| e.kind()))
}

/// Resets a connection once the kernel has handed over all that was written.
async fn reset(socket: TcpStream) {
    Socket::new(socket).expect("a live connection").abort_when_sent(Duration::from_secs(10)).await;
}

/// Completes once writes fail.
async fn until_broken(socket: TcpStream) {
    Socket::new(socket).expect("a live connection").broken().await;
}

const RESET: Option<io::ErrorKind> = Some(io::ErrorKind::ConnectionReset);

async fn bytes_cross_both_ways_whole(world: World) {
    let World { client, origin, edge, connector } = world;
    let (up, down) = (pattern(3 * MIB, 1), pattern(5 * MIB, 2));
    let pump = |socket: TcpStream, bytes: Vec<u8>| async move {
        let (mut read, mut write) = socket.into_split();
        let writing = async move {
            write.write_all(&bytes).await.expect("all of it");
            write.shutdown().await.expect("an open connection");
        };
        let mut got = Vec::new();
        let (_, read) = tokio::join!(writing, read.read_to_end(&mut got));
        read.expect("a clean end");
        got
    };
    let (at_client, at_origin) = tokio::join!(pump(client, up.clone()), pump(origin, down.clone()));
    assert!(at_client == down && at_origin == up, "every byte, in order");
    let carried = edge.await.expect("no panic");
    assert_eq!(carried, Carried { sent: 3 * MIB as u64, received: 5 * MIB as u64, ended: Ended::Finished });
    if let Some(connector) = connector {
        let carried = connector.await.expect("no panic");
        assert_eq!(carried, Carried { sent: 5 * MIB as u64, received: 3 * MIB as u64, ended: Ended::Finished });
    }
}

async fn each_direction_ends_alone(mut world: World) {
    let (up, down) = (pattern(100_000, 3), pattern(200_000, 4));
    world.client.write_all(&up).await.expect("room");
    world.client.shutdown().await.expect("an open connection");
    assert_eq!(read_all(&mut world.origin).await, (up, None), "the end of data passes while the other way is open");
    world.origin.write_all(&down).await.expect("room");
    world.origin.shutdown().await.expect("an open connection");
    assert_eq!(read_all(&mut world.client).await, (down, None));
    assert!(matches!(world.ended().await, (Ended::Finished, None | Some(Ended::Finished))));
}

async fn a_server_may_speak_first(mut world: World) {
    world.origin.write_all(b"220 hello").await.expect("room");
    let mut greeting = [0; 9];
    world.client.read_exact(&mut greeting).await.expect("the greeting, though the client said nothing");
    assert_eq!(&greeting, b"220 hello");
    world.origin.shutdown().await.expect("an open connection");
    assert_eq!(read_all(&mut world.client).await, (vec![], None));
    world.client.write_all(b"QUIT").await.expect("room");
    world.client.shutdown().await.expect("an open connection");
    assert_eq!(read_all(&mut world.origin).await, (b"QUIT".to_vec(), None));
}

async fn a_reset_by_the_client_follows_all_it_sent(world: World) {
    let World { mut client, mut origin, edge, connector } = world;
    let sent = pattern(2 * MIB, 5);
    let ((), (got, end)) = tokio::join!(
        async {
            client.write_all(&sent).await.expect("the origin reads");
            reset(client).await;
        },
        read_all(&mut origin)
    );
    assert!(got == sent, "{} of {} bytes came", got.len(), sent.len());
    assert_eq!(end, RESET, "a reset, not an end of data");
    assert_eq!(edge.await.expect("no panic").ended, Ended::LocalReset);
    if let Some(connector) = connector {
        assert_eq!(connector.await.expect("no panic").ended, Ended::RemoteReset);
    }
}

async fn a_reset_by_the_origin_follows_all_it_sent(world: World) {
    let World { mut client, mut origin, edge, connector } = world;
    let sent = pattern(2 * MIB, 6);
    let ((), (got, end)) = tokio::join!(
        async {
            origin.write_all(&sent).await.expect("the client reads");
            reset(origin).await;
        },
        read_all(&mut client)
    );
    assert!(got == sent, "{} of {} bytes came", got.len(), sent.len());
    assert_eq!(end, RESET, "a reset, not an end of data");
    assert_eq!(edge.await.expect("no panic").ended, Ended::RemoteReset);
    if let Some(connector) = connector {
        assert_eq!(connector.await.expect("no panic").ended, Ended::LocalReset);
    }
}

async fn a_reset_while_the_other_side_talks_follows_all_that_was_sent(world: World) {
    let World { mut client, origin, .. } = world;
    let sent = pattern(300_000, 7);
    let (mut read, mut write) = origin.into_split();
    // It talks until its connection breaks: the splice learns of the client's reset by a failing write.
    let talk = tokio::spawn(async move { while write.write_all(&[0; 4096]).await.is_ok() {} });
    client.read_exact(&mut [0; 4096]).await.expect("the talk");
    client.write_all(&sent).await.expect("the kernel has room");
    reset(client).await;
    let mut got = Vec::new();
    let end = read.read_to_end(&mut got).await;
    assert!(got == sent, "{} of {} bytes came", got.len(), sent.len());
    // The talking side may be told of the reset first; then its reads end without an error.
    assert!(end.is_err() || talk.await.is_ok());
}

async fn a_reset_after_the_own_end_of_data_crosses(world: World) {
    let World { mut client, mut origin, edge, .. } = world;
    client.write_all(b"request").await.expect("room");
    client.shutdown().await.expect("an open connection");
    assert_eq!(read_all(&mut origin).await, (b"request".to_vec(), None));
    reset(client).await;
    until_broken(origin).await;
    assert_eq!(edge.await.expect("no panic").ended, Ended::LocalReset);
}

async fn a_reset_after_the_end_of_the_other_direction_crosses(world: World) {
    let World { mut client, mut origin, edge, connector } = world;
    origin.write_all(b"answer").await.expect("room");
    origin.shutdown().await.expect("an open connection");
    assert_eq!(read_all(&mut client).await, (b"answer".to_vec(), None));
    reset(client).await;
    let (_, end) = read_all(&mut origin).await;
    assert_eq!(end, RESET, "a reset, not an end of data");
    assert_eq!(edge.await.expect("no panic").ended, Ended::LocalReset);
    if let Some(connector) = connector {
        assert_eq!(connector.await.expect("no panic").ended, Ended::RemoteReset);
    }
}

async fn a_reset_with_unread_data_on_both_sides_ends_both(world: World) {
    let World { mut client, mut origin, edge, connector } = world;
    client.write_all(&[1; 1000]).await.expect("room");
    origin.write_all(&[2; 1000]).await.expect("room");
    client.readable().await.expect("data");
    origin.readable().await.expect("data");
    drop(client);
    let (_, end) = read_all(&mut origin).await;
    assert_eq!(end, RESET, "a connection closed over unread data is reset");
    edge.await.expect("no panic");
    if let Some(connector) = connector {
        connector.await.expect("no panic");
    }
}

async fn a_dropped_splice_is_a_reset_on_both_sides(world: World) {
    let World { mut client, mut origin, edge, connector } = world;
    client.write_all(b"half of it").await.expect("room");
    origin.read_exact(&mut [0; 10]).await.expect("what was sent");
    edge.abort();
    assert_eq!(read_all(&mut client).await.1, RESET);
    assert_eq!(read_all(&mut origin).await.1, RESET);
    if let Some(connector) = connector {
        assert_eq!(connector.await.expect("no panic").ended, Ended::RemoteReset);
    }
}

#[tokio::test]
async fn first_bytes_go_first() {
    let pair = Pair::new().await;
    let manner = || Manner { first: Bytes::from_static(b"first "), ..Manner::default() };
    for mut world in [World::with(&pair, &pair.windows(Bounds::AGREED), manner()).await, World::direct(manner()).await]
    {
        world.client.write_all(b"then").await.expect("room");
        world.client.shutdown().await.expect("an open connection");
        assert_eq!(within(read_all(&mut world.origin)).await, (b"first then".to_vec(), None));
    }
}

#[tokio::test]
async fn what_a_dropped_splice_has_carried_is_known() {
    let pair = Pair::new().await;
    let check = async |mut world: World, count: Count| {
        world.client.write_all(b"half of it").await.expect("room");
        world.origin.read_exact(&mut [0; 10]).await.expect("what was sent");
        world.edge.abort();
        assert_eq!(read_all(&mut world.client).await.1, RESET);
        assert_eq!((count.sent(), count.received()), (10, 0));
    };
    let count = Count::default();
    let manner = |count: &Count| Manner { count: count.clone(), ..Manner::default() };
    check(World::with(&pair, &pair.windows(Bounds::AGREED), manner(&count)).await, count).await;
    let count = Count::default();
    check(World::direct(manner(&count)).await, count).await;
}

#[tokio::test]
async fn a_lost_link_resets_both_sockets() {
    let pair = Pair::new().await;
    let mut world = World::tunnel(&pair).await;
    world.client.write_all(b"request").await.expect("room");
    within(world.origin.read_exact(&mut [0; 7])).await.expect("what was sent");
    pair.edge.close(CloseCode::Overloaded, "");
    assert_eq!(within(read_all(&mut world.client)).await.1, RESET);
    assert_eq!(within(read_all(&mut world.origin)).await.1, RESET);
    assert_eq!(world.ended().await, (Ended::LinkLost, Some(Ended::LinkLost)));
}

#[tokio::test]
async fn a_flow_that_carries_nothing_is_reset_at_its_idle_limit() {
    let pair = Pair::new().await;
    let manner = || Manner { idle: Some(SOON), ..Manner::default() };
    let check = async |mut world: World| {
        let _ = world.client.write_all(b"request").await;
        assert_eq!(within(read_all(&mut world.origin)).await.1, RESET);
        assert_eq!(within(read_all(&mut world.client)).await.1, RESET);
        assert!(matches!(world.ended().await, (Ended::Idle, None | Some(Ended::RemoteReset))));
    };
    check(World::with(&pair, &pair.windows(Bounds::AGREED), manner()).await).await;
    check(World::direct(manner()).await).await;
}

/// Writes until the connection breaks.
fn flood(mut socket: TcpStream) -> JoinHandle<()> {
    tokio::spawn(async move { while socket.write_all(&[0; 65_536]).await.is_ok() {} })
}

/// What a link bears of flows that nobody reads, for tests that do not wait.
fn tight(flows: u64) -> Bounds {
    let first = u64::from(FLOW_WINDOW);
    Bounds { held_max: flows * first, patience: SOON, last_wait: SOON, ..Bounds::AGREED }
}

#[tokio::test]
async fn of_the_flows_that_nobody_reads_as_many_are_reset_as_must_be() {
    let pair = Pair::new().await;
    let windows = pair.windows(tight(1));
    let looks = windows[0].clone();
    tokio::spawn(async move {
        let mut beat = time::interval(SOON);
        loop {
            beat.tick().await;
            looks.look();
        }
    });
    let mut clients = Vec::new();
    let mut splices = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let world = World::with(&pair, &windows, Manner::default()).await;
        flood(world.origin);
        clients.push(world.client);
        splices.spawn(world.edge);
    }
    for _ in 0..2 {
        let ended = within(splices.join_next()).await.expect("two of three").expect("no panic");
        assert_eq!(ended.expect("no panic").ended, Ended::Stalled);
    }
    // The one that is left goes on as soon as its reader reads.
    assert!(splices.try_join_next().is_none());
    let mut alive = 0;
    for client in &mut clients {
        let mut bytes = vec![0; 24 * MIB];
        alive += usize::from(within(client.read_exact(&mut bytes)).await.is_ok());
    }
    assert_eq!(alive, 1);
}

#[tokio::test]
async fn flows_that_nobody_reads_leave_room_for_those_who_do() {
    let pair = Pair::new().await;
    let windows = pair.windows(Bounds::AGREED);
    let mut quiet = Vec::new();
    // Five times as many as once filled a link, in each direction.
    for _ in 0..80 {
        let down = World::with(&pair, &windows, Manner::default()).await;
        let up = World::with(&pair, &windows, Manner::default()).await;
        flood(down.origin);
        flood(up.client);
        quiet.push((down.client, up.origin, down.edge, up.edge));
    }
    for _ in 0..3 {
        within(bytes_cross_both_ways_whole(World::with(&pair, &windows, Manner::default()).await)).await;
    }
    assert!(
        quiet.iter().all(|(_, _, down, up)| !down.is_finished() && !up.is_finished()),
        "and nobody is reset for it"
    );
    let held = windows.each_ref().map(|side| side.tally().held());
    assert!(held.iter().all(|held| *held > 0 && *held < 80 * MIB as u64), "{held:?}");
}

#[tokio::test]
async fn a_stalled_flow_is_reset_at_both_ends() {
    let pair = Pair::new().await;
    let windows = pair.windows(tight(0));
    let World { client, origin, edge, connector } = World::with(&pair, &windows, Manner::default()).await;
    let flood = flood(origin);
    let looks = async {
        let mut beat = time::interval(SOON);
        loop {
            beat.tick().await;
            windows[0].look();
        }
    };
    let edge = select! {
        edge = within(edge) => edge,
        () = looks => unreachable!("looks for ever"),
    };
    assert_eq!(edge.expect("no panic").ended, Ended::Stalled);
    let connector = connector.expect("a tunnel has one");
    assert_eq!(within(connector).await.expect("no panic").ended, Ended::Stalled);
    within(flood).await.expect("its connection broke");
    until_broken(client).await;
    assert_eq!(windows[0].tally().sacrificed(), 1);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_does_not_hold_a_flow_whose_writer_is_gone() {
    let pair = Pair::new().await;
    let windows = pair.windows(Bounds { last_wait: SOON, ..Bounds::AGREED });
    let World { mut client, mut origin, edge, connector } = World::with(&pair, &windows, Manner::default()).await;
    // More than kernel and window hold: the last write waits when the reader is stuck.
    let filled = async {
        let block = vec![0; MIB];
        while time::timeout(SOON * 4, origin.write_all(&block)).await.is_ok() {}
    };
    within(filled).await;
    Socket::new(origin).expect("a live connection").abort();
    let connector = connector.expect("a tunnel has one");
    assert_eq!(within(connector).await.expect("no panic").ended, Ended::LocalReset);
    assert_eq!(within(edge).await.expect("no panic").ended, Ended::RemoteReset);
    assert_eq!(within(read_all(&mut client)).await.1, RESET);
}

#[tokio::test]
async fn a_link_with_idle_flows_only_keeps_acknowledging() {
    let pair = Pair::new().await;
    let worlds = [World::tunnel(&pair).await, World::tunnel(&pair).await];
    let acknowledged = || Look::at(&pair.edge, time::Instant::now().into_std(), 0, 0).traffic.acknowledged;
    let before = acknowledged();
    within(bytes_cross_both_ways_whole(World::tunnel(&pair).await)).await;
    assert!(acknowledged() > before);
    drop(worlds);
}

#[test]
fn a_stop_goes_further_ahead_where_the_way_is_long() {
    assert_eq!(lead(Duration::from_millis(2)), RESET_LEAD);
    assert_eq!(lead(Duration::from_millis(300)), Duration::from_millis(1200));
}
