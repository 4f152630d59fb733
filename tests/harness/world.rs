//! A world: a directory, loopback networks, and the files of the edges and connectors that live there.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use super::{
    address::Block,
    connector::{Connector, ConnectorFile},
    edge::{Edge, EdgeFile},
    process::{self, Ran},
    service::Service,
};

/// The network of the block where edges, connectors' endpoints and direct origins live.
const FRONT: u8 = 0;
/// Longest time a command of the product that is meant to end may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// Where one test happens. Declare it first, so that it is dropped last.
#[derive(Debug)]
pub struct World {
    block: Block,
    dir: TempDir,
    vnets: AtomicU8,
}

/// A VNet 10.7.0.0/24 and the loopback network that stands for it behind a connector.
#[derive(Debug, Clone)]
pub struct Vnet {
    /// Its name.
    pub name: String,
    /// First address of the loopback network.
    real: Ipv4Addr,
}

impl Vnet {
    /// What every VNet of a world claims: the same for all of them.
    pub const CIDR: &'static str = "10.7.0.0/24";

    /// Its real loopback network, as CIDR.
    #[must_use]
    pub fn real_cidr(&self) -> String {
        format!("{}/24", self.real)
    }

    /// The address inside the VNet that leads to a real one.
    ///
    /// # Panics
    /// If the real address is not in this VNet's loopback network.
    #[must_use]
    pub fn inside(&self, real: SocketAddr) -> String {
        let SocketAddr::V4(at) = real else { panic!("{real} is no IPv4 address") };
        let [a, b, c, host] = at.ip().octets();
        assert_eq!(Ipv4Addr::new(a, b, c, 0), self.real, "{real} is not behind VNet {}", self.name);
        format!("10.7.0.{host}:{}", at.port())
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A fresh world.
    ///
    /// # Panics
    /// If there is no temporary directory to be had.
    #[must_use]
    pub fn new() -> Self {
        // Servers that run as another user must be able to walk in.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let dir = tempfile::Builder::new().prefix("underpass-").permissions(open).tempdir();
        let dir = dir.expect("a temporary directory can be made");
        Self { block: Block::claim(), dir, vnets: AtomicU8::new(FRONT + 1) }
    }

    /// A path in the world's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new VNet, on a loopback network of its own.
    #[must_use]
    pub fn vnet(&self, name: &str) -> Vnet {
        let number = self.vnets.fetch_add(1, Ordering::Relaxed);
        Vnet { name: name.to_owned(), real: self.block.host(number, 0) }
    }

    /// A free address on the front side: for edges, and for origins that are reached directly.
    #[must_use]
    pub fn free(&self) -> SocketAddr {
        self.block.free(self.block.host(FRONT, 1))
    }

    /// A front address that clients may bind to be told apart by source.
    #[must_use]
    pub fn source(&self, host: u8) -> SocketAddr {
        SocketAddr::from((self.block.host(FRONT, host), 0))
    }

    /// A free address for an origin behind a VNet, on host `host`.
    #[must_use]
    pub fn free_in(&self, vnet: &Vnet, host: u8) -> SocketAddr {
        let [a, b, c, _] = vnet.real.octets();
        self.block.free(Ipv4Addr::new(a, b, c, host))
    }

    /// A file for an edge of this name.
    #[must_use]
    pub fn edge(&self, name: &str) -> EdgeFile {
        EdgeFile::new(self, name)
    }

    /// A file for a connector of this name.
    #[must_use]
    pub fn connector(&self, name: &str) -> ConnectorFile {
        ConnectorFile::new(self, name)
    }

    /// The plainest world there is: an edge with these services, and connector `dc1` that serves the VNet.
    #[must_use]
    pub fn stand(&self, vnet: &Vnet, services: &[&Service]) -> (Edge, Connector) {
        let file = self.edge("edge-1").grant("dc1", &[vnet]).tcp_monitor("tcp");
        let edge = services.iter().fold(file, |file, service| file.service(service)).start();
        let connector = self.connector("dc1").serve(vnet).start(&[&edge]);
        (edge, connector)
    }

    /// Runs a command of the product to its end.
    #[must_use]
    pub fn underpass(&self, arguments: &[&str]) -> Ran {
        let mut command = underpass();
        command.args(arguments).current_dir(self.dir.path());
        process::run(command, COMMAND_LIMIT)
    }

    /// Writes a file into the world's directory.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the world's directory is writable");
        path
    }
}

/// The product's binary, built beside the tests.
#[must_use]
pub fn underpass() -> Command {
    process::command(binary())
}

/// The same, with this file in place of the machine's `resolv.conf`.
#[must_use]
pub fn underpass_resolving_by(settings: &Path) -> Command {
    let mut command = process::command("unshare");
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    command.args(["--mount", "--", "sh", "-c", script]).arg(settings).arg(binary());
    command
}

/// The same, with these sockets, which are not closed when another program is run, from descriptor 3 on (sd_listen_fds(3)).
pub(super) fn underpass_given(sockets: &[Arc<OwnedFd>]) -> Command {
    let mut command = process::command("bash");
    let moved = (3..).zip(sockets).map(|(to, socket)| format!("{to}<&{}", socket.as_raw_fd()));
    let moved = moved.collect::<Vec<_>>().join(" ");
    let script = format!("exec {moved}; LISTEN_FDS={} LISTEN_PID=$$ exec \"$@\"", sockets.len());
    command.args(["-c", &script, "bash"]).arg(binary());
    command
}

fn binary() -> PathBuf {
    let own = env::current_exe().expect("a process knows its own file");
    // target/PROFILE/deps/it-… or target/PROFILE/faults → target/PROFILE/underpass
    let profile = own.ancestors().skip(1).find(|dir| !dir.ends_with("deps")).expect("binaries live in target/PROFILE");
    let binary = profile.join("underpass");
    assert!(binary.exists(), "{} is missing: run `cargo build -p underpass` first", binary.display());
    binary
}
