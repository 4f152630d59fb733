//! The running lab: its files, its processes and its origins, from the first to the last.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rand::RngExt;
use rig::{
    client::http,
    ports::{self, Ports},
};
use tempfile::TempDir;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{
    LabError, certificate, files,
    guard::Guard,
    origin::Origin,
    plan::{Ground, Plan, REPLICAS, SERVERS},
    process::{self, Process, Program},
    status,
};

/// Everything is up and healthy within this, on a slow machine too.
const READY_WITHIN: Duration = Duration::from_secs(30);
const TOKEN_WITHIN: Duration = Duration::from_secs(10);
/// How often is looked whether a process has ended while everything is waited for.
const PATIENCE_STEP: Duration = Duration::from_millis(500);
/// What the standard library prints when a thread panics.
const PANIC: &str = "panicked at";
/// What an edge logs once it serves.
const READY: &str = "edge is ready";
/// What a process is called that takes over from an edge.
const SUCCESSOR: &str = "successor";
/// A command that is asked of a running edge ends within this.
const OPERATED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for an answer of an admin endpoint.
const ADMIN_PATIENCE: Duration = Duration::from_secs(2);

/// Where the lab listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addresses {
    /// At 127.0.0.1, unless another lab is there.
    Friendly,
    /// Where the next lab will not look first.
    Remote,
}

/// Whether the lab's files outlive it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    Keep,
    Remove,
}

/// A lab that runs. Dropping it kills what it started.
#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    /// In the order of the plan.
    pub(super) edges: Vec<Process>,
    /// In the order of [`REPLICAS`].
    pub(super) connectors: Vec<Process>,
    /// In the order of [`SERVERS`].
    pub(super) origins: Vec<Origin>,
    /// Edges that were replaced, and end with their flows.
    former: Vec<Process>,
    guard: Guard,
    dir: Dir,
}

#[derive(Debug)]
enum Dir {
    Kept(PathBuf),
    Removed(TempDir),
}

impl Dir {
    fn make(afterwards: Afterwards) -> Result<Self, LabError> {
        // Keys and tokens will lie in it.
        let own = Permissions::from_mode(0o700);
        let dir =
            tempfile::Builder::new().prefix("underpass-lab-").permissions(own).tempdir().map_err(LabError::Dir)?;
        Ok(match afterwards {
            Afterwards::Keep => Self::Kept(dir.keep()),
            Afterwards::Remove => Self::Removed(dir),
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Removed(dir) => dir.path(),
        }
    }

    /// What a guard has to remove.
    fn doomed(&self) -> Option<&Path> {
        match self {
            Self::Kept(_) => None,
            Self::Removed(dir) => Some(dir.path()),
        }
    }
}

impl World {
    /// Starts everything. Nothing is waited for but the join tokens.
    ///
    /// # Errors
    /// If something cannot be started at all.
    pub(super) async fn start(addresses: Addresses, afterwards: Afterwards) -> Result<Self, LabError> {
        // The origins go first: whoever has a ground has its addresses too.
        let (origins, ground) = settle(addresses)?;
        let plan = plan(ground)?;
        let dir = Dir::make(afterwards)?;
        write_files(&plan, dir.path())?;
        let guard = Guard::post(dir.doomed())?;
        let program = |name, args: &[&str]| Program {
            name,
            args: args.iter().map(Into::into).collect(),
            dir: dir.path().to_owned(),
            group: guard.group(),
        };
        let first = files::file_name(plan.edges[files::FIRST_EDGE].name);
        for replica in &REPLICAS {
            let args =
                ["token", "create", replica.vnet.connector(), "-c", &first, "--out", &files::token_name(replica)];
            process::run(&program("token", &args), TOKEN_WITHIN).await?;
        }
        let edge = |name| program(name, &["edge", "-c", &files::file_name(name)]).start();
        let connector = |name| program(name, &["connector", "-c", &files::file_name(name)]).start();
        let edges = plan.edges.iter().map(|own| edge(own.name)).collect::<Result<_, _>>()?;
        let connectors = REPLICAS.iter().map(|replica| connector(replica.name)).collect::<Result<_, _>>()?;
        Ok(Self { plan, edges, connectors, origins, former: Vec::new(), guard, dir })
    }

