use protocol::{error::Reason, id::LinkId};

use super::*;
use crate::{
    health::view::{Health, OriginView},
    model::Via,
    routing::RouteTable,
    tunnel::{TunnelHealth, TunnelView, tests::link},
};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn route(vnet: &str, cidr: &str) -> Route {
    Route { vnet: name(vnet), cidr: cidr.parse().expect("a CIDR") }
}

/// Links of `dc1` that lead to these networks.
fn links(live: &[(&str, &str, u64)], absent: &[(&str, &str)]) -> LinksView {
    let all = live.iter().map(|(.., id)| (LinkId(*id), link(LinkId(*id), &name("dc1")))).collect();
    let routes = RouteTable::build(
        live.iter().map(|(vnet, cidr, id)| (route(vnet, cidr), LinkId(*id))),
        absent.iter().map(|(vnet, cidr)| route(vnet, cidr)),
    );
    LinksView { links: Arc::new(all), routes, tunnels: Vec::new() }
}

/// The only origin of the view for this destination.
fn origin(links: &LinksView, (vnet, address): (&str, &str), grants: &[Grant], now: Instant) -> Arc<OriginView> {
    let destination = Destination::new(&name(vnet), address.parse().expect("an address")).expect("it has a port");
    let network = &(Arc::new(net::Os) as Arc<dyn Network>);
    let view = destination.view(&Surroundings { links, grants, network, now });
    assert_eq!((view.load_balancers.len(), view.pools.len(), view.pools[0].origins.len()), (1, 1, 1));
    view.pools[0].origins[0].clone()
}

fn ways(origin: &OriginView) -> Vec<Via> {
    origin.paths.iter().map(|path| path.via()).collect()
}

#[test]
fn a_destination_is_reached_over_the_links_of_the_longest_prefix_of_its_own_vnet() {
    let links = links(
        &[("red", "10.0.0.0/8", 1), ("red", "10.7.0.0/16", 2), ("red", "10.7.0.0/16", 3), ("blue", "10.7.0.0/16", 4)],
        &[],
    );
    let via = |vnet, address| ways(&origin(&links, (vnet, address), &[], Instant::now()));
    let link = |id| Via::Link(LinkId(id));
    assert_eq!(via("red", "10.7.0.1:80"), [link(2), link(3)]);
    assert_eq!(via("red", "10.8.0.1:80"), [link(1)]);
    assert_eq!(via("blue", "10.7.0.1:80"), [link(4)]);
    assert_eq!(via("red", "[::ffff:10.7.0.1]:80"), [link(2), link(3)], "the same address");
    let found = origin(&links, ("red", "10.7.0.1:80"), &[], Instant::now());
    assert_eq!((found.health, found.origin.address.to_string().as_str()), (Health::Unknown, "10.7.0.1:80"));
}

#[test]
fn a_destination_without_a_way_says_why_and_never_has_a_direct_one() {
    let links = links(&[("red", "10.7.0.0/16", 1)], &[("red", "10.9.0.0/16")]);
    for (vnet, address, reason) in [
        ("red", "10.9.0.1:80", Reason::TunnelDown),
        ("red", "192.0.2.1:80", Reason::NoRoute),
        ("red", "127.0.0.1:80", Reason::NoRoute),
        ("red", "[::1]:80", Reason::NoRoute),
        ("green", "10.7.0.1:80", Reason::NoRoute),
    ] {
        let found = origin(&links, (vnet, address), &[], Instant::now());
        assert_eq!((ways(&found), found.reason()), (Vec::new(), Some(reason)), "{vnet} {address}");
    }
    assert!(Destination::new(&name("red"), "10.7.0.1:0".parse().expect("an address")).is_none());
}

#[test]
fn a_destination_is_down_since_the_last_tunnel_that_may_lead_there_is() {
    let began = Instant::now();
    let after = |seconds| began + Duration::from_secs(seconds);
    let tunnel = |connector, seconds| {
        let (connector, health, since) = (name(connector), TunnelHealth::Down, after(seconds));
        let (links, routes, refused) = Default::default();
        Arc::new(TunnelView { connector, health, is_open: false, since, health_since: since, links, routes, refused })
    };
    let mut links = links(&[], &[("red", "10.7.0.0/16")]);
    links.tunnels = vec![tunnel("dc1", 1), tunnel("dc2", 2), tunnel("dc3", 3)];
    let grant = |connector, vnet, cidr| Grant {
        connector: name(connector),
        replicas: 1,
        routes: vec![route(vnet, cidr)],
        drain: false,
    };
    let grants =
        [grant("dc1", "red", "10.7.0.0/16"), grant("dc2", "red", "10.0.0.0/8"), grant("dc3", "blue", "10.0.0.0/8")];
    let since = |grants| origin(&links, ("red", "10.7.0.1:80"), grants, after(9)).down_since;
    assert_eq!(since(&grants), Some(after(2)));
    assert_eq!(since(&grants[..1]), Some(after(1)));
    assert_eq!(since(&grants[2..]), Some(after(9)), "it is known since now");
}
