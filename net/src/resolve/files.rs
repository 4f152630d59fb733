//! The host's resolver settings and hosts file, as they are now.
//!
//! Reading them blocks, briefly.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver, config::ResolveHosts, net::runtime::TokioRuntimeProvider, system_conf::parse_resolv_conf,
};

use super::Servers;

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// How often it is looked whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A longer file is not read to its end.
const FILE_MAX: u64 = 4 * 1024 * 1024;
/// How long it is believed that a name does not exist: it may be about to.
const DENIED_FOR: Duration = Duration::from_secs(5);

/// Both files, and what they say.
pub(super) struct Files {
    settings: Kept,
    hosts: Kept,
    servers: Result<Servers, String>,
    changes: u64,
    table: HashMap<String, Vec<IpAddr>>,
    looked_at: Option<Instant>,
}

/// One file, as it was read last.
struct Kept {
    path: PathBuf,
    stamp: Option<Stamp>,
    bytes: Result<Vec<u8>, String>,
}

/// What tells a changed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    modified: (i64, i64),
    length: u64,
}

impl Files {
    pub(super) fn new(settings: &Path, hosts: &Path) -> Self {
        let unread = || Err("not read yet".to_owned());
        let kept = |path: &Path| Kept { path: path.to_owned(), stamp: None, bytes: unread() };
        Self {
            settings: kept(settings),
            hosts: kept(hosts),
            servers: Err(String::new()),
            changes: 0,
            table: HashMap::new(),
            looked_at: None,
        }
    }

    /// Whether it is time to look. Whoever is told so looks; meanwhile nobody else is.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.looked_at.is_none_or(|at| now >= at + LOOK_EVERY);
        if due && self.looked_at.is_some() {
            self.looked_at = Some(now);
        }
        due
    }

    /// Something failed: the files are looked at before the next question, even if they seem the same.
    pub(super) fn doubt(&mut self) {
        (self.settings.stamp, self.hosts.stamp, self.looked_at) = (None, None, None);
    }

    /// Reads what has changed.
    pub(super) fn look(&mut self) {
        if self.settings.has_changed() {
            self.changes += 1;
            self.servers = servers(&self.settings, self.changes);
        }
        if self.hosts.has_changed() {
            let text = self.hosts.bytes.as_deref().unwrap_or_default();
            self.table = table(&String::from_utf8_lossy(text));
        }
        self.looked_at = Some(Instant::now());
    }

    /// The addresses that need no server: those that the hosts file has for a name, and loopback for `localhost`, whatever the
    /// file leaves out (RFC 6761 section 6.3).
    pub(super) fn host(&self, name: &str) -> Option<Vec<IpAddr>> {
        let name = key(name);
        let mut found = self.table.get(&name).cloned().unwrap_or_default();
        if name == "localhost" || name.ends_with(".localhost") {
            let missing = LOOPBACK.into_iter().filter(|ip| !found.contains(ip)).collect::<Vec<_>>();
            found.extend(missing);
        }
        (!found.is_empty()).then_some(found)
    }

    pub(super) fn servers(&self) -> Result<Servers, String> {
        self.servers.clone()
    }
}

impl Kept {
    /// Reads it if it is not the one that was read; says whether it says something else now.
    fn has_changed(&mut self) -> bool {
        let stamp = Stamp::of(&self.path);
        if stamp.is_some() && stamp == self.stamp {
            return false;
        }
        let bytes = read(&self.path).map_err(|error| format!("cannot read {}: {error}", self.path.display()));
        // The stamp was taken before the read: a write in between is read next time.
        self.stamp = stamp;
        let changed = bytes != self.bytes;
        self.bytes = bytes;
        changed
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = path.metadata().ok()?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        Some(Self { file: (meta.dev(), meta.ino()), modified, length: meta.len() })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn servers(settings: &Kept, number: u64) -> Result<Servers, String> {
    let path = settings.path.display();
    let unusable = |why: String| format!("the resolver settings in {path} cannot be used: {why}");
    let bytes = settings.bytes.as_ref().map_err(Clone::clone)?;
    let (config, mut options) = parse_resolv_conf(bytes).map_err(|e| unusable(e.to_string()))?;
    options.use_hosts_file = ResolveHosts::Never;
    options.negative_max_ttl = Some(DENIED_FOR);
    let named: Vec<String> = config.name_servers().iter().map(|server| server.ip.to_string()).collect();
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    let resolver = builder.build().map_err(|e| unusable(e.to_string()))?;
    let named = format!("name server {}", named.join(" or "));
    Ok(Servers { resolver: Arc::new(resolver), named, settings: number })
}

/// What a hosts file says (`man 5 hosts`): an address, then names; several lines may name one.
fn table(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut table: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        // Zones (fe80::1%eth0) are no addresses that could be dialled.
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        for name in words {
            let addresses = table.entry(key(name)).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    table
}

/// Letter case and the dot of the root do not matter.
fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_loopback_whatever_the_file_says() {
        let mut files = Files::new(Path::new("none"), Path::new("none"));
        files.table = table("127.0.0.1 localhost\n");
        assert_eq!(files.host("LocalHost."), Some(LOOPBACK.to_vec()));
        assert_eq!(files.host("a.localhost"), Some(LOOPBACK.to_vec()));
        assert_eq!(files.host("nolocalhost"), None);
    }

    #[test]
    fn a_hosts_file_is_read_as_everybody_reads_it() {
        let text = "# names\n127.0.0.1 localhost\n192.0.2.7\tedge.example.com Edge # ours\n\
                    2001:db8::7 edge\n192.0.2.7 edge\nfe80::1%eth0 zone\nnonsense here\n192.0.2.9\n";
        let table = table(text);
        let found = |name: &str| table.get(&key(name)).cloned().unwrap_or_default();
        let addresses =
            |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|t| t.parse().expect("an address")).collect() };
        assert_eq!(found("EDGE.example.com."), addresses(&["192.0.2.7"]));
        assert_eq!(found("edge"), addresses(&["192.0.2.7", "2001:db8::7"]));
        assert_eq!(table.len(), 3, "{table:?}");
    }
}
