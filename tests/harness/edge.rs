//! An edge: its file, its process, and what its admin endpoint says.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use serde_json::Value;

use super::{
    http,
    process::{self, Process, Ran},
    service::Service,
    wait,
    world::{Vnet, World, underpass, underpass_given},
};

/// A monitor that finds out within a second.
const QUICK: &str =
    "interval = \"200ms\"\ntimeout = \"180ms\"\nretries = 0\nconsecutive_up = 2\nconsecutive_down = 2\n";

/// An edge's configuration file in the making.
#[derive(Debug, Clone)]
pub struct EdgeFile {
    name: String,
    /// The file.
    pub path: PathBuf,
    /// Its `state_dir`.
    pub state_dir: PathBuf,
    /// Its admin endpoint.
    pub admin: SocketAddr,
    /// Where connectors dial.
    pub tunnel: SocketAddr,
    log: PathBuf,
    head: String,
    body: String,
    listeners: BTreeMap<String, SocketAddr>,
    free: Vec<SocketAddr>,
    clock: Option<String>,
    log_level: Option<&'static str>,
    drill: Option<PathBuf>,
    watched: bool,
    pre_stop: Option<&'static str>,
    grace: Option<&'static str>,
    handed: Vec<Arc<OwnedFd>>,
}

impl EdgeFile {
    pub(super) fn new(world: &World, name: &str) -> Self {
        let free = std::iter::repeat_with(|| world.free()).take(12).collect();
        Self {
            name: name.to_owned(),
            path: world.path(&format!("{name}.toml")),
            state_dir: world.path(&format!("{name}-state")),
            admin: world.free(),
            tunnel: world.free(),
            log: world.path(&format!("{name}.log")),
            head: String::new(),
            body: String::new(),
            listeners: BTreeMap::new(),
            free,
            clock: None,
            log_level: None,
            drill: None,
            watched: false,
            pre_stop: None,
            grace: None,
            handed: Vec::new(),
        }
    }

    /// Uses the CA of another edge, as the edges of one fleet do.
    #[must_use]
    pub fn fleet_of(mut self, other: &Self) -> Self {
        let ca = |file: &str| other.state_dir.join(file).display().to_string();
        self.head = format!("ca = {{ certificate = \"{}\", key = \"{}\" }}\n", ca("ca.pem"), ca("ca.key"));
        self
    }

    /// Keeps its state somewhere else.
    #[must_use]
    pub fn state_in(mut self, dir: &Path) -> Self {
        dir.clone_into(&mut self.state_dir);
        self
    }

    /// Takes connectors on this address.
    #[must_use]
    pub fn tunnel_at(mut self, address: SocketAddr) -> Self {
        self.tunnel = address;
        self
    }

    /// Grants a connector with one replica these VNets.
    #[must_use]
    pub fn grant(self, connector: &str, vnets: &[&Vnet]) -> Self {
        self.grant_replicas(connector, 1, vnets)
    }

    /// Grants a connector with several replicas these VNets.
    #[must_use]
    pub fn grant_replicas(self, connector: &str, replicas: usize, vnets: &[&Vnet]) -> Self {
        let routes: Vec<String> =
            vnets.iter().map(|v| format!("{{ vnet = \"{}\", cidr = \"{}\" }}", v.name, Vnet::CIDR)).collect();
        let routes = routes.join(", ");
        self.raw(&format!("[[connector]]\nname = \"{connector}\"\nreplicas = {replicas}\nroutes = [{routes}]"))
    }

    /// Adds a quick TCP monitor.
    #[must_use]
    pub fn tcp_monitor(self, name: &str) -> Self {
        self.raw(&format!("[[monitor]]\nname = \"{name}\"\ntype = \"tcp\"\n{QUICK}"))
    }

    /// Adds a quick HTTP monitor, with further lines.
    #[must_use]
    pub fn http_monitor(self, name: &str, lines: &str) -> Self {
        self.raw(&format!("[[monitor]]\nname = \"{name}\"\ntype = \"http\"\n{QUICK}{lines}\n"))
    }

    /// Adds a quick HTTPS monitor, with further lines.
    #[must_use]
    pub fn https_monitor(self, name: &str, lines: &str) -> Self {
        self.raw(&format!("[[monitor]]\nname = \"{name}\"\ntype = \"https\"\n{QUICK}{lines}\n"))
    }

    /// Adds a quick UDP monitor, with further lines.
    #[must_use]
    pub fn udp_monitor(self, name: &str, lines: &str) -> Self {
        self.raw(&format!("[[monitor]]\nname = \"{name}\"\ntype = \"udp\"\n{QUICK}{lines}\n"))
    }

    /// Adds a service on a free address.
    ///
    /// # Panics
    /// If the file has a dozen services already.
    #[must_use]
    pub fn service(mut self, service: &Service) -> Self {
        let listen = self.free.pop().expect("an edge file has at most a dozen services");
        self.service_at(service, listen)
    }

