//! Many at once: clients that only sit there, connectors that join together, and churn that must leave nothing behind.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use rig::judge::Gone;
use underpass_tests::harness::{
    Process, client,
    process::{Signal, raise_file_limit},
    wait,
};

use super::{Case, Stage, metric};
use crate::{lab, load::ports, readers::Readers};

const IDLE: usize = 10_000;
/// Connectors of a crowd and links of each to the first edge: over a thousand links.
const CROWD: usize = 63;
const CROWD_LINKS: usize = 16;
/// Links of the lab itself to one edge: two of each of four replicas.
const OWN_LINKS: usize = 8;
/// Readers that read 2 KB a second, and for how long.
const READERS: usize = 1_000;
const READING: Duration = Duration::from_secs(60);
/// How long links and flows come and go.
const CHURN: Duration = Duration::from_secs(600);
/// After this everything that only grows once has grown: buffers of UDP sessions fill slowly.
const WARM: Duration = Duration::from_secs(300);
/// Files and streams of flows under way, which differ from one moment to the next.
const UNDER_WAY: u64 = 60;
/// Threads for work that blocks: one comes where several register at a time, and goes after ten seconds without work.
const BLOCKING: u64 = 4;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("idle-clients", "10,000 idle clients at one edge")
            .cuts_nothing()
            .strike(idle)
            .heal(|stage| stage.held.clear()),
        Case::new("slow-readers", "1,000 readers at 2 KB/s, over TCP and HTTP, beside the usual clients")
            .cuts_nothing()
            .compares()
            .strike(|stage| {
                stage.sick_before = sick(stage);
                let at = |port| SocketAddr::new(lab::edge_address(0), port);
                let http = "GET / HTTP/1.1\r\nHost: lab.test\r\n\r\n";
                let at = [(at(ports::POUR), "\r\n\r\n"), (at(ports::POUR_WEB), http)];
                stage.readers = Some(Readers::start(at.into(), READERS, READING * 2));
            })
            .hold(READING)
            .heal(sent_away),
        Case::new("crowd", "1,008 links of 63 connectors from one host, joining at once after an edge's restart")
            .gone(Gone::Edge(0))
            .recovers_in_its_time()
            .strike(crowd)
            .heal(|stage| stage.crowd.clear()),
        Case::new("churn", "churn of links and flows for 10 minutes").hold(Duration::ZERO).strike(churn),
    ]
}

fn idle(stage: &mut Stage) {
    let clients = usize::try_from(raise_file_limit().saturating_sub(2_000)).unwrap_or(0).min(IDLE);
    let at = SocketAddr::new(lab::edge_address(0), ports::CACHE);
    let process = &stage.lab.edges[0].edge.process;
    let before = process.memory_kib();
    for _ in 0..clients {
        match client::connect(at) {
            Ok(stream) => stage.held.push(stream),
            Err(error) => stage.amiss.push(format!("client {} was not taken: {error}", stage.held.len())),
        }
    }
    let answered = stage.held.iter_mut().step_by(100).filter_map(|stream| {
        let mut answer = [0; 7];
        stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer)).ok()
    });
    let (asked, answered) = (clients.div_ceil(100), answered.count());
    let after = process.memory_kib();
    stage.notes.push(format!("{clients} clients; the edge at {} MiB, then {} MiB", before / 1024, after / 1024));
    if answered < asked {
        stage.amiss.push(format!("of {asked} idle clients asked, {answered} got an answer"));
    }
}

/// Nobody who reads, however little, is cut off; and no path was called unhealthy meanwhile.
fn sent_away(stage: &mut Stage) {
    let served = stage.readers.take().map_or(0, Readers::send_away);
    stage.notes.push(format!("{served} readers were served to the end"));
    if served < READERS {
        stage.amiss.push(format!("of {} readers {served} were served to the end", READERS));
    }
    match sick(stage) - stage.sick_before {
        0 => {}
        times => stage.amiss.push(format!("{times} times a path was called unhealthy beside the readers")),
    }
}

/// How often edges have called a path unhealthy.
fn sick(stage: &Stage) -> usize {
    let logs = stage.lab.edges.iter().map(|host| host.edge.process.log());
    logs.map(|log| log.matches("path is unhealthy").count()).sum()
}

