//! Real servers: nginx, PostgreSQL, Redis, iperf3, each in a directory of its own.

use std::{
    fs::{self, File},
    io::Write,
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::harness::{
    process::{self, Process, command, command_as},
    wait,
    world::World,
};

/// A real server.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its directory.
    pub dir: PathBuf,
}

impl Server {
    fn start(name: &str, command: Command, address: SocketAddr, dir: PathBuf) -> Self {
        let mut process = Process::start(name, command, &dir.join("log"));
        wait::until(&format!("{name} to listen on {address}"), Duration::from_secs(20), || {
            assert!(process.is_running(), "{name} ended by itself");
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()
        });
        Self { process, address, dir }
    }

    /// The host it listens on.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.ip().to_string()
    }
}

fn fresh_dir(world: &World, name: &str, address: SocketAddr) -> PathBuf {
    let dir = world.path(&format!("{name}-{}-{}", address.ip(), address.port()));
    fs::create_dir_all(&dir).expect("the world's directory is writable");
    dir
}

/// nginx, serving the files of `DIR/www`; `/fail` answers 503 and `/who` answers `name`.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn nginx(world: &World, address: SocketAddr, name: &str) -> Server {
    nginx_listening(world, address, name, "", "")
}

/// The same, speaking HTTP/2 without TLS.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn nginx_h2c(world: &World, address: SocketAddr, name: &str) -> Server {
    nginx_listening(world, address, name, " http2", "")
}

/// The same, and `/id?id=ID` answers `NAME ID`; every such request leaves a line `METHOD ID` in `DIR/ids`, as often as it
/// came.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn nginx_noting(world: &World, address: SocketAddr, name: &str) -> Server {
    let note = format!("    location /id {{ access_log ids noted; return 200 \"{name} $arg_id\"; }}\n");
    nginx_listening(world, address, name, "", &note)
}

/// The same over TLS, showing the certificate `FILE.pem` with the key `FILE.key` of the world's directory; `/tls` tells the
/// protocol and the name it was asked for by. With `how` " http2" it offers that too.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn nginx_tls(world: &World, address: SocketAddr, name: &str, (file, how): (&str, &str)) -> Server {
    let certificate = certificate_of(world, file);
    let lines = format!("{certificate}    location /tls {{ return 200 \"$server_protocol $ssl_server_name\"; }}\n");
    nginx_listening(world, address, name, &format!(" ssl{how}"), &lines)
}

/// nginx that ends TLS with `FILE.pem` and `FILE.key` and hands WebSockets on to a server behind it.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn nginx_tls_before(world: &World, address: SocketAddr, file: &str, behind: &Server) -> Server {
    let lines = format!(
        "{}    location /chat {{\n      proxy_pass http://{};\n      proxy_http_version 1.1;\n\
         \u{20}     proxy_set_header Upgrade $http_upgrade;\n      proxy_set_header Connection upgrade;\n    }}\n",
        certificate_of(world, file),
        behind.address
    );
    nginx_listening(world, address, "tls", " ssl http2", &lines)
}

/// nginx as a reverse proxy before an origin, plainly: HTTP/1.1 and the client's Host.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn nginx_before(world: &World, address: SocketAddr, origin: SocketAddr) -> Server {
    let lines = format!(
        "    location / {{\n      proxy_pass http://{origin};\n      proxy_http_version 1.1;\n\
         \u{20}     proxy_set_header Host $http_host;\n      proxy_set_header Connection \"\";\n    }}\n"
    );
    nginx_listening(world, address, "proxy", "", &lines)
}

fn certificate_of(world: &World, file: &str) -> String {
    let (certificate, key) = (world.path(&format!("{file}.pem")), world.path(&format!("{file}.key")));
    format!("    ssl_certificate {};\n    ssl_certificate_key {};\n", certificate.display(), key.display())
}

/// The same, where every connection must begin with a header of the PROXY protocol; `/client` tells what it says.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn nginx_behind_proxy(world: &World, address: SocketAddr, name: &str) -> Server {
    let client = "    location /client { return 200 \"$proxy_protocol_addr $proxy_protocol_port\"; }\n";
    nginx_listening(world, address, name, " proxy_protocol", client)
}

