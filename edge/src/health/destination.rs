//! The view in which a flow is placed that goes to the very address it was for: one load balancer, one pool, and one origin
//! there, of weight 1 and without a monitor. The roll-up makes it, so whatever decides finds in it what it finds in every view.
//! Pure.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnetwork::IpNetwork;
use net::Network;
use protocol::id::{Host, Name, Target};

use super::{rollup::Sources, view::HealthView};
use crate::{
    model::{
        Affinity, Catalog, Drains, Grant, LoadBalancer, OnUnhealthy, Origin, Pool, PoolSteering, Route, Steering,
        Upstream,
    },
    tunnel::LinksView,
};

/// What load balancer, pool and origin of such a view are called.
pub const DESTINATION: &str = "destination";

/// How long the dial of such an origin may take, tunnel included: what pools have unless they say otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for the beginning of an answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a flow was for.
#[derive(Debug, Clone)]
pub struct Destination {
    vnet: Name,
    target: Target,
}

/// What is known where a flow has to go.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The links there are, and where they lead.
    pub links: &'a LinksView,
    /// Who may lead where.
    pub grants: &'a [Grant],
    /// What direct paths lead over. No destination has one.
    pub network: &'a Arc<dyn Network>,
    /// The time.
    pub now: Instant,
}

impl Destination {
    /// This address of a VNet; none if nobody can be there, since it has no port.
    #[must_use]
    pub fn new(vnet: &Name, address: SocketAddr) -> Option<Self> {
        let target = Target { host: Host::Ip(address.ip().to_canonical()), port: address.port() };
        (target.port != 0).then(|| Self { vnet: vnet.clone(), target })
    }

    /// The view in which a flow for it is placed, by the only load balancer there is in it.
    #[must_use]
    pub fn view(&self, around: &Surroundings<'_>) -> HealthView {
        let Surroundings { links, network, .. } = around;
        HealthView::build(&Sources {
            previous: &HealthView::default(),
            catalog: &Arc::new(self.catalog()),
            // A drained connector's links lead nowhere; nothing else there can be drained.
            drains: &Drains::default(),
            routes: &links.routes,
            link: |id| links.links.get(&id).cloned(),
            network,
            // It is of this one flow, and remembers nothing: whether it has led nowhere for long, the tunnels know.
            now: self.since(around),
            path: |_| None,
        })
    }

    fn catalog(&self) -> Catalog {
        let name: Name = DESTINATION.parse().expect("the word is a name");
        let origin = Origin {
            name: name.clone(),
            vnet: Some(self.vnet.clone()),
            address: self.target.clone(),
            weight: 1.0,
            proxy_protocol: None,
            drain: false,
        };
        let pool = Pool {
            name: name.clone(),
            monitor: None,
            steering: Steering::Random,
            hash: crate::model::HashBy::default(),
            slow_start: None,
            minimum_origins: 1,
            connect_timeout: CONNECT_TIMEOUT,
            upstream: Upstream::Http1,
            response_timeout: RESPONSE_TIMEOUT,
            on_unhealthy: OnUnhealthy::Stay,
            upstream_idle_timeout: None,
            host: None,
            drain: false,
            origins: vec![Arc::new(origin)],
        };
        let balancer = LoadBalancer {
            name: name.clone(),
            pools: vec![name],
            fallback_pool: None,
            steering: PoolSteering::Off,
            session_affinity: Affinity::None,
            pool_weights: Vec::new(),
            drain: false,
        };
        Catalog { pools: vec![Arc::new(pool)], load_balancers: vec![Arc::new(balancer)], ..Catalog::default() }
    }

    /// Since when the tunnels that may lead there have been as they are.
    fn since(&self, Surroundings { links, grants, now, .. }: &Surroundings<'_>) -> Instant {
        let leads_there = |grant: &&Grant| grant.routes.iter().any(|route| self.is_in(route));
        let tunnels = grants.iter().filter(leads_there).filter_map(|grant| links.tunnel(&grant.connector));
        tunnels.map(|tunnel| tunnel.since).max().unwrap_or(*now)
    }

    fn is_in(&self, route: &Route) -> bool {
        let covers = |cidr: &IpNetwork| match &self.target.host {
            Host::Ip(ip) => cidr.contains(*ip),
            Host::Name(_) => true,
        };
        route.vnet == self.vnet && covers(&route.cidr)
    }
}

#[cfg(test)]
mod tests;
