//! Where a listener's flows go: to a load balancer, or each to the address in a VNet that it was for.

use config::Table;
use ipnetwork::IpNetwork;
use protocol::id::Name;

use super::{grants::Grants, load_balancers::LoadBalancers};
use crate::model::{Leads, ListenProtocol};

/// `load_balancer` or `vnet`.
pub(super) fn read(t: &Table<'_>, (grants, load_balancers): (&Grants, &LoadBalancers)) -> Option<Leads> {
    let Some(vnet) = t.optional("vnet") else {
        let right = "the name of a load balancer; or give `vnet`, in which each flow goes where it was for";
        let balancer = t.required("load_balancer", right).and_then(|v| v.parsed::<Name>());
        return balancer.and_then(|name| load_balancers.known(t, name)).map(Leads::LoadBalancer);
    };
    t.refuse(
        "load_balancer",
        "is not for a listener with `vnet`: its flows go where they were for; give one of the two",
    );
    let vnet = vnet.parsed::<Name>()?;
    grants.check(t, &vnet, None);
    Some(Leads::Destination { vnet: vnet.value })
}

/// Notes a listener whose flows are to go where they were for, and that is not told where that is.
pub(super) fn check(t: &Table<'_>, protocol: Option<ListenProtocol>, (leads, proxies): (&Leads, &[IpNetwork])) {
    match leads {
        Leads::LoadBalancer(_) => return,
        Leads::Destination { .. } => {}
    }
    match protocol {
        Some(ListenProtocol::Udp | ListenProtocol::Http | ListenProtocol::Https) => {
            t.refuse("vnet", "is for listeners with `protocol` \"tcp\"; others name a `load_balancer`");
        }
        Some(ListenProtocol::Tcp) if proxies.is_empty() => {
            let why =
                "a PROXY header says where a flow was for, so name those who send one, such as [\"192.0.2.0/24\"]";
            t.lacking(t.place(), format!("`proxy_protocol` is missing in `listener` with `vnet`: {why}"));
        }
        Some(ListenProtocol::Tcp) | None => {}
    }
}
