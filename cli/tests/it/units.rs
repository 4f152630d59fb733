//! The units of `deploy/systemd`: they call what the binary has, agree with its defaults, and stay hardened.

use std::{fs, path::Path, process::Command};

use crate::dir::{Dir, REFUSED, SETTINGS};

/// The least of systemd's marks that would be too open, of 100.
const EXPOSURE_MAX: &str = "20";

/// A unit's text.
fn unit(service: &str) -> String {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    fs::read_to_string(units.join(format!("underpass-{service}.service"))).expect("a unit")
}

/// The only value of a key.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("{key} is there"));
    assert_eq!(values.next(), None, "{key} is there once");
    value
}

#[test]
fn units_start_what_the_binary_has() {
    for (service, state) in [("edge", "/var/lib/underpass"), ("connector", connector::config::STATE_DIR)] {
        let unit = unit(service);
        let start = value(&unit, "ExecStart");
        let file = format!("/etc/underpass/{service}.toml");
        let line = start.strip_prefix("/usr/local/bin/underpass ").expect("the binary").replace(&file, "missing.toml");
        // Flags that the command does not have would be a mistake of usage.
        Dir::new().run(&line).failed(SETTINGS, &["missing.toml:1:1: "]);

        assert_eq!(format!("/var/lib/{}", value(&unit, "StateDirectory")), state);
        assert_eq!(value(&unit, "Type"), "notify");
        // What no restart mends is not tried again.
        assert_eq!(value(&unit, "RestartPreventExitStatus"), format!("{SETTINGS} {REFUSED}"));
        // The grace period, what hangs after it, and a little.
        let stop: u64 = value(&unit, "TimeoutStopSec").parse().expect("seconds");
        assert!(stop > 35, "{stop}");
    }
    assert_eq!(value(&unit("edge"), "ExecReload"), "/bin/kill -HUP $MAINPID");
}

#[test]
fn systemd_finds_units_right_and_hardened() {
    let dir = Dir::new();
    for service in ["edge", "connector"] {
        let path = dir.path(&format!("underpass-{service}.service"));
        fs::write(&path, unit(service).replace("/usr/local/bin/underpass", env!("CARGO_BIN_EXE_underpass")))
            .expect("writable");
        let threshold = format!("--threshold={EXPOSURE_MAX}");
        for judge in [&["verify", "--man=no"][..], &["security", "--offline=true", "--no-pager", &threshold]] {
            let judged = Command::new("systemd-analyze").args(judge).arg(&path).output().expect("systemd-analyze");
            let text = String::from_utf8_lossy(&judged.stdout) + String::from_utf8_lossy(&judged.stderr);
            assert!(judged.status.success(), "{judge:?}: {text}");
        }
    }
}
