//! A connector: its file, its process, and what its admin endpoint says.

use std::{
    fmt::Write,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

use super::{
    edge::{Edge, EdgeFile},
    http,
    process::{self, Process, Signal},
    wait,
    world::{Vnet, World, underpass, underpass_resolving_by},
};

/// Counts the connectors of this process, so that replicas get files of their own.
static STARTED: AtomicU32 = AtomicU32::new(1);

/// A connector's configuration file in the making.
#[derive(Debug, Clone)]
pub struct ConnectorFile {
    name: String,
    /// The file.
    pub path: PathBuf,
    /// Its `state_dir`.
    pub state_dir: PathBuf,
    /// Its admin endpoint.
    pub admin: SocketAddr,
    log: PathBuf,
    edges: Vec<String>,
    token: Option<PathBuf>,
    links_per_edge: usize,
    routes: String,
    allow: Vec<String>,
    clock: Option<String>,
    log_level: Option<&'static str>,
    drill: Option<PathBuf>,
    resolver: Option<PathBuf>,
    grace: Option<&'static str>,
    /// Top-level keys as they are.
    top: String,
    reload: Option<&'static str>,
}

impl ConnectorFile {
    pub(super) fn new(world: &World, name: &str) -> Self {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        Self {
            name: name.to_owned(),
            path: world.path(&format!("{name}-{number}.toml")),
            state_dir: world.path(&format!("{name}-{number}-state")),
            admin: world.free(),
            log: world.path(&format!("{name}-{number}.log")),
            edges: Vec::new(),
            token: None,
            links_per_edge: 2,
            routes: String::new(),
            allow: Vec::new(),
            clock: None,
            log_level: None,
            drill: None,
            resolver: None,
            grace: None,
            top: String::new(),
            // Tests say when a file is read again, unless they are about that.
            reload: Some("signal"),
        }
    }

    /// Serves a VNet from the loopback network that stands for it.
    #[must_use]
    pub fn serve(self, vnet: &Vnet) -> Self {
        let (name, cidr, real) = (&vnet.name, Vnet::CIDR, vnet.real_cidr());
        let map = format!("[[map]]\nvnet = \"{name}\"\nfrom = \"{cidr}\"\nto = \"{real}\"");
        self.route(name, cidr).raw(&map).allow(&format!("{real}:*"))
    }

    /// Claims a route.
    #[must_use]
    pub fn route(self, vnet: &str, cidr: &str) -> Self {
        self.raw(&format!("[[route]]\nvnet = \"{vnet}\"\ncidr = \"{cidr}\""))
    }

    /// Adds tables as they are.
    #[must_use]
    pub fn raw(mut self, text: &str) -> Self {
        writeln!(self.routes, "\n{text}").expect("writing to a string does not fail");
        self
    }

    /// Adds lines at the top of the file.
    #[must_use]
    pub fn top(mut self, lines: &str) -> Self {
        writeln!(self.top, "{lines}").expect("writing to a string does not fail");
        self
    }

    /// Reads its file again whenever it has changed, as it does unless a file says otherwise.
    #[must_use]
    pub fn watched(mut self) -> Self {
        self.reload = None;
        self
    }

    /// Permits targets.
    #[must_use]
    pub fn allow(mut self, target: &str) -> Self {
        self.allow.push(format!("\"{target}\""));
        self
    }

    /// Serves only what is named after this.
    #[must_use]
    pub fn serve_nothing_yet(mut self) -> Self {
        self.routes.clear();
        self.allow_nothing_yet()
    }

    /// Dials only what is named after this.
    #[must_use]
    pub fn dial_nothing_yet(mut self) -> Self {
        self.edges.clear();
        self
    }

    /// Permits only what is named after this.
    #[must_use]
    pub fn allow_nothing_yet(mut self) -> Self {
        self.allow.clear();
        self
    }

    /// Dials this edge.
    #[must_use]
    pub fn dial(mut self, edge: &EdgeFile) -> Self {
        self.edges.push(edge.tunnel.to_string());
        self
    }

    /// Dials this address.
    #[must_use]
    pub fn dial_at(mut self, address: SocketAddr) -> Self {
        self.edges.push(address.to_string());
        self
    }

    /// Dials the edge of this name.
    #[must_use]
    pub fn dial_named(mut self, name: &str, port: u16) -> Self {
        self.edges.push(format!("{name}:{port}"));
        self
    }

    /// Keeps that many links to each edge.
    #[must_use]
    pub fn links_per_edge(mut self, links: usize) -> Self {
        self.links_per_edge = links;
        self
    }

    /// Redeems this token when it has no identity.
    #[must_use]
    pub fn token(mut self, file: &Path) -> Self {
        self.token = Some(file.to_owned());
        self
    }

    /// Keeps its state somewhere else.
    #[must_use]
    pub fn state_in(mut self, dir: &Path) -> Self {
        dir.clone_into(&mut self.state_dir);
        self
    }

    /// Asks this DNS server, on port 53, whatever the machine's own settings say. Needs root.
    #[must_use]
    pub fn resolving_by(mut self, world: &World, server: IpAddr) -> Self {
        let name = format!("resolv-{server}.conf");
        self.resolver = Some(world.write(&name, &format!("nameserver {server}\n")));
        self
    }

    /// Panics where [`Connector::drill`] says.
    ///
    /// # Panics
    /// If the world's directory cannot be written.
    #[must_use]
    pub fn drilled(mut self) -> Self {
        let dir = self.path.with_extension("drill");
        fs::create_dir(&dir).expect("the world's directory is writable");
        self.drill = Some(dir);
        self
    }

    /// Has this file in place of the machine's `resolv.conf`, whatever is written to it later. Needs root.
    #[must_use]
    pub fn resolving_as_in(mut self, file: &Path) -> Self {
        self.resolver = Some(file.to_owned());
        self
    }

    /// Lives with its clock that far off, such as `+17h` or `-2h`.
    #[must_use]
    pub fn clock(mut self, off: &str) -> Self {
        self.clock = Some(off.to_owned());
        self
    }

    /// Logs at this level.
    #[must_use]
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = Some(level);
        self
    }

    /// Gives flows this long to end when it is told to.
    #[must_use]
    pub fn grace(mut self, grace: &'static str) -> Self {
        self.grace = Some(grace);
        self
    }

    /// The whole text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { name, admin, links_per_edge, routes, top, .. } = self;
        let reload = self.reload.map(|when| format!("reload = \"{when}\"\n")).unwrap_or_default();
        let state_dir = self.state_dir.display();
        let edges: Vec<String> = self.edges.iter().map(|edge| format!("\"{edge}\"")).collect();
        let edges = if edges.is_empty() { String::new() } else { format!("edges = [{}]\n", edges.join(", ")) };
        let token = self.token.as_ref().map(|file| format!("token_file = \"{}\"\n", file.display()));
        let token = token.unwrap_or_default();
        let allow = if self.allow.is_empty() {
            String::new()
        } else {
            format!("\n[allow]\ntargets = [{}]\n", self.allow.join(", "))
        };
        format!(
            "name = \"{name}\"\n{edges}state_dir = \"{state_dir}\"\n{token}\
             links_per_edge = {links_per_edge}\n{reload}{top}{routes}{allow}\n[admin]\nlisten = \"{admin}\"\n"
        )
    }

    /// Gets a token from the first of these edges, dials all of them, and waits until every link is up.
    ///
    /// # Panics
    /// If there is no edge, or some link does not come up.
    #[must_use]
    pub fn start(self, edges: &[&Edge]) -> Connector {
        let first = edges.first().expect("a connector is started towards some edge");
        let token = first.token(&self.name);
        let connector = self.token(&token).start_enrolled(edges);
        let _ = fs::remove_file(token);
        connector
    }

    /// Dials these edges, and waits until every link is up.
    #[must_use]
    pub fn start_enrolled(self, edges: &[&Edge]) -> Connector {
        let before: Vec<usize> = edges.iter().map(|edge| edge.links(&self.name)).collect();
        let file = edges.iter().fold(self, |file, edge| file.dial(&edge.file));
        let connector = file.launch();
        for (edge, before) in edges.iter().zip(before) {
            edge.wait_links(&connector.file.name, before + connector.file.links_per_edge);
        }
        connector
    }

    /// Writes the file and starts the connector.
    ///
    /// # Panics
    /// If the file cannot be written.
    #[must_use]
    pub fn launch(self) -> Connector {
        fs::write(&self.path, self.text()).expect("the world's directory is writable");
        let process = self.spawn();
        Connector { file: self, process }
    }

    /// The same, with its log written there.
    ///
    /// # Panics
    /// If the file cannot be written.
    #[must_use]
    pub fn launch_writing(self, standard_error: Stdio) -> Connector {
        fs::write(&self.path, self.text()).expect("the world's directory is writable");
        let process = self.spawn_writing(standard_error);
        Connector { file: self, process }
    }

    fn spawn(&self) -> Process {
        Process::start(&self.name, self.command(), &self.log)
    }

    fn spawn_writing(&self, standard_error: Stdio) -> Process {
        let mut command = self.command();
        command.stdout(Stdio::null());
        Process::start_writing(&self.name, command, standard_error)
    }

    fn command(&self) -> Command {
        let mut command = self.resolver.as_deref().map_or_else(underpass, underpass_resolving_by);
        command.arg("connector").arg("-c").arg(&self.path);
        if let Some(level) = self.log_level {
            command.args(["--log-level", level]);
        }
        if let Some(grace) = self.grace {
            command.args(["--grace-period", grace]);
        }
        if let Some(off) = &self.clock {
            process::set_clock(&mut command, off, &self.path.with_extension("clock"));
        }
        if let Some(dir) = &self.drill {
            command.env("UNDERPASS_DRILL", dir);
        }
        command
    }
}

