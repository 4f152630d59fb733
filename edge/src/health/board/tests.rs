use std::{net::IpAddr, path::Path};

use net::memory::MemoryNetwork;

use super::*;
use protocol::error::Reason;

use crate::{
    health::{key::PathKey, view::Health},
    model::{Catalog, Via},
    tunnel::Registry,
};

/// One pool of direct origins, probed once an hour.
fn catalog(origins: usize, monitor: &str) -> Catalog {
    let origin = |at: usize| {
        let address = format!("192.0.{}.{}:80", at / 250, at % 250 + 1);
        format!("[[pool.origin]]\nname = \"o{at}\"\naddress = \"{address}\"\n")
    };
    let origins: String = (0..origins).map(origin).collect();
    let text = format!(
        "name = \"e\"\nstate_dir = \"s\"\n[tunnel]\nlisten = \"127.0.0.1:1\"\n\
         [[monitor]]\nname = \"tcp\"\ntype = \"tcp\"\npassive_failures = 1\n{monitor}\n\
         [[pool]]\nname = \"p\"\nmonitor = \"tcp\"\n{origins}"
    );
    crate::config::parse(&text, Path::new("/e.toml")).unwrap_or_else(|wrong| panic!("{wrong}")).catalog
}

struct Stand {
    snapshots: watch::Sender<Arc<Snapshot>>,
    _registry: Registry,
    handles: BoardHandles,
}

fn snapshot(catalog: Catalog) -> Arc<Snapshot> {
    Arc::new(Snapshot { catalog: Arc::new(catalog), ..Snapshot::default() })
}

/// A board that runs over a network where nobody is.
async fn stand(catalog: Catalog) -> Stand {
    let (network, registry) = (MemoryNetwork::new(1), Registry::default());
    let host: Arc<dyn Network> = Arc::new(network.host(IpAddr::from([198, 51, 100, 1])));
    let (snapshots, in_force) = watch::channel(snapshot(catalog));
    let (mut board, handles) = Board::new(BoardParts {
        snapshots: in_force.clone(),
        links: registry.subscribe(),
        offramp: Offramp::new(in_force),
        network: host,
        metrics: Metrics::default(),
        vital: Vital::default(),
    });
    tokio::spawn(async move { board.run().await });
    let mut view = handles.view.clone();
    view.wait_for(|view| view.number == 1).await.expect("the board runs");
    Stand { snapshots, _registry: registry, handles }
}

fn failed(view: &HealthView, origin: usize) -> Report {
    let (pool, via) = (view.pools[0].pool.name.clone(), Via::Direct);
    let path = PathKey { pool, origin: view.pools[0].origins[origin].key, via };
    Report { path, connect: Err(Reason::ConnectRefused) }
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_share_one_view() {
    let Stand { handles, snapshots: _snapshots, _registry } = stand(catalog(1_000, "interval = \"1h\"")).await;
    let mut views = handles.view.clone();
    let before = views.borrow_and_update().clone();
    (0..1_000).for_each(|origin| handles.reports.tell(failed(&before, origin)));
    views.changed().await.expect("the board runs");
    let after = views.borrow().clone();
    assert_eq!(after.number, before.number + 1);
    assert!(after.pools[0].origins().all(|origin| origin.health == Health::Unhealthy));
}

#[tokio::test(start_paused = true)]
async fn one_change_makes_one_origin_anew() {
    let Stand { handles, snapshots: _snapshots, _registry } = stand(catalog(1_000, "interval = \"1h\"")).await;
    let mut views = handles.view.clone();
    let before = views.borrow_and_update().clone();
    handles.reports.tell(failed(&before, 7));
    views.changed().await.expect("the board runs");
    let after = views.borrow().clone();
    let both = before.pools[0].origins.iter().zip(&after.pools[0].origins);
    let made: Vec<_> = both.enumerate().filter(|(_, (was, is))| !Arc::ptr_eq(was, is)).map(|(at, _)| at).collect();
    assert_eq!(made, [7]);
}

#[tokio::test(start_paused = true)]
async fn what_was_found_outlives_an_edit_of_the_monitor() {
    let stand = stand(catalog(2, "interval = \"1h\"")).await;
    let mut views = stand.handles.view.clone();
    let before = views.borrow_and_update().clone();
    stand.handles.reports.tell(failed(&before, 0));
    views.changed().await.expect("the board runs");
    stand.snapshots.send_replace(snapshot(catalog(3, "interval = \"59m\"")));
    let view = views.wait_for(|view| view.pools[0].origins.len() == 3).await.expect("the board runs").clone();
    let healths: Vec<_> = view.pools[0].origins().map(|origin| origin.health).collect();
    assert_eq!(healths, [Health::Unhealthy, Health::Unknown, Health::Unknown]);
    assert_eq!(view.pools[0].origins[0].reason(), Some(Reason::PassiveFailures));
}
