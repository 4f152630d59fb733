//! Processes of the product that are killed, stopped and started again.

use std::time::Duration;

use rig::judge::{GONE_TOLD, Gone, LINK_LEAVES};
use underpass_tests::harness::{process::Signal, wait};

use super::{Case, Stage};
use crate::{
    lab::edge_address,
    load::{Askers, Site, Told, ports},
};

/// A connector that is asked to stop has ended by then: its grace period is 30 s, and sessions that only sit there use it up.
pub(super) const ORDERLY: Duration = Duration::from_secs(37);
/// How far clocks are set ahead, of a certificate that lasts for a day.
const DAYS_LATER: &str = "+5d";
/// How often a connector is killed in a row, for how long it is away each time, and when all is whole again.
const KILLS: usize = 20;
const AWAY: Duration = Duration::from_millis(1500);
const WHOLE_WITHIN: Duration = Duration::from_secs(30);
/// Who asks meanwhile at each edge, how often, and how long an answer may take.
const ASKERS: usize = 3;
const ASK_EVERY: Duration = Duration::from_millis(10);
const WORST: Duration = Duration::from_millis(1500);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("connector-killed", "connector killed (`kill -9`), one of two replicas")
            .quick()
            .leaves(LINK_LEAVES)
            .tells(GONE_TOLD)
            .strike(|stage| kill(stage, 0))
            .heal(|stage| stage.lab.restart_replica(0)),
        Case::new("connector-killed-light", "connector killed (`kill -9`), one of two replicas, under light load")
            .light()
            .leaves(LINK_LEAVES)
            .tells(GONE_TOLD)
            .strike(|stage| kill(stage, 0))
            .heal(|stage| stage.lab.restart_replica(0)),
        Case::new("connector-killed-often", "connector killed (`kill -9`) 20 times in a row, one of two replicas")
            .hold(Duration::ZERO)
            .strike(kill_often),
        Case::new("connector-stopped", "connector stopped politely, one of two replicas")
            .leaves(LINK_LEAVES)
            .cuts_nothing()
            .hold(ORDERLY)
            .strike(|stage| stage.lab.replicas[0].connector.process.signal(Signal::TERM))
            .heal(|stage| {
                if stage.lab.replicas[0].connector.process.is_running() {
                    stage.amiss.push(format!("a1 has not ended {ORDERLY:?} after it was asked to"));
                    kill(stage, 0);
                }
                stage.lab.restart_replica(0);
            }),
        Case::new("replicas-killed", "all replicas of a connector killed, then back")
            .gone(Gone::Network(Site::A.network()))
            .strike(|stage| (0..2).for_each(|index| kill(stage, index)))
            .heal(|stage| (0..2).for_each(|index| stage.lab.restart_replica(index))),
        Case::new("edge-killed", "edge killed (`kill -9`), restarted")
            .quick()
            .gone(Gone::Edge(0))
            .strike(|stage| stage.lab.edges[0].edge.process.kill())
            .heal(|stage| {
                let host = &mut stage.lab.edges[0];
                host.netns.inside(|| host.edge.crash_and_restart());
            }),
    ]
}

/// Those that leave the lab changed.
pub(super) fn last() -> Vec<Case> {
    vec![
        Case::new("certificate-expired", "certificate expired while the connector was away")
            .last()
            .prepare(five_days_without_the_first)
            .hold(Duration::ZERO)
            .heal(|stage| {
                let replica = &mut stage.lab.replicas[0];
                replica.netns.inside(|| replica.connector.travel(DAYS_LATER));
            }),
    ]
}

fn kill(stage: &mut Stage, replica: usize) {
    stage.lab.replicas[replica].connector.process.kill();
}

/// Every time one of the requests on their way may meet a killed connector in any state: none fails, none takes long.
fn kill_often(stage: &mut Stage) {
    let asking = Askers::start(&[edge_address(0), edge_address(1)], ports::WEB, (ASKERS, ASK_EVERY));
    for _ in 0..KILLS {
        kill(stage, 0);
        wait::pass(AWAY);
        stage.lab.restart_replica(0);
        stage.amiss.extend(stage.lab.wait_whole(WHOLE_WITHIN));
    }
    let Told { figures, first } = asking.stop(Some(WORST));
    stage.notes.push(figures);
    stage.amiss.extend(first.map(|first| format!("a request met a killed connector: {first}")));
}

/// Five days pass for everybody; the first replica is not there.
fn five_days_without_the_first(stage: &mut Stage) {
    kill(stage, 0);
    for host in &mut stage.lab.edges {
        host.netns.inside(|| {
            host.edge.travel(DAYS_LATER);
            host.edge.wait_ready();
        });
    }
    for replica in &mut stage.lab.replicas[1..] {
        replica.netns.inside(|| replica.connector.travel(DAYS_LATER));
    }
    for host in &stage.lab.edges {
        host.netns.inside(|| {
            host.edge.wait_links("dc-a", 2);
            host.edge.wait_links("dc-b", 4);
            for origin in ["web-1", "web-2", "web-b-1", "transfer-1", "database-1", "dns-1"] {
                host.edge.wait_health(origin, "healthy");
            }
        });
    }
}