fn crowd(stage: &mut Stage) {
    let host = &mut stage.lab.edges[0];
    let tokens: Vec<_> = (0..CROWD).map(|_| host.edge.token("crowd")).collect();
    host.edge.process.kill();
    for token in tokens {
        let file = stage.lab.world.connector("crowd").route("crowd", "10.7.0.0/24").token(&token);
        let file = file.links_per_edge(CROWD_LINKS).dial(&host.edge.file);
        stage.crowd.push(file.launch());
    }
    wait::pass(Duration::from_secs(2));
    let began = Instant::now();
    host.netns.inside(|| host.edge.crash_and_restart());
    let all = wait::poll(Duration::from_secs(60), || {
        // Less work for the edge than its status would be.
        let metrics = host.netns.inside(|| host.edge.try_metrics())?;
        (metric(&metrics, &["underpass_links "]) == (CROWD * CROWD_LINKS + OWN_LINKS) as u64).then_some(())
    });
    let took = began.elapsed();
    match all {
        Some(()) => stage.notes.push(format!("all joined in {:.1} s", took.as_secs_f64())),
        None => stage.amiss.push(format!("not all links joined within {took:?}")),
    }
    let (own, others) =
        host.netns.inside(|| (host.edge.links("dc-a") + host.edge.links("dc-b"), host.edge.links("crowd")));
    if (own, others) != (OWN_LINKS, CROWD * CROWD_LINKS) {
        stage.amiss.push(format!("{own} of the lab's own links are there, and {others} of the crowd's"));
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    memory_kib: u64,
    files: u64,
    threads: u64,
}

impl Held {
    fn of(process: &Process) -> Self {
        Self { memory_kib: process.memory_kib(), files: process.files(), threads: process.threads() }
    }

    /// What has grown since; an eighth of memory and 8 MiB are the allocator's.
    fn grown(&self, now: &Self) -> Vec<String> {
        let bounds = [
            ("KiB of memory", self.memory_kib, now.memory_kib, self.memory_kib + self.memory_kib / 8 + 8 * 1024),
            ("files", self.files, now.files, self.files + UNDER_WAY),
            ("threads", self.threads, now.threads, self.threads + BLOCKING),
        ];
        let grown = bounds.iter().filter(|(_, _, now, bound)| now > bound);
        grown.map(|(what, before, now, _)| format!("from {before} to {now} {what}")).collect()
    }
}

/// Levels of an edge's tables.
const LEVELS: [&str; 4] =
    ["underpass_links ", "underpass_streams ", "underpass_flows{", "underpass_requests_in_flight{"];

fn churn(stage: &mut Stage) {
    let until = Instant::now() + CHURN;
    let warm = Instant::now() + WARM;
    let (mut before, mut tables, mut rounds) = (None, BTreeMap::new(), 0);
    while Instant::now() < until {
        // All but the first replica, which is watched, one after the other, by turns killed and asked to go.
        let index = 1 + rounds % 3;
        let process = &mut stage.lab.replicas[index].connector.process;
        if rounds % 2 == 0 {
            process.kill();
        } else {
            process.signal(Signal::TERM);
            let _ = wait::poll(Duration::from_secs(3), || (!process.is_running()).then_some(()));
            process.kill();
        }
        stage.lab.restart_replica(index);
        rounds += 1;
        stage.amiss.extend(stage.lab.wait_whole(Duration::from_secs(20)));
        if before.is_none() && Instant::now() > warm {
            before = Some(holdings(stage));
            tables = levels(stage);
        }
    }
    let Some(before) = before else { return };
    let after = holdings(stage);
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        stage.amiss.extend(before.grown(after).iter().map(|what| format!("{name} grew {what}")));
        let (from, to) = (before.memory_kib / 1024, after.memory_kib / 1024);
        stage.notes.push(format!("{name}: {from} to {to} MiB, {} to {} files", before.files, after.files));
    }
    stage.amiss.extend(levels(stage).into_iter().filter_map(|(level, sum)| {
        let bound = tables.get(&level).copied().unwrap_or(0) + UNDER_WAY;
        (sum > bound).then(|| format!("{level} stands at {sum}, bound {bound}"))
    }));
    stage.notes.push(format!("{rounds} replicas replaced"));
}

/// How full the tables of each edge are.
fn levels(stage: &Stage) -> BTreeMap<String, u64> {
    let edges = stage.lab.edges.iter().enumerate();
    let of = edges.flat_map(|(number, host)| {
        let text = host.netns.inside(|| host.edge.metrics());
        LEVELS.map(|level| {
            let name = level.trim_end_matches([' ', '{']);
            (format!("{name} of edge-{}", number + 1), metric(&text, &[level]))
        })
    });
    of.collect()
}

fn holdings(stage: &Stage) -> Vec<(&'static str, Held)> {
    let (edges, replicas) = (&stage.lab.edges, &stage.lab.replicas);
    vec![
        ("edge-1", Held::of(&edges[0].edge.process)),
        ("edge-2", Held::of(&edges[1].edge.process)),
        ("a1", Held::of(&replicas[0].connector.process)),
    ]
}
