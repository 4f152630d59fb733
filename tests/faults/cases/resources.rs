//! Disks, files and memory that run out.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use rig::judge::Gone;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use underpass_tests::harness::{Process, client, http, wait};

use super::{Case, Stage, metric};
use crate::{
    lab::{self},
    load::ports,
};

/// Files left to a process that is to run out of them.
const FILES_LEFT: u64 = 6;
/// Clients that want a file each.
const FILE_CLIENTS: usize = 60;
/// Clients that ask for a flood and read nothing of it.
const STALLED: usize = 60;
/// Longest time until a reader that takes nothing is cut off, with room.
const STALLED_FOR: Duration = Duration::from_secs(12);
/// Memory that a process may take: 96 MiB, and 96 MiB for each link that carries: two of the replica, four of the edge.
const REPLICA_CAP: u64 = (96 + 2 * 96) << 20;
const EDGE_CAP: u64 = (96 + 4 * 96) << 20;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "disk-full",
            "disk full under `state_dir`, of a connector and of an edge; the connector restarts on it",
        )
        .strike(|stage| {
            stage.lab.disks.iter().for_each(|disk| disk.fill());
            stage.lab.replicas[0].connector.process.kill();
            stage.lab.restart_replica(0);
        })
        .heal(|stage| stage.lab.disks.iter().for_each(|disk| disk.empty())),
        Case::new("files-connector", "file descriptors of a connector used up, one of two replicas")
            .strike(|stage| {
                starve_of_files(&stage.lab.replicas[0].connector.process);
                hold(stage, FILE_CLIENTS, ports::CACHE, b"");
            })
            .hold(Duration::from_secs(4))
            .heal(|stage| {
                stage.held.clear();
                let replica = &stage.lab.replicas[0];
                feed_files(&replica.connector.process);
                let metrics = replica.netns.inside(|| http::get(replica.connector.file.admin, "/metrics"));
                let metrics = metrics.map(|answer| answer.body).unwrap_or_default();
                struck(stage, metric(&metrics, &["dials_refused_total{", "connector_overloaded"]), "dials");
            }),
        Case::new("files-edge", "file descriptors of an edge used up")
            .gone(Gone::Edge(0))
            .strike(|stage| {
                starve_of_files(&stage.lab.edges[0].edge.process);
                hold(stage, FILE_CLIENTS, ports::CACHE, b"");
            })
            .hold(Duration::from_secs(4))
            .heal(|stage| {
                stage.held.clear();
                let host = &stage.lab.edges[0];
                feed_files(&host.edge.process);
                let metrics = host.netns.inside(|| host.edge.metrics());
                struck(stage, metric(&metrics, &["flows_refused_total{", "\"accept\""]), "accepts");
            }),
        Case::new("memory-cap", "memory capped (cgroup) at the bound, under 60 readers that take nothing")
            .strike(|stage| {
                let (edge, replica) = (&stage.lab.edges[0].edge.process, &stage.lab.replicas[0].connector.process);
                stage.caps = vec![Cap::put("edge-1", edge, EDGE_CAP), Cap::put("a1", replica, REPLICA_CAP)];
                hold(stage, STALLED, ports::POUR, b"x");
            })
            .hold(STALLED_FOR)
            .heal(|stage| {
                stage.held.clear();
                for cap in std::mem::take(&mut stage.caps) {
                    stage.notes.push(cap.told());
                    stage.amiss.extend(cap.killed());
                }
            }),
    ]
}

/// Opens connections to the first edge and keeps them.
fn hold(stage: &mut Stage, count: usize, port: u16, says: &[u8]) {
    use std::io::Write;
    let at = SocketAddr::new(lab::edge_address(0), port);
    // An edge without files does not take them all; the kernel does.
    let opened = (0..count).filter_map(|_| client::connect(at).ok());
    stage.held.extend(opened.filter_map(|mut stream| stream.write_all(says).ok().map(|()| stream)));
}

/// Files have run out only if something was refused for want of them.
fn struck(stage: &mut Stage, refused: u64, what: &str) {
    stage.notes.push(format!("{refused} {what} refused for want of files"));
    if refused == 0 {
        stage.amiss.push("files have not run out, so nothing is proved".to_owned());
    }
}

fn starve_of_files(process: &Process) {
    limit_files(process, process.files() + FILES_LEFT);
}

fn feed_files(process: &Process) {
    limit_files(process, 16_384);
}

fn limit_files(process: &Process, files: u64) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let limit = Rlimit { current: Some(files), maximum: Some(20_000) };
    let _ = prlimit(pid, Resource::Nofile, limit).expect("root limits a process's files");
}

/// A cgroup with a limit of memory that a process lives in until this is dropped.
#[derive(Debug)]
pub(crate) struct Cap {
    name: &'static str,
    dir: PathBuf,
    limit: u64,
    /// Where it lived before.
    back: PathBuf,
    pid: u32,
}

impl Cap {
    /// Caps the memory of a process.
    ///
    /// # Panics
    /// If this machine has no memory controller that this process may use.
    fn put(name: &'static str, process: &Process, limit: u64) -> Self {
        let pid = process.id();
        let (root, file) = controller();
        let dir = root.join(format!("underpass-faults-{name}-{pid}"));
        fs::create_dir(&dir).expect("root makes cgroups");
        fs::write(dir.join(file), limit.to_string()).expect("a cgroup takes a limit");
        fs::write(dir.join("cgroup.procs"), pid.to_string()).expect("a cgroup takes a process");
        Self { name, dir, limit, back: root, pid }
    }

    fn number(&self, files: &[&str], key: &str) -> u64 {
        let text = files.iter().find_map(|file| fs::read_to_string(self.dir.join(file)).ok()).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    }

    fn told(&self) -> String {
        let peak = self.number(&["memory.max_usage_in_bytes", "memory.peak"], "");
        format!("{} peaked at {} MiB of {} MiB", self.name, peak >> 20, self.limit >> 20)
    }

    fn killed(&self) -> Option<String> {
        let kills = self.number(&["memory.oom_control", "memory.events"], "oom_kill ");
        (kills > 0).then(|| format!("the kernel killed {} at {} MiB", self.name, self.limit >> 20))
    }
}

impl Drop for Cap {
    fn drop(&mut self) {
        let _ = fs::write(self.back.join("cgroup.procs"), self.pid.to_string());
        // It is busy for as long as the process is on its way out of it.
        let _ = wait::poll(Duration::from_secs(2), || fs::remove_dir(&self.dir).ok());
    }
}

/// The directory of the memory controller and its file for the limit: version 1, else version 2.
fn controller() -> (PathBuf, &'static str) {
    let first = PathBuf::from("/sys/fs/cgroup/memory");
    if first.join("memory.limit_in_bytes").exists() {
        return (first, "memory.limit_in_bytes");
    }
    let second = PathBuf::from("/sys/fs/cgroup");
    let _ = fs::write(second.join("cgroup.subtree_control"), "+memory");
    (second, "memory.max")
}
