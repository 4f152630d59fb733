//! What the drill promises, in the words of the judge: whom the death of a part excuses, and how soon everybody else is
//! served. Pure.
//!
//! A TCP flow on the killed part may break with it, and whatever is asked of an edge while it is dead. An HTTP request may always
//! be sent again and a UDP session moves, so the death of a connector or an origin excuses nothing there.

use std::time::Duration;

use rig::{
    judge::{Bounds, Cuts, Gone, Part, Which},
    sample::Network,
};

use crate::lab::plan::{Replica, Server};

/// Within this a request is answered, a new connection served, and a surviving flow goes on, whatever was killed.
pub(super) const SERVED_WITHIN: Duration = Duration::from_secs(1);

/// A connector process dies.
pub(super) fn without_connector(killed: &Replica) -> Bounds {
    let part = Part { network: Network(killed.vnet.name()), which: Which::Connector(killed.name) };
    bounds(Gone::Nobody, Cuts::On(part))
}

/// An origin dies.
pub(super) fn without_origin(killed: &Server) -> Bounds {
    let part = Part { network: Network(killed.vnet.name()), which: Which::Origin(killed.name) };
    bounds(Gone::Nobody, Cuts::On(part))
}

/// An edge dies, by index.
pub(super) fn without_edge(killed: usize) -> Bounds {
    bounds(Gone::Edge(killed), Cuts::Nothing)
}

/// Every answer is held to a bound of its own, so nothing else is.
fn bounds(gone: Gone, cuts: Cuts) -> Bounds {
    Bounds { gone, cuts, leaves: None, told: None, recovers: false }
}

#[cfg(test)]
mod tests {
    use rig::sample::{Connection, Kind, Outcome, Placed, Sample};

    use super::*;
    use crate::lab::plan::{Ground, REPLICAS, SERVERS, Saying, Speech, replicas_of};

    /// A block that this server has sent back by this replica.
    fn block(server: &Server, replica: &Replica) -> Sample {
        let ground = Ground::all().next().expect("there are grounds");
        let said = Saying::of(ground, server, replica, Speech::Echo);
        Sample {
            kind: Kind::Block,
            edge: 0,
            network: Network(server.vnet.name()),
            connection: Connection { number: 1, opened: Duration::ZERO },
            began: Duration::ZERO,
            ended: Duration::ZERO,
            placed: Some(Placed { origin: said.origin, via: said.via }),
            outcome: Outcome::Served,
            repeats: 0,
        }
    }

    fn cuts(bounds: Bounds, sample: &Sample) -> bool {
        match bounds.cuts {
            Cuts::On(part) => part.may_carry(sample),
            Cuts::Nothing | Cuts::Whatever => false,
        }
    }

    #[test]
    fn what_a_part_carried_is_known_by_what_its_origins_say() {
        for server in &SERVERS {
            for replica in replicas_of(server.vnet) {
                let block = block(server, replica);
                for killed in &REPLICAS {
                    assert_eq!(
                        cuts(without_connector(killed), &block),
                        killed.name == replica.name,
                        "{killed:?}, {block}"
                    );
                }
                for killed in &SERVERS {
                    assert_eq!(cuts(without_origin(killed), &block), killed.name == server.name, "{killed:?}, {block}");
                }
                assert!(!cuts(without_edge(0), &block), "its clients have no path at all, which is another matter");
            }
        }
    }
}
