//! Checks what a connector claims against what the edge granted it.

use ipnetwork::IpNetwork;

use crate::model::{Grant, Route};

/// Why a claim is not accepted, in the words of `refused_routes`.
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
        let grant = Grant { connector: "dc1".parse().expect("a name"), replicas: 1, routes };
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
}