fn nginx_listening(world: &World, address: SocketAddr, name: &str, how: &str, lines: &str) -> Server {
    let dir = fresh_dir(world, "nginx", address);
    fs::create_dir_all(dir.join("www")).expect("the world's directory is writable");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {kind}_temp;\n"))
        .collect();
    let config = format!(
        "user root;\ndaemon off;\nmaster_process off;\npid pid;\nerror_log stderr;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n{temporary}  log_format noted '$request_method $arg_id';\n  access_log off;\n\
         \u{20} keepalive_requests 100000;\n  server {{\n    listen {address}{how};\n{lines}\
         \u{20}   root www;\n    location /fail {{ return 503; }}\n    location /who {{ return 200 {name}; }}\n\
         \u{20}   location /forwarded {{ return 200 $http_x_forwarded_for; }}\n  }}\n}}\n"
    );
    fs::write(dir.join("nginx.conf"), config).expect("the world's directory is writable");
    let mut nginx = command("nginx");
    nginx.arg("-p").arg(&dir).args(["-c", "nginx.conf", "-e", "stderr"]);
    Server::start("nginx", nginx, address, dir)
}

/// A PostgreSQL cluster of its own, superuser `postgres`, no password, TLS off.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn postgres(world: &World, address: SocketAddr) -> Server {
    let dir = fresh_dir(world, "postgres", address);
    let _ = run(Command::new("chown"), &[Path::new("postgres:postgres"), &dir]);
    let programs = postgres_programs();
    let data = dir.join("data");
    let mut initdb = command_as("postgres", programs.join("initdb"));
    initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "-D"]);
    let _ = process::run(with(initdb, &[&data]), Duration::from_secs(60)).ok();
    // Connectors on hosts of their own come from other addresses than loopback.
    let access = File::options().append(true).open(data.join("pg_hba.conf"));
    let access = access.and_then(|mut file| file.write_all(b"host all all 0.0.0.0/0 trust\n"));
    access.expect("initdb has made the file");
    let mut postgres = command_as("postgres", programs.join("postgres"));
    postgres.arg("-D").arg(&data).arg("-k").arg(&dir).args(["-h", &address.ip().to_string()]);
    postgres.args(["-p", &address.port().to_string(), "-c", "fsync=off", "-c", "max_connections=60"]);
    let server = Server::start("postgres", postgres, address, dir);
    server.process.wait_log(&["ready to accept connections"]);
    server
}

/// A PostgreSQL client program (`psql`, `pgbench`) that connects to `at`.
#[must_use]
pub fn postgres_client(program: &str, at: SocketAddr) -> Command {
    let mut client = command(postgres_programs().join(program));
    client.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string(), "-U", "postgres"]);
    client.env("PGDATABASE", "postgres");
    client
}

fn postgres_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed; ./test does that");
    let mut found: Vec<PathBuf> =
        versions.flatten().map(|v| v.path().join("bin")).filter(|bin| bin.join("initdb").exists()).collect();
    found.sort();
    found.pop().expect("PostgreSQL is installed; ./test does that")
}

/// Redis, keeping nothing, for up to 12,000 clients.
#[must_use]
pub fn redis(world: &World, address: SocketAddr) -> Server {
    let dir = fresh_dir(world, "redis", address);
    let mut redis = command("redis-server");
    redis.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
    redis.args(["--save", "", "--appendonly", "no", "--maxclients", "12000", "--tcp-backlog", "4096", "--dir"]);
    Server::start("redis", with(redis, &[&dir]), address, dir)
}

/// A Redis client program that connects to `at`.
#[must_use]
pub fn redis_client(program: &str, at: SocketAddr) -> Command {
    let mut client = command(program);
    client.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string()]);
    client
}

/// Bytes of text at `big.test`, at least.
pub const BIG_TXT: usize = 12 * 200;

/// A DNS server over UDP and TCP that knows all of `.test`: every name there is 192.0.2.7, and `big.test` has much text.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn dnsmasq(world: &World, address: SocketAddr) -> Server {
    dnsmasq_knowing(world, address, &[])
}

