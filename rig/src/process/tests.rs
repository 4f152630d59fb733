use std::{
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use super::*;

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdout(Stdio::null());
    command
}

fn log() -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir().expect("there is room for a file");
    let log = Log::at(dir.path().join("log"));
    (dir, log)
}

/// Waits for the end of what ends by itself.
fn end(process: &mut Process) -> ExitStatus {
    process.child.wait().expect("it is our child")
}

fn soon<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "waited in vain");
        std::thread::yield_now();
    }
}

#[test]
fn what_a_process_prints_is_in_its_log_one_start_after_the_other() {
    let (_dir, log) = log();
    assert_eq!((log.text(), log.find(&["one"])), (String::new(), None), "it is not there yet");
    for script in ["echo one; echo and two >&2", "echo three"] {
        let mut process = Process::start(shell(script), Group::Own, &log).expect("there is a shell");
        assert!(end(&mut process).success());
    }
    assert_eq!(log.text(), "one\nand two\nthree\n");
    assert_eq!(log.find(&["two", "and"]), Some("and two".to_owned()));
    assert_eq!(log.find(&["one", "two"]), None);
    assert_eq!(log.tail(2), "and two\nthree");
    assert_eq!(log.tail(9), "one\nand two\nthree");
}

#[test]
fn a_process_of_its_own_group_is_killed_with_all_it_started() {
    let (_dir, log) = log();
    let script = "sleep 1000 & echo $!; wait";
    let mut process = Process::start(shell(script), Group::Own, &log).expect("there is a shell");
    let child = soon(|| log.find(&[]));
    assert_eq!(process.ended().expect("it is our child"), None);
    assert_eq!(process.kill().expect("it can be killed").signal(), Some(9));
    assert!(process.seen_ended().is_some());
    soon(|| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // Whoever has taken it over may not have seen its end yet.
        (stat.is_empty() || stat.contains(") Z")).then_some(())
    });
}

#[test]
fn a_signal_reaches_a_process_and_none_is_sent_after_its_end() {
    let mut process = Process::start_writing(shell("exec sleep 1000"), Group::Own, Stdio::null()).expect("a shell");
    process.signal(Signal::TERM);
    let ended = end(&mut process);
    assert_eq!(ended.signal(), Some(15));
    assert_eq!(process.ended().expect("it is our child"), Some(ended));
    process.signal(Signal::KILL);
    assert_eq!(process.kill().expect("it is gone"), ended);
}

#[test]
fn the_callers_own_settings_stay_with_the_caller() {
    let mut command = Command::new("/bin/true");
    // What tests are run by: cargo sets more of the kind.
    strip(&mut command, &["CARGO"], &["CARGO_PKG_"]);
    let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
    assert!(removed.contains(&std::ffi::OsStr::new("CARGO_MANIFEST_DIR")), "{removed:?}");
    assert!(!removed.iter().any(|name| name.to_string_lossy().starts_with("CARGO_PKG_")), "{removed:?}");
}
