//! The lab as its users meet it: it comes up, answers, and leaves nothing behind, however it ends.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Nothing here takes longer, unless it hangs.
const SOON: Duration = Duration::from_secs(40);

/// A lab that is up.
struct Lab {
    child: Child,
    /// Read on, so that the lab never finds its output closed.
    out: BufReader<ChildStdout>,
    /// Everything it printed until it was up.
    text: String,
    /// Where it makes its directory.
    temporary: TempDir,
}

impl Lab {
    fn start(args: &[&str]) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_underpass"));
        command.arg("lab").args(args).env("TMPDIR", temporary.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary is there");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (send, up) = mpsc::sync_channel(1);
        thread::spawn(move || send.send(read_until_up(out)));
        match up.recv_timeout(SOON).expect("the lab comes up, or ends") {
            Some((out, text)) => Self { child, out, text, temporary },
            None => panic!("the lab ended: {:?}", child.wait()),
        }
    }

    /// Addresses of a listener at both edges.
    fn listener(&self, name: &str) -> Vec<String> {
        let line = self.text.lines().find(|line| line.trim_start().starts_with(name));
        let words = line.expect("the listener is in the table").split_whitespace().skip(2).take(2);
        words.map(str::to_owned).collect()
    }

    /// Lines to paste that begin with this program.
    fn lines(&self, program: &str) -> Vec<&str> {
        let lines = self.text.lines().map(str::trim).filter(|line| line.split(' ').next() == Some(program));
        let lines: Vec<&str> = lines.collect();
        assert!(!lines.is_empty(), "{program} is missing in\n{}", self.text);
        lines
    }

    /// Processes that it offers to kill.
    fn processes(&self) -> Vec<i32> {
        let kills = self.text.lines().filter_map(|line| line.trim().strip_prefix("kill -9 "));
        let pids: Vec<i32> =
            kills.map(|rest| rest.split(' ').next().expect("a number").parse().expect("a number")).collect();
        assert_eq!(pids.len(), 5, "{}", self.text);
        pids
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temporary.path()).expect("it is there");
        entries.map(|entry| entry.expect("readable").path()).collect()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("numbers of processes fit");
        kill_process(Pid::from_raw(pid).expect("not 0"), signal).expect("it runs");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_until_up(mut out: BufReader<ChildStdout>) -> Option<(BufReader<ChildStdout>, String)> {
    let mut text = String::new();
    while !text.contains("ctrl-C ends everything") {
        if out.read_line(&mut text).expect("readable") == 0 {
            return None;
        }
    }
    Some((out, text))
}

/// What a shell prints for a line that was pasted.
fn paste(line: &str) -> Vec<String> {
    let ran = Command::new("sh").args(["-c", line]).output().expect("there is a shell");
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
    let lines: Vec<String> = String::from_utf8_lossy(&ran.stdout).lines().map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{line} prints nothing");
    lines
}

fn runs(pid: i32) -> bool {
    // A zombie has ended: who should have waited for it is gone.
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

#[test]
fn every_listener_answers_at_both_edges_and_every_line_can_be_pasted() {
    let lab = Lab::start(&[]);
    for vnet in ["red", "blue"] {
        for at in lab.listener(&format!("{vnet}-http")) {
            says(&paste(&format!("curl -sS http://{at}/any")), vnet);
        }
        for at in lab.listener(&format!("{vnet}-dns")) {
            let (ip, port) = at.split_once(':').expect("an address");
            says(&paste(&format!("dig +short @{ip} -p {port} any.name A")), vnet);
        }
    }
    for at in lab.listener("red-echo") {
        let mut greeting = String::new();
        let stream = TcpStream::connect(at).expect("the listener is bound");
        BufReader::new(stream).read_line(&mut greeting).expect("it greets");
        says(&[greeting], "red");
    }
    for line in lab.lines("curl").into_iter().chain(lab.lines("dig")) {
        let (_, comment) = line.split_once("# ").expect("it says what it shows");
        says(&paste(line), if comment.contains("blue") { "blue" } else { "red" });
    }
    for line in lab.lines("for") {
        let said = paste(line);
        says(&said, "red");
        let origins: BTreeSet<&str> = said.iter().filter_map(|line| line.split(' ').nth(1)).collect();
        assert!(said.len() > 1 && origins.len() == 1, "{said:?}");
    }
}

/// Every line is said by an origin of this VNet.
fn says(lines: &[String], vnet: &str) {
    let said = format!("vnet={vnet} origin={vnet}-");
    assert!(lines.iter().all(|line| line.trim_start_matches('"').starts_with(&said)), "{vnet}: {lines:?}");
}

#[test]
fn a_signal_ends_the_lab_in_order() {
    let mut lab = Lab::start(&[]);
    let processes = lab.processes();
    assert!(processes.iter().all(|pid| runs(*pid)));
    lab.signal(Signal::INT);
    assert!(lab.child.wait().expect("it ends").success());
    assert!(!processes.iter().any(|pid| runs(*pid)));
    assert_eq!(lab.files(), Vec::<PathBuf>::new());
    let mut rest = String::new();
    lab.out.read_to_string(&mut rest).expect("readable");
    assert!(rest.contains("ending everything"), "{rest}");
}

#[test]
fn a_killed_lab_leaves_nothing_behind() {
    let mut lab = Lab::start(&[]);
    let processes = lab.processes();
    assert_eq!(lab.files().len(), 1);
    lab.child.kill().expect("it runs");
    lab.child.wait().expect("it ends");
    wait_until("its processes end", || !processes.iter().any(|pid| runs(*pid)));
    wait_until("its files go", || lab.files().is_empty());
}

#[test]
fn kept_files_stay_and_hold_no_open_secret() {
    use std::os::unix::fs::PermissionsExt;

    let mut lab = Lab::start(&["--keep"]);
    lab.signal(Signal::TERM);
    assert!(lab.child.wait().expect("it ends").success());
    let files = lab.files();
    assert_eq!(files.len(), 1);
    assert!(files[0].join("edge-1.toml").is_file());
    let mode = fs::metadata(&files[0]).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "only its owner looks into it");
}