/// The same, with addresses of their own for these names.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn dnsmasq_knowing(world: &World, address: SocketAddr, names: &[(&str, IpAddr)]) -> Server {
    let dir = fresh_dir(world, "dnsmasq", address);
    let mut dnsmasq = command("dnsmasq");
    dnsmasq.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"]);
    dnsmasq.args(["--user=root", "--pid-file=", "--log-facility=-", "--address=/test/192.0.2.7"]);
    let text = ",".to_owned() + &"t".repeat(BIG_TXT / 12);
    dnsmasq.arg(format!("--txt-record=big.test{}", text.repeat(12))).arg("--edns-packet-max=4096");
    dnsmasq.args(names.iter().map(|(name, is)| format!("--address=/{name}/{is}")));
    dnsmasq.arg(format!("--listen-address={}", address.ip())).arg(format!("--port={}", address.port()));
    Server::start("dnsmasq", dnsmasq, address, dir)
}

/// haproxy in front of `edge`, to which it speaks version 2 of the PROXY protocol from `source`.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn haproxy(world: &World, address: SocketAddr, edge: SocketAddr, source: IpAddr) -> Server {
    let dir = fresh_dir(world, "haproxy", address);
    let config = format!(
        "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 30s\n  timeout server 30s\n\
         listen front\n  bind {address}\n  server edge {edge} send-proxy-v2 source {source}\n"
    );
    fs::write(dir.join("haproxy.cfg"), config).expect("the world's directory is writable");
    let mut haproxy = command("haproxy");
    haproxy.arg("-db").arg("-f").arg(dir.join("haproxy.cfg"));
    Server::start("haproxy", haproxy, address, dir)
}

/// An iperf3 server.
#[must_use]
pub fn iperf(world: &World, address: SocketAddr) -> Server {
    let dir = fresh_dir(world, "iperf", address);
    let mut iperf = command("iperf3");
    iperf.args(["-s", "--forceflush", "-B", &address.ip().to_string(), "-p", &address.port().to_string()]);
    // A bare connect would count as a test of its own and hold the server up: its log tells when it listens.
    let process = Process::start("iperf3", iperf, &dir.join("log"));
    process.wait_log(&["Server listening"]);
    Server { process, address, dir }
}

/// Runs an iperf3 client for a second and returns the bytes the receiving side got.
///
/// # Panics
/// If it fails.
#[must_use]
pub fn iperf_received(at: SocketAddr, arguments: &[&str]) -> u64 {
    // The server hears of the end of the test before over another connection, perhaps later than of this one.
    wait::until("iperf3 to be free", wait::SOON, || {
        let mut client = command("iperf3");
        client.args(["-J", "-t", "1", "-c", &at.ip().to_string(), "-p", &at.port().to_string()]).args(arguments);
        let ran = process::run(client, Duration::from_secs(30));
        let report: serde_json::Value = serde_json::from_str(&ran.out).expect("iperf3 -J prints JSON");
        let is_busy = report["error"].as_str().is_some_and(|error| error.contains("busy"));
        (!is_busy).then(|| report["end"]["sum_received"]["bytes"].as_u64().expect("a finished test has a sum"))
    })
}

/// A server of `tests/programs`, run by Debian's Python with Debian's libraries.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn python(world: &World, program: &str, address: SocketAddr) -> Server {
    let dir = fresh_dir(world, program, address);
    let mut python = python_client(program);
    python.args([&address.ip().to_string(), &address.port().to_string()]);
    Server::start(program, python, address, dir)
}

/// A client of `tests/programs`.
#[must_use]
pub fn python_client(program: &str) -> Command {
    let mut python = command("/usr/bin/python3");
    python.arg("-u").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(format!("{program}.py")));
    python
}

fn with(mut command: Command, arguments: &[&Path]) -> Command {
    command.args(arguments);
    command
}

fn run(command: Command, arguments: &[&Path]) -> process::Ran {
    process::run(with(command, arguments), Duration::from_secs(10)).ok()
}
