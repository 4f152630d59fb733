use ipnetwork::IpNetwork;
use protocol::{control::RouteClaim, link::Connection, liveness::LinkState};

use super::*;
use crate::{
    model::{Catalog, Drain, Drains, Subject},
    store::Store,
    tunnel::{
        TunnelHealth, TunnelView,
        tests::{connections, registration},
    },
};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn cidr(text: &str) -> IpNetwork {
    text.parse().expect("a CIDR")
}

fn grant(connector: &str, routes: &[(&str, &str)]) -> Grant {
    let routes = routes.iter().map(|(vnet, at)| Route { vnet: name(vnet), cidr: cidr(at) }).collect();
    Grant { connector: name(connector), replicas: 1, routes, drain: false }
}

fn granting(grants: Vec<Grant>) -> Arc<Snapshot> {
    Arc::new(Snapshot { catalog: Arc::new(Catalog { grants, ..Catalog::default() }), ..Snapshot::default() })
}

fn claims(routes: &[(&str, &str)]) -> Claims {
    let claim = |(vnet, cidr): &(&str, &str)| RouteClaim { vnet: (*vnet).to_owned(), cidr: (*cidr).to_owned() };
    Claims { links: 1, routes: routes.iter().map(claim).collect() }
}

fn claiming(
    connection: &Connection,
    (connector, replica): (&str, &str),
    routes: &[(&str, &str)],
) -> (Registration, Claims) {
    let registration = registration(&name(connector), connection.clone());
    (Registration { replica: name(replica), ..registration }, claims(routes))
}

/// What the view says.
fn said(view: &LinksView) -> String {
    let tunnel = |tunnel: &Arc<TunnelView>| {
        let links: Vec<_> = tunnel.links.iter().map(|link| link.id).collect();
        format!("{} {:?} {links:?} {:?} {:?}", tunnel.connector, tunnel.health, tunnel.routes, tunnel.refused)
    };
    let links: BTreeSet<_> = view.links.keys().collect();
    format!("{links:?} {:?}", view.tunnels.iter().map(tunnel).collect::<Vec<_>>())
}

/// The view as it is against one that is made from nothing.
fn check(registry: &Registry) {
    let now = registry.subscribe().borrow().clone();
    let whole = {
        let mut inner = registry.lock();
        let Inner { links, judged, ever_up, changes, .. } = &mut *inner;
        links.values().for_each(|entry| changes.link(entry));
        judged.catalog.grants.iter().for_each(|grant| changes.grant(grant));
        let ever_up = ever_up.clone();
        let moment = Moment { changes: mem::take(changes), links: links.clone(), snapshot: judged.clone(), ever_up };
        moment.view(&LinksView::default(), Instant::now())
    };
    assert_eq!(said(&now), said(&whole));
    assert_eq!(now.routes, whole.routes);
}

#[tokio::test]
async fn a_view_made_of_the_one_before_says_what_one_made_of_nothing_says() {
    let ([here, _there], _endpoints) = connections().await;
    let store = Store::new();
    let registry = Registry::new(store.subscribe(), Vital::default());
    let (red, blue) = (("red", "10.0.0.0/8"), ("blue", "10.0.0.0/8"));
    store.commit(granting(vec![grant("dc1", &[red, blue]), grant("dc2", &[red])]));
    registry.follow();
    check(&registry);
    let one = registry.register(claiming(&here, ("dc1", "r-1"), &[red, blue]));
    check(&registry);
    let two = registry.register(claiming(&here, ("dc2", "r-1"), &[red, blue]));
    check(&registry);
    let before = registry.subscribe().borrow().clone();
    one.set_state(LinkState::Suspect);
    registry.changed(&one);
    check(&registry);
    let after = registry.subscribe().borrow().clone();
    assert!(after.routes.differing(&before.routes).is_empty(), "a link that is suspect keeps its routes");
    assert!(Arc::ptr_eq(&after.tunnels[1], &before.tunnels[1]), "nobody touched the other tunnel");
    assert!(Arc::ptr_eq(&after.links, &before.links));
    two.leave();
    registry.changed(&two);
    check(&registry);
    let left = registry.subscribe().borrow().clone();
    assert_eq!(left.routes.differing(&after.routes), [name("red")].into(), "one that leaves has none");
    // The same replica once more.
    let again = registry.register(claiming(&here, ("dc1", "r-1"), &[blue]));
    check(&registry);
    store.commit(granting(vec![grant("dc1", &[red])]));
    registry.follow();
    check(&registry);
    assert!(registry.subscribe().borrow().links.len() == 1, "dc2 is granted nothing any more");
    registry.remove(&again);
    check(&registry);
    assert_eq!(registry.close_all_of(&name("dc1"), CloseCode::Revoked, "revoked"), 0);
    check(&registry);
}

