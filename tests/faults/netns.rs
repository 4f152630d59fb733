//! Network namespaces without a name: the kernel takes them away with the last process and file that holds them, however
//! this program ends.

use std::{
    fs::{self, File},
    os::fd::{AsFd, AsRawFd},
    process::Command,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use underpass_tests::harness::{process, wait};

/// Longest time `ip`, `nft` or `tc` may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// A host with a network stack of its own.
#[derive(Debug)]
pub(crate) struct Netns(File);

impl Netns {
    /// A fresh one with loopback up.
    ///
    /// # Panics
    /// If this process may not make any: it takes root.
    #[must_use]
    pub(crate) fn new() -> Self {
        let own = own_name();
        // Holds it until it is open here.
        let mut holder = process::command("unshare");
        let mut holder = holder.args(["--net", "--", "sleep", "60"]).spawn().expect("util-linux is installed");
        let path = format!("/proc/{}/ns/net", holder.id());
        let file = wait::soon("a network namespace of its own", || {
            let other = fs::read_link(&path).ok().filter(|name| name.to_str() != Some(&own));
            other.and_then(|_| File::open(&path).ok())
        });
        let _ = holder.kill();
        let _ = holder.wait();
        let netns = Self(file);
        netns.ip("link set lo up");
        netns
    }

    /// Does something inside: what is opened or started there stays there.
    pub(crate) fn inside<T>(&self, act: impl FnOnce() -> T) -> T {
        let back = Back(File::open("/proc/thread-self/ns/net").expect("a thread has a network"));
        enter(&self.0);
        let done = act();
        drop(back);
        done
    }

    /// Moves this thread, and all that it starts from now on, inside for good.
    pub(crate) fn enter(&self) {
        enter(&self.0);
    }

    /// Runs `ip` with these arguments.
    pub(crate) fn ip(&self, arguments: &str) {
        self.run("ip", &arguments.split_whitespace().collect::<Vec<_>>());
    }

    /// Runs `tc` with these arguments.
    pub(crate) fn tc(&self, arguments: &str) {
        self.run("tc", &arguments.split_whitespace().collect::<Vec<_>>());
    }

    /// Runs these commands of `nft`.
    pub(crate) fn nft(&self, commands: &str) {
        self.run("nft", &[commands]);
    }

    /// Sets a `sysctl` of its network.
    pub(crate) fn set(&self, path: &str, value: &str) {
        self.inside(|| fs::write(format!("/proc/sys/net/{path}"), value)).expect("the kernel knows it");
    }

    /// A cable between an interface here and one elsewhere, both up.
    pub(crate) fn cable(&self, here: &str, other: &Self, there: &str) {
        let path = format!("/proc/{}/fd/{}", std::process::id(), other.0.as_raw_fd());
        self.run("ip", &["link", "add", here, "type", "veth", "peer", "name", there, "netns", &path]);
        self.ip(&format!("link set {here} up"));
        other.ip(&format!("link set {there} up"));
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        command.args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let _ = self.inside(|| process::run(command, COMMAND_LIMIT)).ok();
    }
}

/// Brings the thread back, also out of a panic.
struct Back(File);

impl Drop for Back {
    fn drop(&mut self) {
        enter(&self.0);
    }
}

fn enter(file: &File) {
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter a network");
}

fn own_name() -> String {
    let name = fs::read_link("/proc/thread-self/ns/net").expect("a thread has a network");
    name.to_string_lossy().into_owned()
}