    /// Adds a service on this address.
    #[must_use]
    pub fn service_at(mut self, service: &Service, listen: SocketAddr) -> Self {
        self.listeners.insert(service.name.clone(), listen);
        let tables = service.tables(listen);
        self.raw(&tables)
    }

    /// Adds lines at the top of the file.
    #[must_use]
    pub fn top(mut self, lines: &str) -> Self {
        writeln!(self.head, "{lines}").expect("writing to a string does not fail");
        self
    }

    /// Adds text as it is.
    #[must_use]
    pub fn raw(mut self, text: &str) -> Self {
        writeln!(self.body, "\n{text}").expect("writing to a string does not fail");
        self
    }

    /// Panics where [`Edge::drill`] says.
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

    /// Logs at this level.
    #[must_use]
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = Some(level);
        self
    }

    /// Is read again whenever it has changed. Others wait for a signal, so that a test knows what is in force.
    #[must_use]
    pub fn watched(mut self) -> Self {
        self.watched = true;
        self
    }

    /// Goes on for so long when it is told to end.
    #[must_use]
    pub fn pre_stop(mut self, long: &'static str) -> Self {
        self.pre_stop = Some(long);
        self
    }

    /// Lets its flows take so long to end.
    #[must_use]
    pub fn grace(mut self, grace: &'static str) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Is given these sockets, as systemd gives them.
    ///
    /// # Panics
    /// If they cannot be.
    #[must_use]
    pub fn given(mut self, sockets: Vec<OwnedFd>) -> Self {
        let lasting = |socket: OwnedFd| {
            // Out of the way of those they become.
            let socket = fcntl_dupfd_cloexec(socket, 100).expect("it is open");
            fcntl_setfd(&socket, FdFlags::empty()).expect("it is open");
            Arc::new(socket)
        };
        self.handed = sockets.into_iter().map(lasting).collect();
        self
    }

    /// Where a service listens.
    #[must_use]
    pub fn listen(&self, service: &str) -> SocketAddr {
        self.listeners[service]
    }

    /// The whole text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { name, state_dir, admin, tunnel, head, body, watched, .. } = self;
        let reload = if *watched { "" } else { "reload = \"signal\"\n" };
        let state_dir = state_dir.display();
        format!(
            "name = \"{name}\"\nstate_dir = \"{state_dir}\"\n{reload}{head}\n\
             [tunnel]\nlisten = \"{tunnel}\"\nadvertise = [\"{tunnel}\"]\n\n[admin]\nlisten = \"{admin}\"\n{body}"
        )
    }

    /// Writes the file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self) {
        fs::write(&self.path, self.text()).expect("the world's directory is writable");
    }

    /// Runs `underpass` with these arguments and `-c` of this edge.
    #[must_use]
    pub fn operate(&self, arguments: &[&str]) -> Ran {
        let mut command = underpass();
        command.args(arguments).arg("-c").arg(&self.path);
        process::run(command, Duration::from_secs(20))
    }

    /// Writes the file, starts the edge and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get ready.
    #[must_use]
    pub fn start(self) -> Edge {
        let mut edge = self.launch();
        edge.wait_ready();
        edge
    }

    /// Starts the edge with what the file has already, and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get ready.
    #[must_use]
    pub fn start_as_it_is(self) -> Edge {
        let process = self.spawn();
        let mut edge = Edge { file: self, process };
        edge.wait_ready();
        edge
    }

    /// Writes the file and starts the edge.
    #[must_use]
    pub fn launch(self) -> Edge {
        self.write();
        let process = self.spawn();
        Edge { file: self, process }
    }

    /// The same, with its log written there.
    ///
    /// # Panics
    /// If the file cannot be written.
    #[must_use]
    pub fn launch_writing(self, standard_error: Stdio) -> Edge {
        self.write();
        let process = self.spawn_writing(standard_error);
        Edge { file: self, process }
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
        let mut command = match &self.handed[..] {
            [] => underpass(),
            handed => underpass_given(handed),
        };
        command.arg("edge").arg("-c").arg(&self.path);
        if let Some(level) = self.log_level {
            command.args(["--log-level", level]);
        }
        if let Some(long) = self.pre_stop {
            command.args(["--pre-stop", long]);
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

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    /// Its file.
    pub file: EdgeFile,
    /// Its process.
    pub process: Process,
}

impl Edge {
    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// At once, if it has ended instead.
    pub fn wait_ready(&mut self) {
        wait::soon(&format!("{} to be ready", self.file.name), || {
            assert!(self.process.is_running(), "{} ended instead of getting ready", self.file.name);
            http::get(self.file.admin, "/readyz").filter(|answer| answer.code == 200)
        });
    }

    /// Where a service of the file listens.
    ///
    /// # Panics
    /// If the file has no such service.
    #[must_use]
    pub fn listener(&self, service: &str) -> SocketAddr {
        *self.file.listeners.get(service).unwrap_or_else(|| panic!("the file has no service {service}"))
    }

    /// Its status.
    ///
    /// # Panics
    /// If it does not answer with one.
    #[must_use]
    pub fn status(&self) -> Value {
        self.try_status().unwrap_or_else(|| panic!("{} answers no status", self.file.name))
    }

    /// Its status, if it answers.
    #[must_use]
    pub fn try_status(&self) -> Option<Value> {
        let answer = http::get(self.file.admin, "/api/v1/status")?;
        serde_json::from_str(&answer.body).ok()
    }

    /// The tunnel of a connector, if the status shows one.
    #[must_use]
    pub fn tunnel(&self, connector: &str) -> Option<Value> {
        find(&self.try_status()?["tunnels"], "connector", connector)
    }

    /// How many links of a connector are up.
    #[must_use]
    pub fn links(&self, connector: &str) -> usize {
        self.tunnel(connector).and_then(|tunnel| tunnel["links"].as_array().map(Vec::len)).unwrap_or(0)
    }

    /// Waits until that many links of a connector are up.
    pub fn wait_links(&self, connector: &str, count: usize) {
        wait::soon_true(&format!("{count} links of {connector} at {}", self.file.name), || {
            self.links(connector) == count
        });
    }

    /// An origin, by its name.
    #[must_use]
    pub fn origin(&self, origin: &str) -> Option<Value> {
        find(&self.try_status()?["origins"], "origin", origin)
    }

    /// Waits until an origin has this health.
    pub fn wait_health(&self, origin: &str, health: &str) {
        wait::soon_true(&format!("{origin} to be {health}"), || {
            self.origin(origin).is_some_and(|found| found["health"] == health)
        });
    }

    /// A healthy path to an origin, waited for: an origin is healthy by its first, while others are yet to be probed.
    pub fn healthy_path(&self, origin: &str) -> Value {
        wait::soon(&format!("a healthy path to {origin}"), || {
            let found = self.origin(origin)?;
            found["paths"].as_array()?.iter().find(|path| path["health"] == "healthy").cloned()
        })
    }

    /// Waits until every path of an origin (and there is one) is unhealthy for this reason.
    pub fn wait_reason(&self, origin: &str, reason: &str) {
        wait::soon_true(&format!("every path to {origin} to be unhealthy: {reason}"), || {
            let found = self.origin(origin);
            let paths = found.as_ref().and_then(|found| found["paths"].as_array());
            paths.is_some_and(|paths| {
                !paths.is_empty() && paths.iter().all(|p| p["health"] == "unhealthy" && p["reason"] == reason)
            })
        });
    }

    /// What the status says was met at an origin that is unhealthy.
    #[must_use]
    pub fn detail(&self, origin: &str) -> String {
        let detail = self.origin(origin).and_then(|found| found["detail"].as_str().map(str::to_owned));
        detail.unwrap_or_default()
    }

    /// Its metrics, as text.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.try_metrics().expect("a running edge answers /metrics")
    }

    /// The same, if there is an answer.
    #[must_use]
    pub fn try_metrics(&self) -> Option<String> {
        http::get(self.file.admin, "/metrics").map(|answer| answer.body)
    }

    /// Creates a join token with the product's own command and returns the file that holds it.
    #[must_use]
    pub fn token(&self, connector: &str) -> PathBuf {
        token(&self.file, connector)
    }

    /// Runs `underpass` with these arguments and `-c` of this edge.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Ran {
        self.file.operate(arguments)
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

    /// Kills it and starts it again with its clock that far ahead, such as `+17h`; does not wait.
    pub fn travel(&mut self, ahead: &str) {
        self.file.clock = Some(ahead.to_owned());
        self.crash_and_restart();
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
        next.wait_log(&["edge is ready"]);
        std::mem::replace(&mut self.process, next)
    }

    /// Kills it with SIGKILL, starts it again and does not wait.
    pub fn crash_and_restart(&mut self) {
        self.process.kill();
        self.process = self.file.spawn();
    }

    /// The same, with its log written there.
    pub fn restart_writing(&mut self, standard_error: Stdio) {
        self.process.kill();
        self.process = self.file.spawn_writing(standard_error);
    }
}

/// Creates a join token for a connector at an edge, whether or not it runs.
#[must_use]
pub fn token(edge: &EdgeFile, connector: &str) -> PathBuf {
    let free = |n: &u32| !edge.path.with_extension(format!("{connector}.token-{n}")).exists();
    let number = (1..).find(free).expect("numbers do not end");
    let out = edge.path.with_extension(format!("{connector}.token-{number}"));
    let mut command = underpass();
    command.args(["token", "create", connector, "-c"]).arg(&edge.path).arg("--out").arg(&out);
    let _ = process::run(command, Duration::from_secs(20)).ok();
    out
}

fn find(list: &Value, key: &str, wanted: &str) -> Option<Value> {
    list.as_array()?.iter().find(|item| item[key] == wanted).cloned()
}
