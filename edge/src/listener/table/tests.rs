use std::{net::IpAddr, sync::mpsc};

use certs::secret::Secret;
use net::{Network, Vital, Workers, memory::MemoryNetwork};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    balancer::{Balancer, Sealer},
    health::{Board, BoardParts},
    listener::{Http, Scarce, Sources},
    metrics::{Metrics, Readings},
    model::{Drain, Drains, Held},
    offramp::Offramp,
    store::Store,
    tunnel::Registry,
};

const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

/// Listeners of a host of its own, with one worker.
fn listeners() -> Listeners {
    let network: Arc<dyn Network> = Arc::new(MemoryNetwork::new(1).host(HOST));
    let (store, registry) = (Store::new(), Registry::default());
    let offramp = Offramp::new(store.subscribe());
    let (_board, handles) = Board::new(BoardParts {
        network: network.clone(),
        snapshots: store.subscribe(),
        links: registry.subscribe(),
        offramp: offramp.clone(),
        metrics: Metrics::default(),
        vital: Vital::default(),
    });
    let shared = Shared {
        network,
        workers: Arc::new(Workers::start("carry", 1).expect("a thread")),
        offramp,
        balancer: Balancer::new(Sealer::new(&Secret::new("a secret".to_owned()))),
        view: handles.view,
        links: registry.subscribe(),
        reports: handles.reports,
        metrics: Metrics::default(),
        sources: Sources::default(),
        flows: Arc::default(),
        cut: CancellationToken::new(),
        scarce: Scarce::default(),
        recent: Arc::default(),
        reveals_ids: false,
        vital: Vital::default(),
    };
    Listeners::new(Arc::new(shared), Arc::new(Http::new(1)))
}

/// A snapshot with listeners of these names, protocols and addresses.
fn snapshot(listeners: &[(&str, &str, &str)]) -> Snapshot {
    let listener = |(name, protocol, listen): &(&str, &str, &str)| {
        format!(
            "[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nlisten = \"{listen}\"\nload_balancer = \"lb\"\n"
        )
    };
    let text = format!(
        "name = \"edge-1\"\ntunnel.listen = \"127.0.0.1:7843\"\nload_balancer = [{{ name = \"lb\", pools = [\"p\"] }}]\n\
         pool = [{{ name = \"p\", origin = [{{ name = \"o\", address = \"192.0.2.1:80\" }}] }}]\n{}",
        listeners.iter().map(listener).collect::<String>()
    );
    let config = crate::config::parse(&text, "/edge.toml".as_ref()).unwrap_or_else(|wrong| panic!("{wrong}"));
    Snapshot::read(config.catalog, &Snapshot::default()).expect("it names no file")
}

/// Puts one in force.
async fn reload(table: &Listeners, listeners: &[(&str, &str, &str)]) {
    let snapshot = snapshot(listeners);
    let prepared = table.prepare(&snapshot).await.expect("its addresses are to be had");
    table.commit(prepared);
}

fn open(table: &Listeners) -> Vec<String> {
    table.states().iter().map(|state| format!("{} {}", state.listener().name, state.address)).collect()
}

#[tokio::test]
async fn an_address_becomes_all_of_them_and_one_again() {
    let table = listeners();
    let (one, all) = ("198.51.100.1:80", "0.0.0.0:80");
    for (protocol, at) in [
        ("tcp", one),
        ("tcp", all),
        ("http", one),
        ("http", all),
        ("tcp", all),
        ("tcp", "[::]:80"),
        ("udp", one),
        ("tcp", one),
    ] {
        reload(&table, &[("www", protocol, at)]).await;
        assert_eq!(open(&table), [format!("www {at}")], "{protocol}");
    }
}

#[tokio::test]
async fn what_speaks_another_protocol_keeps_its_socket() {
    let table = listeners();
    reload(&table, &[("www", "tcp", "0.0.0.0:80")]).await;
    let before = table.states();
    reload(&table, &[("web", "http", "0.0.0.0:80")]).await;
    assert!(Arc::ptr_eq(&before[0], &table.states()[0]));
    assert_eq!(open(&table), ["web 0.0.0.0:80"]);
}

