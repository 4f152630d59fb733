//! Who may be here, and how the others are found: names that cannot be resolved, revocations that cannot be recorded.
//!
//! Each has a guest, whose coming and going is what is watched. It serves a network where nobody wants to go, so that not one
//! client may notice. How long its coming may take is said here; it is not what the others' recovery is measured by.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use rig::judge::{LINK_LEAVES, RECOVERY};
use underpass_tests::harness::{origin::servers, wait};

use super::{Case, Stage};
use crate::lab::{self, LINKS, Replica};

/// How long it is watched that something does not happen.
const WATCHED: Duration = Duration::from_secs(3);
/// A question to a server that says nothing is given up after this, and the next finds the server that answers.
const ASKED_AGAIN: Duration = Duration::from_secs(8);
/// The guest's name.
const GUEST: &str = "crowd";

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("names-late", "a connector starts before its name server works")
            .cuts_nothing()
            .recovers_in_its_time()
            .hold(WATCHED)
            .strike(|stage| {
                let guest = named_guest(stage, 5);
                stage.guest = Some(guest);
            })
            .heal(|stage| {
                missed(stage, "joined without any name server", |stage| links(stage) == [0, 0]);
                start_names(stage);
                joined(stage, ASKED_AGAIN);
                stage.names = None;
                stage.guest = None;
            }),
        Case::new("names-lost", "name server gone, and a connector that dials by name restarts")
            .cuts_nothing()
            .hold(WATCHED)
            .prepare(|stage| {
                let guest = named_guest(stage, 6);
                stage.guest = Some(guest);
                start_names(stage);
                joined(stage, ASKED_AGAIN);
            })
            .strike(|stage| {
                stage.names = None;
                if let Some(guest) = &mut stage.guest {
                    guest.connector.process.kill();
                    guest.netns.inside(|| guest.connector.restart());
                }
            })
            .heal(|stage| {
                joined(stage, RECOVERY);
                stage.guest = None;
            }),
        Case::new("revoked-disk-full", "a connector revoked at two edges, the disk of one of them full")
            .cuts_nothing()
            .recovers_in_its_time()
            .hold(WATCHED)
            .prepare(|stage| {
                let guest = stage.lab.start_replica(7, GUEST);
                stage.guest = Some(guest);
                joined(stage, ASKED_AGAIN);
            })
            .strike(|stage| {
                stage.lab.disks[1].fill();
                for host in &stage.lab.edges {
                    let _ = host.netns.inside(|| host.edge.command(&["connector", "revoke", GUEST]));
                }
                let gone = wait::poll(LINK_LEAVES, || (links(stage) == [0, 0]).then_some(()));
                if gone.is_none() {
                    stage.amiss.push(format!("links of a revoked connector: {:?}", links(stage)));
                }
            })
            .heal(|stage| {
                missed(stage, "came back although it is revoked", |stage| links(stage) == [0, 0]);
                stage.lab.disks[1].empty();
                let again = stage.lab.start_replica(8, GUEST);
                stage.guest = Some(again);
                joined(stage, ASKED_AGAIN);
                stage.guest = None;
            }),
    ]
}

/// Links of the guest at each edge.
fn links(stage: &Stage) -> Vec<usize> {
    stage.lab.edges.iter().map(|host| host.netns.inside(|| host.edge.links(GUEST))).collect()
}

fn joined(stage: &mut Stage, within: Duration) {
    if wait::poll(within, || (links(stage) == [LINKS, LINKS]).then_some(())).is_none() {
        stage.amiss.push(format!("the guest has not joined within {within:?}: {:?} links", links(stage)));
    }
}

fn missed(stage: &mut Stage, what: &str, holds: impl Fn(&Stage) -> bool) {
    if !holds(stage) {
        stage.amiss.push(format!("the guest {what}"));
    }
}

/// The edges' names.
fn names() -> [(&'static str, IpAddr); 2] {
    [("edge-1.test", lab::edge_address(0)), ("edge-2.test", lab::edge_address(1))]
}

/// A guest that dials edges by name and asks a server on its own host.
fn named_guest(stage: &Stage, number: u8) -> Replica {
    let settings: PathBuf = stage.lab.world.write(&format!("resolv-{number}.conf"), "nameserver 127.0.0.1\n");
    stage.lab.start_replica_by(number, GUEST, |file| {
        names().iter().fold(file, |file, (name, _)| file.dial_named(name, 7843)).resolving_as_in(&settings)
    })
}

/// Starts the name server on the guest's host.
fn start_names(stage: &mut Stage) {
    let Some(guest) = &stage.guest else { return };
    let at = ([127, 0, 0, 1], 53).into();
    stage.names = Some(guest.netns.inside(|| servers::dnsmasq_knowing(&stage.lab.world, at, &names())));
}