/// A running connector.
#[derive(Debug)]
pub struct Connector {
    /// Its file.
    pub file: ConnectorFile,
    /// Its process.
    pub process: Process,
}

impl Connector {
    /// What its readiness says: the code, or `None` while it does not answer.
    #[must_use]
    pub fn ready_code(&self) -> Option<u16> {
        http::get(self.file.admin, "/readyz").map(|answer| answer.code)
    }

    /// Waits until it says that it is ready.
    pub fn wait_ready(&self) {
        wait::soon_true(&format!("{} to be ready", self.file.name), || self.ready_code() == Some(200));
    }

    /// Makes it panic where it passes this point next (see `net::drill`), and waits until it has.
    ///
    /// # Panics
    /// If its file does not say `drilled`.
    pub fn drill(&self, point: &str) {
        let dir = self.file.drill.as_ref().expect("a file that is drilled");
        let wish = dir.join(point);
        fs::write(&wish, "").expect("the world's directory is writable");
        wait::soon_true(&format!("{} to fail in {point}", self.file.name), || !wish.exists());
    }

    /// Its clock, which is off by something already, is off by this from now on, while it runs.
    ///
    /// # Panics
    /// If the world's directory cannot be written.
    pub fn jump(&self, off: &str) {
        fs::write(self.file.path.with_extension("clock"), off).expect("the world's directory is writable");
    }

