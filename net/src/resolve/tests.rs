//! A name server that the test itself is, on a loopback address of its own: the settings file can name no port but 53.

use std::{
    fs,
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
};

use tempfile::TempDir;

use super::*;

const NAME: &str = "edge.example.com";

struct Host {
    dir: TempDir,
    resolver: Resolver,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let resolver = Resolver::reading(&dir.path().join("resolv.conf"), &dir.path().join("hosts"));
        Self { dir, resolver }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).expect("writable");
    }

    async fn resolve(&self) -> Result<Vec<IpAddr>, String> {
        self.resolver.resolve_within(NAME, Duration::from_millis(800)).await
    }

    /// Once it has been seen that a file is another.
    async fn soon(&self, right: impl Fn(&Result<Vec<IpAddr>, String>) -> bool) -> Result<Vec<IpAddr>, String> {
        let until = Instant::now() + Duration::from_secs(10);
        let mut looks = time::interval(Duration::from_millis(50));
        loop {
            looks.tick().await;
            let found = self.resolve().await;
            if right(&found) || Instant::now() > until {
                return found;
            }
        }
    }
}

/// Answers every question for an IPv4 address with this one while it speaks, and says of every other that there is none.
fn server(at: &str, address: [u8; 4], speaks: Arc<AtomicBool>) -> bool {
    // Needs the right to port 53.
    let Ok(socket) = UdpSocket::bind((at, 53)) else { return false };
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            if speaks.load(Ordering::Relaxed) {
                let answer = answer(&packet[..length], address);
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    true
}

fn answer(question: &[u8], address: [u8; 4]) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).expect("a name ends") + 5;
    let is_a = question[end - 4..end - 2] == [0, 1];
    let head = [&question[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]].concat();
    // It lasts no time, so each question reaches the server.
    let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4][..], &address].concat();
    [&head[..], &question[12..end], if is_a { &record[..] } else { &[] }].concat()
}

fn v4(address: [u8; 4]) -> Vec<IpAddr> {
    vec![IpAddr::from(address)]
}

#[tokio::test]
async fn a_name_in_the_hosts_file_never_waits_for_a_server_and_the_file_may_change() {
    let host = Host::new();
    // Nothing listens there and nothing says so.
    host.write("resolv.conf", "nameserver 127.80.53.1\n");
    host.write("hosts", "192.0.2.1 edge.example.com\n");
    let began = Instant::now();
    assert_eq!(host.resolve().await, Ok(v4([192, 0, 2, 1])));
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    host.write("hosts", "192.0.2.1 other\n192.0.2.22 edge.example.com\n");
    assert_eq!(host.soon(|found| *found == Ok(v4([192, 0, 2, 22]))).await, Ok(v4([192, 0, 2, 22])));
}

#[tokio::test]
async fn settings_that_come_later_are_read_and_so_are_those_that_change() {
    let (host, speaks) = (Host::new(), Arc::new(AtomicBool::new(true)));
    let silent = UdpSocket::bind(("127.80.53.9", 53));
    let error = host.resolve().await.expect_err("there are no settings");
    assert!(error.contains("resolv.conf") && error.contains(NAME), "{error}");
    host.write("resolv.conf", "# written by nobody yet\n");
    let error = host.resolve().await.expect_err("there is no server");
    assert!(error.contains("resolv.conf cannot be used"), "{error}");
    if !server("127.80.53.2", [192, 0, 2, 2], speaks.clone()) || !server("127.80.53.3", [192, 0, 2, 3], speaks) {
        return;
    }
    host.write("resolv.conf", "nameserver 127.80.53.9\n");
    let error = host.soon(|found| found.as_ref().is_err_and(|e| e.contains("127.80.53.9"))).await.expect_err("silence");
    assert!(silent.is_ok() && error.contains("no answer from name server 127.80.53.9"), "{error}");
    // The question to the silent one is still open, and does not stand in the way.
    host.write("resolv.conf", "nameserver 127.80.53.2\n");
    assert_eq!(host.soon(Result::is_ok).await, Ok(v4([192, 0, 2, 2])));
    host.write("resolv.conf", "nameserver 127.80.53.3 # moved\n");
    assert_eq!(host.soon(|found| *found == Ok(v4([192, 0, 2, 3]))).await, Ok(v4([192, 0, 2, 3])));
}

#[tokio::test]
async fn silence_is_told_with_name_and_server_and_the_last_good_addresses_outlast_it() {
    let (host, speaks) = (Host::new(), Arc::new(AtomicBool::new(false)));
    if !server("127.80.53.4", [192, 0, 2, 4], speaks.clone()) {
        return;
    }
    host.write("resolv.conf", "nameserver 127.80.53.4\noptions timeout:1 attempts:1\n");
    let began = Instant::now();
    let error = host.resolve().await.expect_err("silence");
    assert!(error.contains("no answer from name server 127.80.53.4") && error.contains(NAME), "{error}");
    assert!(began.elapsed() < Duration::from_millis(1_500), "in the time that was given: {:?}", began.elapsed());

    speaks.store(true, Ordering::Relaxed);
    assert_eq!(host.soon(Result::is_ok).await, Ok(v4([192, 0, 2, 4])));
    speaks.store(false, Ordering::Relaxed);
    let (mut slowest, mut total) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(host.resolve().await, Ok(v4([192, 0, 2, 4])));
        (slowest, total) = (slowest.max(began.elapsed()), total + began.elapsed());
    }
    assert!(slowest < HURRY * 2 && total < HURRY * 4, "{slowest:?} {total:?}");
}

#[tokio::test]
async fn addresses_of_earlier_times_serve_from_the_beginning() {
    let host = Host::new();
    host.resolver.remember(NAME, v4([192, 0, 2, 5]));
    assert_eq!(host.resolve().await, Ok(v4([192, 0, 2, 5])), "without settings");
}
