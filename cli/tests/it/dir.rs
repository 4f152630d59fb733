//! A directory with files of an edge and a connector, and the binary run in it.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// Nothing here takes longer, unless it hangs.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const FAILED: i32 = 1;
pub(crate) const USAGE: i32 = 2;
pub(crate) const SETTINGS: i32 = 3;
pub(crate) const REFUSED: i32 = 4;

pub(crate) const EDGE: &str = r#"
name = "edge-1"
state_dir = "edge-state"
[tunnel]
listen = "127.0.0.1:1"
[admin]
listen = "127.0.0.1:2"
[[connector]]
name = "dc1"
routes = [{ vnet = "prod", cidr = "10.0.0.0/16" }, { vnet = "lab", cidr = "fd00::/8" }]
"#;

pub(crate) const CONNECTOR: &str = r#"
name = "dc1"
edges = ["127.0.0.1:1"]
state_dir = "connector-state"
links_per_edge = 2
[[route]]
vnet = "prod"
cidr = "10.0.0.0/16"
[admin]
listen = "127.0.0.1:0"
"#;

/// A directory with an edge's and a connector's file.
pub(crate) struct Dir(pub(crate) TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        let dir = Self(tempfile::tempdir().expect("a temporary directory"));
        fs::write(dir.path("edge.toml"), EDGE).expect("writable");
        fs::write(dir.path("connector.toml"), CONNECTOR).expect("writable");
        dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The binary in this directory, with none of our variables set.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_underpass"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("UNDERPASS_") || text == "NOTIFY_SOCKET" || text.starts_with("WATCHDOG_") {
                command.env_remove(&name);
            }
        }
        command.args(line.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        Ran::of(self.command(line).output().expect("the binary runs"))
    }

    pub(crate) fn run_with(&self, variables: &[(&str, &str)], line: &str) -> Ran {
        Ran::of(self.command(line).envs(variables.iter().copied()).output().expect("the binary runs"))
    }

    pub(crate) fn token(&self) -> PathBuf {
        let made = self.run("token create dc1 -c edge.toml --out token");
        assert_eq!(made.code, 0, "{}", made.err);
        self.path("token")
    }
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code().expect("not killed"), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It failed like this, said so on standard error alone, and named these.
    pub(crate) fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word}: {self:?}");
        }
    }

    /// It did what it was asked.
    pub(crate) fn went_well(&self) {
        assert_eq!(self.code, 0, "{self:?}");
    }
}