#[tokio::test]
async fn a_link_that_claims_something_else_has_that_at_once_and_in_one_view() {
    let ([here, there], _endpoints) = connections().await;
    let store = Store::new();
    let registry = Registry::new(store.subscribe(), Vital::default());
    let (red, blue, beyond) = (("red", "10.0.0.0/8"), ("blue", "10.0.0.0/8"), ("green", "10.0.0.0/8"));
    store.commit(granting(vec![grant("dc1", &[red, blue]), grant("dc2", &[red])]));
    registry.follow();
    let link = registry.register(claiming(&here, ("dc1", "r-1"), &[red]));
    let other = registry.register(claiming(&there, ("dc2", "r-1"), &[red]));
    let mut views = registry.subscribe();
    let before = views.borrow_and_update().clone();
    registry.claim(&link, claims(&[blue, beyond]));
    let (accepted, refused) = registry.judged(&link);
    assert_eq!(accepted.iter().map(|route| route.vnet.as_str()).collect::<Vec<_>>(), ["blue"]);
    assert_eq!(refused.iter().map(|refused| refused.route.vnet.as_str()).collect::<Vec<_>>(), ["green"]);
    check(&registry);
    let after = views.borrow_and_update().clone();
    assert_eq!(after.routes.differing(&before.routes), [name("red"), name("blue")].into());
    let host = protocol::id::Host::Ip("10.0.0.1".parse().expect("an address"));
    let led_to = |view: &LinksView, vnet| view.routes.links_to(&name(vnet), &host).unwrap_or_default().to_vec();
    assert_eq!((led_to(&after, "red"), led_to(&after, "blue")), (vec![other.id], vec![link.id]));
    assert!(Arc::ptr_eq(&after.tunnels[1], &before.tunnels[1]), "nobody touched the other tunnel");

    registry.claim(&link, claims(&[blue, beyond]));
    assert!(!views.has_changed().expect("the registry lives"), "the same once more is no change");
    registry.claim(&link, Claims { links: 2, ..claims(&[blue, beyond]) });
    check(&registry);
    let health = |registry: &Registry| registry.subscribe().borrow().tunnel(&name("dc1")).map(|tunnel| tunnel.health);
    assert_eq!(health(&registry), Some(TunnelHealth::Degraded), "it keeps two now");
    registry.remove(&link);
    registry.claim(&link, claims(&[red]));
    check(&registry);
    assert_eq!(registry.judged(&link), (Vec::new(), Vec::new()), "one that is gone has nothing");
}

#[tokio::test]
async fn a_snapshot_in_force_is_gone_by_before_anybody_says_so() {
    let ([here, _there], _endpoints) = connections().await;
    let store = Store::new();
    let registry = Registry::new(store.subscribe(), Vital::default());
    let dc1 = name("dc1");
    assert!(!registry.is_granted(&dc1));
    store.commit(granting(vec![grant("dc1", &[("red", "10.0.0.0/8")]), grant("dc2", &[])]));
    assert!(registry.is_granted(&dc1));
    let routes = [("red", "10.0.0.0/8"), ("blue", "10.0.0.0/8")];
    let link = registry.register(claiming(&here, ("dc1", "r-1"), &routes));
    assert_eq!(registry.judged(&link).0.len(), 1);
    store.commit(granting(vec![grant("dc2", &[])]));
    assert!(!registry.is_granted(&dc1));
    assert!(!link.load.is_placeable(), "it was closed with the first question");
    registry.follow();
    check(&registry);
    assert!(registry.subscribe().borrow().links.is_empty());
}

