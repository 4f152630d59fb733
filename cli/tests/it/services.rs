//! Edges and connectors that run: readiness, reloads and ends, as systemd and signals see them.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    process::{Child, ChildStderr, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::dir::{Dir, FAILED, SETTINGS, SOON, USAGE};

/// An edge or a connector that runs, with systemd at its ear.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
    ear: UnixDatagram,
}

impl Running {
    fn start(dir: &Dir, line: &str) -> Self {
        Self::start_with(dir, line, &[])
    }

    fn start_with(dir: &Dir, line: &str, variables: &[(&str, &str)]) -> Self {
        let ear = UnixDatagram::bind(dir.path("notify")).expect("a socket in the directory");
        ear.set_read_timeout(Some(SOON)).expect("settable");
        let mut command = dir.command(line);
        command.env("NOTIFY_SOCKET", dir.path("notify")).stderr(Stdio::piped());
        command.envs(variables.iter().copied());
        let mut child = command.spawn().expect("the binary runs");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, log, ear }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 256];
        let length = self.ear.recv(&mut bytes).expect("it tells systemd");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Hears on until it is told this.
    fn hear_of(&self, word: &str) {
        while self.hear() != word {}
    }

    /// The next line of the log that holds this.
    fn logged(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).expect("text") > 0, "it ended without saying: {words}");
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Waits for its end; its code, and what it logged since the last look.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.log.read_to_string(&mut log).expect("text");
        (self.child.wait().expect("a child").code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_connector_tells_systemd_survives_a_hangup_and_ends_cleanly_when_told() {
    let dir = Dir::new();
    let token = dir.token();
    let line = format!("connector -c connector.toml --log-format json --token-file {}", token.display());
    let running = Running::start(&dir, &line);
    assert_eq!(running.hear(), "READY=1\n");
    running.signal(Signal::HUP);
    let reloading = running.hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(running.hear(), "READY=1\n");
    running.signal(Signal::TERM);
    assert_eq!(running.hear(), "STOPPING=1\n");
    let (code, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    let token = fs::read_to_string(&token).expect("readable");
    assert!(!log.contains(token.trim()), "tokens are not logged");
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object()), "{line}");
    }
}

#[test]
fn a_log_in_json_stays_json_when_it_fails() {
    let dir = Dir::new();
    let failed = dir.run("connector -c connector.toml --log-format json");
    failed.failed(SETTINGS, &["join token"]);
    for line in failed.err.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object()), "{line}");
    }
}

#[test]
fn two_connectors_do_not_share_a_state_dir() {
    let dir = Dir::new();
    let line = format!("connector -c connector.toml --token-file {}", dir.token().display());
    let running = Running::start(&dir, &line);
    assert_eq!(running.hear(), "READY=1\n");
    // Ready is told before the state is taken; a hangup is served after.
    running.signal(Signal::HUP);
    assert!(running.hear().starts_with("RELOADING=1"));
    dir.run(&line).failed(FAILED, &["connector-state", "state_dir of its own"]);
    running.signal(Signal::INT);
    assert_eq!(running.end().0, Some(0));
    assert!(dir.path("connector-state/replica").exists());
}

/// An edge's file whose ports are free ones, with one listener that leads to this origin.
fn write_edge(dir: &Dir, listen: &str, origin: SocketAddr) {
    let text = format!(
        r#"
name = "edge-1"
state_dir = "edge-state"
workers = 1
[tunnel]
listen = "127.0.0.1:0"
advertise = ["127.0.0.1:1"]
[admin]
listen = "127.0.0.1:0"
[[pool]]
name = "echo"
[[pool.origin]]
name = "echo-1"
address = "{origin}"
[[load_balancer]]
name = "echo"
pools = ["echo"]
[[listener]]
name = "echo"
protocol = "tcp"
listen = "{listen}"
load_balancer = "echo"
"#
    );
    fs::write(dir.path("edge.toml"), text).expect("writable");
}