    /// Where its files are.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a command of the product about an edge, as its operator would.
    ///
    /// # Errors
    /// If it fails.
    pub(super) async fn operate(&self, edge: usize, what: &'static str, args: &[&str]) -> Result<(), LabError> {
        let file = files::file_name(self.plan.edges[edge].name);
        let args = [what].iter().chain(args).copied().chain(["-c", &file]).map(Into::into).collect();
        let program = Program { name: what, args, dir: self.dir().to_owned(), group: self.guard.group() };
        process::run(&program, OPERATED_WITHIN).await
    }

    /// Has another process of an edge take over from the one that runs.
    ///
    /// # Errors
    /// If it ends instead, or that takes too long.
    pub(super) async fn replace(&mut self, edge: usize) -> Result<(), LabError> {
        let file = files::file_name(self.plan.edges[edge].name);
        let args = ["edge", "--replace", "-c", &file].map(Into::into).into();
        let program = Program { name: SUCCESSOR, args, dir: self.dir().to_owned(), group: self.guard.group() };
        let mut next = program.start()?;
        let deadline = Instant::now() + OPERATED_WITHIN;
        while !program.has_logged(READY) {
            if let Some(status) = next.ended().map_err(|source| LabError::Spawn { name: SUCCESSOR, source })? {
                return Err(LabError::ended(&program, status));
            }
            if Instant::now() >= deadline {
                return Err(LabError::Slow { what: vec!["it has not taken over".to_owned()], tail: program.tail() });
            }
            sleep(LOOK_EVERY).await;
        }
        self.former.push(std::mem::replace(&mut self.edges[edge], next));
        Ok(())
    }

    /// Writes an edge's file anew, as it is after a change.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn change(&self, edge: usize) -> Result<(), LabError> {
        let path = self.dir().join(files::file_name(self.plan.edges[edge].name));
        fs::write(&path, files::edge_changed(&self.plan, edge)).map_err(|source| LabError::Write { path, source })
    }

    /// What an edge calls the first replica of a connector.
    pub(super) async fn replica(&self, edge: usize, connector: &str) -> Option<String> {
        let status = self.status(edge).await.ok()?;
        let tunnel = status.tunnels.into_iter().find(|tunnel| tunnel.connector == connector)?;
        tunnel.links.into_iter().next().map(|link| link.replica)
    }

    /// Every process of the lab.
    pub(super) fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.edges.iter_mut().chain(&mut self.connectors)
    }

    /// Waits until every edge is ready and finds every origin healthy over every link.
    ///
    /// # Errors
    /// If a process ends instead, or it takes too long: with the last lines of the logs.
    pub(super) async fn whole(&mut self) -> Result<(), LabError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let Err(what) = self.healed(PATIENCE_STEP).await else { return Ok(()) };
            for process in self.processes() {
                let ended = process.ended().map_err(|source| LabError::Spawn { name: process.program.name, source })?;
                if let Some(status) = ended {
                    return Err(LabError::ended(&process.program, status));
                }
            }
            if Instant::now() >= deadline {
                let tails = self.processes().map(|p| format!("{}:\n{}", p.program.name, p.program.tail()));
                let tail = tails.collect::<Vec<_>>().join("\n\n");
                return Err(LabError::Slow { what, tail });
            }
        }
    }

    /// Waits until every edge finds every origin healthy over every link.
    ///
    /// # Errors
    /// What is lacking when the time is up.
    pub(super) async fn healed(&self, within: Duration) -> Result<(), Vec<String>> {
        let all: Vec<usize> = (0..self.edges.len()).collect();
        self.until(&all, status::lacking, within).await
    }

    /// Waits until an edge has every link.
    ///
    /// # Errors
    /// What is lacking when the time is up.
    pub(super) async fn linked(&self, edge: usize, within: Duration) -> Result<(), Vec<String>> {
        self.until(&[edge], status::lacking_links, within).await
    }

    async fn until(
        &self,
        edges: &[usize],
        lacking: fn(&api::edge::Status) -> Vec<String>,
        within: Duration,
    ) -> Result<(), Vec<String>> {
        let deadline = Instant::now() + within;
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut all = Vec::new();
            for edge in edges {
                let of_edge = self.status(*edge).await.map_or_else(|why| vec![why], |status| lacking(&status));
                all.extend(of_edge.into_iter().map(|what| format!("{}: {what}", self.plan.edges[*edge].name)));
            }
            if all.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(all);
            }
        }
    }

    /// Processes that ended by themselves or panicked, in words.
    pub(super) fn fallen(&mut self) -> Vec<String> {
        let fallen = self.processes().flat_map(|process| {
            let ended = process.ended().ok().flatten().map(|status| format!("ended ({status})"));
            let panicked = process.program.has_logged(PANIC).then(|| "panicked".to_owned());
            let name = process.program.name;
            ended.into_iter().chain(panicked).map(move |what| format!("{name} {what}")).collect::<Vec<_>>()
        });
        fallen.collect()
    }

    async fn status(&self, edge: usize) -> Result<api::edge::Status, String> {
        let at = self.plan.edges[edge].admin;
        let looking = tokio::task::spawn_blocking(move || look(at));
        let looked = timeout(ADMIN_PATIENCE, looking).await.map_err(|_| format!("{at} is silent"))?;
        looked.map_err(|error| format!("nobody looked: {error}"))?
    }

    /// Ends every process, politely at first, and removes the files.
    pub(super) async fn stop(mut self) {
        for process in self.edges.iter().chain(&self.connectors).chain(&self.former) {
            process.terminate();
        }
        for process in self.edges.iter_mut().chain(&mut self.connectors).chain(&mut self.former) {
            process.ends().await;
        }
        self.guard.dismiss().await;
        // Left behind if it cannot be removed, as other files in the directory for such files are.
        drop(self.dir);
    }
}