#[tokio::test]
async fn a_tunnel_says_since_when_it_has_a_link_that_stays() {
    let ([here, _there], _endpoints) = connections().await;
    let store = Store::new();
    let registry = Registry::new(store.subscribe(), Vital::default());
    let dc1 = name("dc1");
    let told = || {
        let view = registry.subscribe().borrow().clone();
        view.tunnel(&dc1).map(|tunnel| (tunnel.is_open, tunnel.since)).expect("it is granted")
    };
    store.commit(granting(vec![grant("dc1", &[("red", "10.0.0.0/8")])]));
    registry.follow();
    let (is_open, granted) = told();
    assert!(!is_open);
    let link = |replica| registry.register(claiming(&here, ("dc1", replica), &[]));
    let (one, two) = (link("r-1"), link("r-2"));
    let (is_open, came) = told();
    assert!(is_open && came > granted);
    one.leave();
    registry.changed(&one);
    assert_eq!(told(), (true, came), "another stays");
    two.leave();
    registry.changed(&two);
    let (is_open, left) = told();
    assert!(!is_open && left > came, "one that leaves takes nothing new");
    [one, two].iter().for_each(|link| registry.remove(link));
    assert_eq!(told(), (false, left));
    assert!(registry.subscribe().borrow().tunnel(&name("dc2")).is_none());
}

#[tokio::test]
async fn changes_that_come_while_a_view_is_made_share_the_next() {
    let ([here, _there], _endpoints) = connections().await;
    let registry = Registry::default();
    let links: Vec<_> = (0..20)
        .map(|number| registry.register(claiming(&here, ("dc1", &format!("r-{number}")), &[("red", "10.0.0.0/8")])))
        .collect();
    let mut views = registry.subscribe();
    views.mark_unchanged();
    // All of them have come before the first gets to make one.
    links.iter().for_each(|link| registry.lock().note(link));
    registry.publish();
    assert!(views.has_changed().expect("the registry lives"));
    views.mark_unchanged();
    (1..links.len()).for_each(|_| registry.publish());
    assert!(!views.has_changed().expect("the registry lives"), "nothing was left to do");
}

#[tokio::test]
async fn links_of_one_process_know_each_other_and_no_others() {
    let ([here, there], _endpoints) = connections().await;
    let registry = Registry::default();
    let link = |connection: &Connection, run, slot| {
        let (registration, claims) = claiming(connection, ("dc1", "r-1"), &[]);
        registry.register((Registration { run, slot, ..registration }, Claims { links: 2, ..claims }))
    };
    let one = link(&here, 1, 0);
    assert_eq!(registry.beside(&one), []);
    let _two = link(&there, 1, 1);
    let _stranger = registry.register(claiming(&there, ("dc1", "r-2"), &[]));
    assert_eq!(registry.beside(&one), [there.remote_address()]);
    assert_eq!(registry.beside(&link(&here, 2, 0)), [], "another run of the replica");
}

#[tokio::test]
async fn a_drained_connector_has_no_routes_and_neither_have_its_new_links() {
    let ([here, there], _endpoints) = connections().await;
    let store = Store::new();
    let registry = Registry::new(store.subscribe(), Vital::default());
    let granted = granting(vec![grant("dc1", &[("red", "10.0.0.0/8")])]);
    store.commit(granted.clone());
    let claims = [("red", "10.0.0.0/8")];
    let one = registry.register(claiming(&here, ("dc1", "r-1"), &claims));
    let led = || {
        let view = registry.subscribe().borrow().clone();
        let links = view.routes.links_of(&name("red")).map(<[_]>::to_vec);
        let tunnel = view.tunnel(&name("dc1")).map(|tunnel| (tunnel.health, tunnel.is_open));
        (links.unwrap_or_default(), tunnel.expect("it is granted"))
    };
    assert_eq!(led(), (vec![one.id], (TunnelHealth::Healthy, true)));
    let drain = |named| {
        let (since, begun) = (std::time::SystemTime::now(), Instant::now());
        let drains = Drains::default()
            .with(Subject::read("connector", named).expect("right"), Drain { who: None, since, begun });
        store.commit(Arc::new(granted.draining(drains)));
        registry.follow();
        check(&registry);
    };
    drain("dc1");
    assert_eq!(led(), (vec![], (TunnelHealth::Healthy, false)), "its link is as well as it was");
    assert!(one.is_draining() && !one.is_leaving() && !one.load.is_placeable());
    let two = registry.register(claiming(&there, ("dc1", "r-2"), &claims));
    check(&registry);
    assert!(led().0.is_empty() && two.is_draining());
    drain("dc1/r-1");
    assert_eq!(led().0, [two.id], "the other replica");
    store.commit(granted.clone());
    registry.follow();
    check(&registry);
    assert_eq!(led().0, [one.id, two.id]);
}