    /// Kills it and starts it again with its clock that far ahead, such as `+17h`.
    pub fn travel(&mut self, ahead: &str) {
        self.process.kill();
        self.file.clock = Some(ahead.to_owned());
        self.restart();
    }

    /// Its status.
    ///
    /// # Panics
    /// If it does not answer with one.
    #[must_use]
    pub fn status(&self) -> Value {
        let answer = http::get(self.file.admin, "/api/v1/status").expect("a running connector answers");
        serde_json::from_str(&answer.body).expect("status is JSON")
    }

    /// A metric without labels, or with these; 0 if there is none.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        let text = http::get(self.file.admin, "/metrics").map(|answer| answer.body).unwrap_or_default();
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value).unwrap_or(0)
    }

    /// Changes its file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn edit(&mut self, change: impl FnOnce(ConnectorFile) -> ConnectorFile) {
        self.file = change(self.file.clone());
        fs::write(&self.file.path, self.file.text()).expect("the world's directory is writable");
    }

    /// Changes its file and tells it to read that again.
    pub fn reload(&mut self, change: impl FnOnce(ConnectorFile) -> ConnectorFile) {
        self.edit(change);
        self.process.signal(Signal::HUP);
    }

    /// Starts another process of it that is to take over, and does not wait.
    #[must_use]
    pub fn launch_successor(&self) -> Process {
        let mut command = self.file.command();
        command.arg("--replace");
        let logs = (1..).map(|number| self.file.log.with_extension(format!("{number}.log")));
        let log = { logs }.find(|log| !log.exists()).expect("numbers do not end");
        Process::start(&self.file.name, command, &log)
    }

    /// Starts another process of it, which takes over, and waits until it has. Gives the one before, which ends by itself.
    pub fn replace(&mut self) -> Process {
        let next = self.launch_successor();
        next.wait_log(&["the process before leaves"]);
        std::mem::replace(&mut self.process, next)
    }

    /// Starts it again from the same file, after it has ended.
    pub fn restart(&mut self) {
        self.process = self.file.spawn();
    }

    /// Kills it and starts it again with its log written there.
    pub fn restart_writing(&mut self, standard_error: Stdio) {
        self.process.kill();
        self.process = self.file.spawn_writing(standard_error);
    }
}
