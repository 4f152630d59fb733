//! Checks what a connector claims against what the edge granted it.

use ipnetwork::IpNetwork;
use protocol::control::RouteClaim;

use crate::model::{Grant, Route};

/// Reads a claim off the wire and checks it against the connector's grant.
///
/// # Errors
/// Why the claim is refused, in the words of `refused_routes`.
pub fn permit(grant: Option<&Grant>, claim: &RouteClaim) -> Result<Route, String> {
    let (vnet, cidr) = claim.parse()?;
    let route = Route { vnet, cidr };
    let grant = grant.ok_or("nothing is granted to this connector")?;
    check_grant(grant, &route).map_err(|outside| outside.to_string())?;
    Ok(route)
}

/// Why a route is not accepted, in the words of `refused_routes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutsideGrant {
    /// The VNet is granted, this much of it is not.
    #[error("outside the grant")]
    Cidr,
    /// Nothing of the VNet is granted.
    #[error("outside the grant, which has no route of this vnet")]
    Vnet,
}

/// Checks that one route of the grant holds the whole claim.
///
/// # Errors
/// [`OutsideGrant`], whose text tells both sides why.
pub fn check_grant(grant: &Grant, claim: &Route) -> Result<(), OutsideGrant> {
    let mut of_vnet = grant.routes.iter().filter(|granted| granted.vnet == claim.vnet).peekable();
    if of_vnet.peek().is_none() {
        return Err(OutsideGrant::Vnet);
    }
    if of_vnet.any(|granted| holds(granted.cidr, claim.cidr)) { Ok(()) } else { Err(OutsideGrant::Cidr) }
}

fn holds(outer: IpNetwork, inner: IpNetwork) -> bool {
    outer.prefix() <= inner.prefix() && outer.contains(inner.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Route {
        let (vnet, cidr) = text.split_once('=').expect("VNET=CIDR");
        Route { vnet: vnet.parse().expect("a name"), cidr: cidr.parse().expect("a CIDR") }
    }

    fn check(granted: &[&str], claim: &str) -> Result<(), OutsideGrant> {
        let routes = granted.iter().map(|text| route(text)).collect();
        let grant = Grant { connector: "dc1".parse().expect("a name"), replicas: 1, routes, drain: false };
        check_grant(&grant, &route(claim))
    }

    #[test]
    fn a_claim_inside_the_grant_is_accepted() {
        let granted = ["prod=10.0.0.0/16", "prod=192.168.0.0/24", "lab=fd00::/8"];
        for claim in ["prod=10.0.0.0/16", "prod=10.0.7.0/24", "prod=192.168.0.9/32", "lab=fd12::/16"] {
            assert_eq!(check(&granted, claim), Ok(()), "{claim}");
        }
        assert_eq!(check(&["prod=0.0.0.0/0"], "prod=10.0.0.0/8"), Ok(()));
    }

    #[test]
    fn a_claim_outside_the_grant_is_refused_with_the_reason() {
        let granted = ["prod=10.0.0.0/16", "prod=10.1.0.0/16"];
        for claim in ["prod=0.0.0.0/0", "prod=10.0.0.0/15", "prod=10.2.0.0/16", "prod=::/0"] {
            assert_eq!(check(&granted, claim), Err(OutsideGrant::Cidr), "{claim}");
        }
        assert_eq!(check(&granted, "lab=10.0.0.0/16"), Err(OutsideGrant::Vnet));
        assert_eq!(check(&["prod=0.0.0.0/0"], "prod=fd00::/8"), Err(OutsideGrant::Cidr));
        assert_eq!(OutsideGrant::Cidr.to_string(), "outside the grant");
    }

    #[test]
    fn a_claim_off_the_wire_is_read_before_it_is_checked() {
        let grant = Grant {
            connector: "dc1".parse().expect("a name"),
            replicas: 1,
            routes: vec![route("prod=10.0.0.0/8")],
            drain: false,
        };
        let judged =
            |grant, vnet: &str, cidr: &str| permit(grant, &RouteClaim { vnet: vnet.to_owned(), cidr: cidr.to_owned() });
        assert_eq!(judged(Some(&grant), "prod", "10.1.0.0/16"), Ok(route("prod=10.1.0.0/16")));
        assert_eq!(judged(Some(&grant), "prod", "0.0.0.0/0"), Err("outside the grant".to_owned()));
        for (grant, vnet, cidr) in [
            (Some(&grant), "Prod", "10.1.0.0/16"),
            (Some(&grant), "prod", "10.1.0.1/16"),
            (Some(&grant), "prod", "ten"),
            (None, "prod", "10.1.0.0/16"),
        ] {
            assert!(judged(grant, vnet, cidr).is_err(), "{vnet} {cidr}");
        }
    }
}