/// What an edge says of itself at its admin endpoint, once it is ready.
fn look(at: SocketAddr) -> Result<api::edge::Status, String> {
    let get = |path| http::ask(at, ADMIN_PATIENCE, ("GET", path, "")).map_err(|error| error.to_string());
    let ready = get("/readyz")?;
    if ready.code != 200 {
        return Err(format!("not ready: {}", ready.body.trim()));
    }
    let status = get(api::STATUS)?;
    if status.code != 200 {
        return Err(format!("its status is HTTP {}", status.code));
    }
    serde_json::from_str(&status.body).map_err(|error| format!("its status cannot be read: {error}"))
}

/// Starts the origins on the first ground that is free.
fn settle(addresses: Addresses) -> Result<(Vec<Origin>, Ground), LabError> {
    let mut last = None;
    for ground in Ground::all().filter(|ground| addresses == Addresses::Friendly || !ground.is_friendly()) {
        match origins(ground) {
            Ok(origins) => return Ok((origins, ground)),
            Err(error) => last = Some(error),
        }
    }
    Err(LabError::NoGround(last.expect("there are grounds")))
}

fn origins(ground: Ground) -> std::io::Result<Vec<Origin>> {
    SERVERS.iter().map(|server| Origin::start(ground, server)).collect()
}

fn plan(ground: Ground) -> Result<Plan, LabError> {
    let mut ports = Ports::beginning_at(rand::rng().random_range(ports::RANGE));
    let mut full = false;
    let plan = Plan::new(ground, |port| {
        let friendly = (ground.host(), port).into();
        let found = ports.rather(friendly);
        full |= found.is_none();
        found.unwrap_or(friendly)
    });
    if full { Err(LabError::NoPort) } else { Ok(plan) }
}

fn write_files(plan: &Plan, dir: &Path) -> Result<(), LabError> {
    let edges = plan.edges.iter().enumerate().map(|(i, own)| (own.name, files::edge(plan, i)));
    let connectors = REPLICAS.iter().enumerate().map(|(i, replica)| (replica.name, files::connector(plan, i)));
    let settings = edges.chain(connectors).map(|(name, text)| (files::file_name(name), text));
    let own = certificate::make(plan.ground.host()).map_err(LabError::Certificate)?;
    let own = [(files::CERTIFICATE.to_owned(), own.certificate), (files::KEY.to_owned(), own.key)];
    for (name, text) in settings.chain(own) {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|source| LabError::Write { path, source })?;
    }
    Ok(())
}