#[tokio::test]
async fn a_listener_that_is_slow_to_let_go_holds_up_only_who_wants_its_address() {
    let table = listeners();
    reload(&table, &[("www", "tcp", "0.0.0.0:80"), ("api", "tcp", "0.0.0.0:81")]).await;
    let (go, told) = mpsc::channel::<()>();
    let (held, holds) = mpsc::channel::<()>();
    table.shared.workers.handle(0).spawn(async move {
        held.send(()).expect("the test waits for it");
        told.recv()
    });
    holds.recv().expect("the worker runs");
    let dropped = table.states()[0].clone();
    // Nothing can let go now, and nobody waits for it.
    reload(&table, &[("api", "tcp", "0.0.0.0:81"), ("other", "tcp", "0.0.0.0:82")]).await;
    assert!(!dropped.is_released());
    // What has to be had from it is waited for.
    let next = snapshot(&[("api", "tcp", "0.0.0.0:81"), ("back", "tcp", "198.51.100.1:80")]);
    let mut preparing = Box::pin(table.prepare(&next));
    assert!(time::timeout(Duration::ZERO, &mut preparing).await.is_err());
    go.send(()).expect("the worker waits for it");
    table.commit(preparing.await.expect("the address is free"));
    assert_eq!(open(&table), ["api 0.0.0.0:81", "back 198.51.100.1:80"]);
    assert!(table.lock().leaving.iter().all(|left| !Arc::ptr_eq(left, &dropped)), "it is remembered no longer");
}

/// The same snapshot with these listeners drained.
fn draining(snapshot: &Snapshot, listeners: &[&str]) -> Snapshot {
    let (since, begun) = (std::time::SystemTime::now(), std::time::Instant::now());
    let drain = |name: &&str| (Subject::read("listener", name).expect("right"), Drain { who: None, since, begun });
    snapshot.draining(Drains::kept(listeners.iter().map(drain).collect()))
}

async fn put(table: &Listeners, snapshot: &Snapshot) {
    table.commit(table.prepare(snapshot).await.expect("its addresses are to be had"));
}

#[tokio::test]
async fn a_drained_listener_closes_its_socket_and_has_it_again() {
    let table = listeners();
    let all = snapshot(&[("www", "tcp", "0.0.0.0:80"), ("api", "tcp", "0.0.0.0:81"), ("dns", "udp", "0.0.0.0:53")]);
    put(&table, &all).await;
    let www = table.states()[0].clone();
    let flow = Held::new(&www.flows);
    for _ in 0..2 {
        put(&table, &draining(&all, &["www", "dns"])).await;
        assert!(www.is_closed() && www.is_drained());
        time::timeout(RELEASE_WAIT, www.released()).await.expect("its socket is closed");
        assert_eq!(open(&table), ["api 0.0.0.0:81", "dns 0.0.0.0:53", "www 0.0.0.0:80"], "it is still told of");
        assert_eq!(table.left(&Subject::read("listener", "www").expect("right")).flows(), 1);
        let of_udp = table.states()[1].clone();
        assert!(of_udp.is_drained() && !of_udp.is_closed(), "its sessions live by its socket");
    }
    put(&table, &all).await;
    let again = table.states().into_iter().find(|state| state.listener().name.as_str() == "www").expect("there");
    assert!(!again.is_drained() && !again.is_closed() && !Arc::ptr_eq(&again, &www));
    assert_eq!(again.flows(), 1, "who was there counts on");
    drop(flow);
    assert!(table.states().iter().all(|state| !state.is_drained() && state.flows() == 0));
}

#[tokio::test]
async fn a_listener_that_is_drained_from_the_start_has_no_socket_until_it_is_drained_no_longer() {
    let table = listeners();
    let all = snapshot(&[("www", "tcp", "0.0.0.0:80")]);
    put(&table, &draining(&all, &["www"])).await;
    assert!(table.states()[0].is_drained() && table.states()[0].is_released());
    // Its address is nobody's: another may have it.
    let other = snapshot(&[("web", "tcp", "0.0.0.0:80")]);
    put(&table, &other).await;
    assert_eq!(open(&table), ["web 0.0.0.0:80"]);
    put(&table, &all).await;
    assert!(!table.states()[0].is_drained());
}

#[tokio::test]
async fn who_is_connected_and_waits_when_a_listener_is_drained_is_taken() {
    let table = listeners();
    let all = snapshot(&[("www", "tcp", "0.0.0.0:80")]);
    put(&table, &all).await;
    let www = table.states()[0].clone();
    let (go, told) = mpsc::channel::<()>();
    let (held, holds) = mpsc::channel::<()>();
    table.shared.workers.handle(0).spawn(async move {
        held.send(()).expect("the test waits for it");
        told.recv()
    });
    holds.recv().expect("the worker runs");
    let dial = || table.shared.network.dial((HOST, 80).into());
    let clients = [dial().await, dial().await, dial().await].map(|dialled| dialled.expect("it listens"));
    put(&table, &draining(&all, &["www"])).await;
    go.send(()).expect("the worker waits for it");
    www.released().await;
    assert!(dial().await.is_err(), "and nobody else");
    table.close();
    table.ended().await;
    // No origin is there for them, which they learn as flows.
    let metrics = table.shared.metrics.encode(Readings::default()).expect("a string takes every write");
    let mut lines = metrics.lines().filter(|line| line.contains("flows_refused_total{") && line.contains("no_place"));
    assert!(lines.any(|line| line.ends_with(&format!(" {}", clients.len()))), "{metrics}");
}