/// An edge with one flow open through it, held at both ends.
fn edge_with_a_flow(dir: &Dir, flags: &str) -> (Running, TcpStream, TcpStream) {
    let origin = TcpListener::bind("127.0.0.1:0").expect("free");
    write_edge(dir, "127.0.0.1:0", origin.local_addr().expect("bound"));
    let mut edge = Running::start(dir, &format!("edge -c edge.toml {flags}"));
    // A client may come as soon as the listener is bound: it is served once the edge is ready.
    let line = edge.logged("listening");
    let at = line.trim_end().rsplit_once("address=").expect("an address").1;
    let server = thread::spawn(move || {
        let (mut server, _) = origin.accept().expect("the edge dials");
        server.write_all(b"y").expect("writable");
        server
    });
    let mut client = TcpStream::connect(at).expect("it listens");
    client.set_read_timeout(Some(SOON)).expect("settable");
    client.write_all(b"x").expect("writable");
    client.read_exact(&mut [0]).expect("the flow is open");
    let server = server.join().expect("it has answered");
    assert_eq!(edge.hear(), "READY=1\n");
    (edge, client, server)
}

#[test]
fn an_edge_reloads_at_a_hangup_and_keeps_what_it_has_when_the_file_is_wrong() {
    let dir = Dir::new();
    let origin = TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound");
    write_edge(&dir, "127.0.0.1:0", origin);
    let mut edge = Running::start(&dir, "edge -c edge.toml --workers 2");
    assert_eq!(edge.hear(), "READY=1\n");
    edge.signal(Signal::HUP);
    assert!(edge.hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(edge.hear(), "READY=1\n");
    edge.logged("version=2");

    let right = fs::read_to_string(dir.path("edge.toml")).expect("readable");
    fs::write(dir.path("edge.toml"), right.replace("pools = ", "pulls = ")).expect("writable");
    edge.signal(Signal::HUP);
    assert!(edge.hear().starts_with("RELOADING=1"));
    assert_eq!(edge.hear(), "READY=1\n");
    edge.logged("edge.toml:");
    edge.logged("`pulls`");
    edge.logged("reload refused");
    edge.signal(Signal::TERM);
    assert_eq!(edge.hear(), "STOPPING=1\n");
    let (code, log) = edge.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn an_edge_that_is_told_to_end_waits_for_its_flows_no_longer_than_the_grace_period() {
    let dir = Dir::new();
    let (edge, client, server) = edge_with_a_flow(&dir, "--grace-period 200ms");
    edge.signal(Signal::TERM);
    assert_eq!(edge.hear(), "STOPPING=1\n");
    let (code, log) = edge.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("grace period is over"), "{log}");
    are_reset([client, server]);
}

#[test]
fn a_second_signal_ends_an_edge_at_once() {
    let dir = Dir::new();
    let (edge, client, server) = edge_with_a_flow(&dir, "--grace-period 10m");
    edge.signal(Signal::TERM);
    assert_eq!(edge.hear(), "STOPPING=1\n");
    edge.signal(Signal::INT);
    let (code, log) = edge.end();
    assert_eq!(code, Some(FAILED), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("told again to end: nothing is waited for"), "it does nothing more: {log}");
    are_reset([client, server]);
}

#[test]
fn a_second_signal_ends_an_edge_that_waits_for_others_at_once() {
    let dir = Dir::new();
    let (mut edge, client, server) = edge_with_a_flow(&dir, "--pre-stop 10m");
    edge.signal(Signal::INT);
    assert_eq!(edge.hear(), "STOPPING=1\n");
    edge.logged("not ready from now on");
    edge.signal(Signal::INT);
    let (code, log) = edge.end();
    assert_eq!(code, Some(FAILED), "{log}");
    assert_eq!(log.lines().count(), 1, "it does nothing more: {log}");
    are_reset([client, server]);
}

/// The watchdog of the tests bites after a second.
const BITES: Duration = Duration::from_secs(1);
const PING: &str = "WATCHDOG=1\n";

#[test]
fn a_worker_that_is_stuck_lets_the_watchdog_bite() {
    let dir = Dir::new();
    let origin = TcpListener::bind("127.0.0.1:0").expect("free");
    write_edge(&dir, "127.0.0.1:0", origin.local_addr().expect("bound"));
    let drill = dir.path("flow");
    let place = dir.path("").display().to_string();
    let usec = BITES.as_micros().to_string();
    let variables = [("WATCHDOG_USEC", &*usec), ("UNDERPASS_DRILL", &*place)];
    let mut edge = Running::start_with(&dir, "edge -c edge.toml --grace-period 100ms", &variables);
    let line = edge.logged("listening");
    let at = line.trim_end().rsplit_once("address=").expect("an address").1;
    for _ in 0..3 {
        edge.hear_of(PING);
    }

    fs::write(&drill, "").expect("writable");
    let client = TcpStream::connect(at).expect("it listens");
    let line = edge.logged("makes no progress");
    assert!(line.contains("ERROR") && line.contains("worker=\"carry-0\""), "{line}");
    // What was told before is still there to be heard.
    edge.ear.set_nonblocking(true).expect("settable");
    while edge.ear.recv(&mut [0; 256]).is_ok() {}
    edge.ear.set_nonblocking(false).expect("settable");
    edge.ear.set_read_timeout(Some(BITES)).expect("settable");
    let heard = edge.ear.recv(&mut [0; 256]).map_err(|error| error.kind());
    assert_eq!(heard, Err(ErrorKind::WouldBlock), "for as long as the watchdog has patience");

    fs::remove_file(&drill).expect("it is there");
    edge.logged("makes progress again");
    edge.ear.set_read_timeout(Some(SOON)).expect("settable");
    edge.hear_of(PING);
    drop(client);
    edge.signal(Signal::TERM);
    edge.hear_of("STOPPING=1\n");
    assert_eq!(edge.end().0, Some(0));
}

#[test]
fn a_watchdog_of_another_process_is_not_ours() {
    let dir = Dir::new();
    let line = format!("connector -c connector.toml --token-file {}", dir.token().display());
    let usec = BITES.as_micros().to_string();
    for (pid, is_ours) in [(Some(std::process::id().to_string()), false), (None, true)] {
        let mut variables = vec![("WATCHDOG_USEC", &*usec)];
        variables.extend(pid.as_deref().map(|pid| ("WATCHDOG_PID", pid)));
        let running = Running::start_with(&dir, &line, &variables);
        running.hear_of("READY=1\n");
        if is_ours {
            running.hear_of(PING);
        } else {
            running.ear.set_read_timeout(Some(BITES)).expect("settable");
            assert_eq!(running.ear.recv(&mut [0; 256]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        }
        running.signal(Signal::TERM);
        assert_eq!(running.end().0, Some(0));
        fs::remove_file(dir.path("notify")).expect("it is there");
    }
}

/// What is cut must not look whole.
fn are_reset(flow: [TcpStream; 2]) {
    for mut side in flow {
        let read = side.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::ConnectionReset));
    }
}

#[test]
fn an_edge_takes_its_name_from_a_flag_and_is_ready_when_it_says_so() {
    let dir = Dir::new();
    let origin = TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound");
    write_edge(&dir, "127.0.0.1:0", origin);
    let mut edge = Running::start(&dir, "edge -c edge.toml --name edge-2");
    let line = edge.logged("admin endpoint");
    let admin = line.trim_end().rsplit_once("address=").expect("an address").1;
    assert_eq!(edge.hear(), "READY=1\n");
    dir.run(&format!("ready --admin {admin}")).went_well();
    let status = dir.run(&format!("status --admin {admin}"));
    assert!(status.out.starts_with("edge edge-2, "), "{status:?}");
}

#[test]
fn an_edge_that_cannot_start_says_why() {
    let dir = Dir::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("free");
    let at = taken.local_addr().expect("bound");
    write_edge(&dir, &at.to_string(), at);
    dir.run("edge -c edge.toml").failed(FAILED, &[&at.to_string(), "in use"]);
    dir.run("edge -c edge.toml --workers 0").failed(USAGE, &["--workers 0"]);
    fs::remove_file(dir.path("edge-state/ca.key")).expect("there");
    dir.run("edge -c edge.toml").failed(SETTINGS, &["ca.key"]);
}
