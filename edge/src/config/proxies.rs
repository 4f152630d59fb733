//! The PROXY protocol at listeners: who speaks it, and which pools cannot be used where.

use std::sync::Arc;

use config::Table;
use ipnetwork::IpNetwork;

use super::pools::Pools;
use crate::model::{ListenProtocol, LoadBalancer, Pool, ProxyVersion};

/// `proxy_protocol` of a listener: networks of load balancers that say whose connection it is.
pub(super) fn read(t: &Table<'_>) -> Vec<IpNetwork> {
    t.or("proxy_protocol", Vec::new(), |v| {
        Some(v.items()?.iter().filter_map(|item| item.network().map(|at| at.value)).collect())
    })
}

/// Notes pools whose origins want the PROXY protocol from a listener that cannot speak it, or not in that version: HTTP
/// connections to origins carry requests of many clients.
pub(super) fn check_pools<'a>(
    t: &Table<'_>,
    protocol: Option<ListenProtocol>,
    (used, pools): (impl Iterator<Item = &'a Arc<LoadBalancer>>, &Pools),
) {
    let against = |version: ProxyVersion| match (protocol, version) {
        (Some(ListenProtocol::Http | ListenProtocol::Https), _) => {
            Some("its connections to origins are shared by clients; they are told by X-Forwarded-For")
        }
        (Some(ListenProtocol::Tcp), ProxyVersion::Simple) => {
            Some("\"spp\" is for UDP alone; connections take \"v1\" or \"v2\"")
        }
        (Some(ListenProtocol::Udp), ProxyVersion::V1) => {
            Some("\"v1\" is for connections alone; UDP takes \"v2\" or \"spp\"")
        }
        (Some(ListenProtocol::Tcp | ListenProtocol::Udp) | None, _) => None,
    };
    let mut all = used.flat_map(|lb| lb.pools.iter().chain(&lb.fallback_pool)).filter_map(|name| pools.get(name));
    // One word of a pool holds for all its origins.
    let of_pool = |pool: &Arc<Pool>| pool.origins.iter().find_map(|origin| origin.proxy_protocol);
    if let Some((pool, why)) = all.find_map(|pool| Some((pool, against(of_pool(pool)?)?))) {
        let message = format!("this listener cannot use pool \"{}\", which has `proxy_protocol`: {why}", pool.name);
        t.lacking(t.place(), message);
    }
}
