//! Names, resolved with the host's own settings and hosts file. Both are read again when they change, and after a failure.
//!
//! A name in the hosts file never waits for a name server. One that has been resolved before is not lost when the servers
//! fall silent: its last good addresses are used until they answer again.

mod files;
mod known;

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    net::{DnsError, NetError},
};
use tokio::{sync::watch, task, time};
use tracing::{info, warn};

use self::{
    files::Files,
    known::{Known, Plan},
};

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// How long name servers are waited for if the caller has no limit of its own.
pub const RESOLVE_WAIT: Duration = Duration::from_secs(5);
/// How long names may take of a dial that may take this long: what is slower is told as what it is, and leaves nothing to dial in.
#[must_use]
pub fn share(wait: Duration) -> Duration {
    wait.mul_f64(0.75)
}

/// How long they are waited for if there are last good addresses.
const HURRY: Duration = Duration::from_millis(500);
/// A question that nobody waits for any more is given up then; until then its answer is still welcome.
const LOOKUP_WAIT: Duration = Duration::from_secs(15);

/// A caching resolver.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    files: Mutex<Files>,
    known: Mutex<Known>,
    /// Questions under way: one for a name.
    asked: Mutex<HashMap<Asked, Answer>>,
}

/// A name, and which settings it was asked under: what was asked of servers that are not in them any more is no answer.
type Asked = (String, u64);

type Answer = watch::Receiver<Option<Result<Vec<IpAddr>, Failed>>>;

/// How a question failed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failed {
    /// There is no such name, or it has no address: who says so knows.
    Denied(String),
    /// Nobody could tell.
    Unknown(String),
}

/// The servers that answer, and how people name them.
#[derive(Clone)]
struct Servers {
    resolver: Arc<TokioResolver>,
    named: String,
    /// Another number each time the settings change.
    settings: u64,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// A resolver with the system's settings. While those cannot be read, addresses and the hosts file still work and names
    /// fail with the reason.
    #[must_use]
    pub fn system() -> Self {
        Self::reading(Path::new("/etc/resolv.conf"), Path::new("/etc/hosts"))
    }

    fn reading(settings: &Path, hosts: &Path) -> Self {
        Self(Arc::new(Inner {
            files: Mutex::new(Files::new(settings, hosts)),
            known: Mutex::default(),
            asked: Mutex::default(),
        }))
    }

    /// The addresses of a name, in the order they should be tried.
    ///
    /// # Errors
    /// Words for the operator.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        self.resolve_within(name, RESOLVE_WAIT).await
    }

    /// The same, in this time.
    ///
    /// # Errors
    /// Words for the operator.
    pub async fn resolve_within(&self, name: &str, wait: Duration) -> Result<Vec<IpAddr>, String> {
        self.look().await;
        if let Some(found) = self.files().host(name) {
            return Ok(found.into_iter().take(ADDRESSES_MAX).collect());
        }
        let plan = lock(&self.0.known).plan(name, Instant::now());
        let (wait, last_good) = match plan {
            Plan::Use(addresses) => return Ok(addresses),
            Plan::Ask(None) => (wait, None),
            Plan::Ask(Some(last_good)) => (wait.min(HURRY), Some(last_good)),
        };
        let servers = self.files().servers();
        let asked = match servers {
            Ok(servers) => self.ask(name, servers, wait).await,
            Err(why) => Err(Failed::Unknown(why)),
        };
        match (asked, last_good) {
            (Ok(found), _) => Ok(found),
            (Err(Failed::Unknown(why)), Some(last_good)) => {
                self.failed(name, &why);
                Ok(last_good)
            }
            (Err(Failed::Unknown(why) | Failed::Denied(why)), _) => {
                self.files().doubt();
                Err(format!("cannot resolve {name}: {why}"))
            }
        }
    }

    /// Takes addresses that were good before, as the last that are known.
    pub fn remember(&self, name: &str, addresses: Vec<IpAddr>) {
        lock(&self.0.known).remember(name, addresses, Instant::now());
    }

    /// Looks whether the files have changed, where blocking harms no flow.
    async fn look(&self) {
        if !self.files().is_due(Instant::now()) {
            return;
        }
        let this = self.clone();
        // It fails only if the process ends.
        let _ = task::spawn_blocking(move || this.files().look()).await;
    }

    /// Asks, or waits for the answer to whoever asks already.
    async fn ask(&self, name: &str, servers: Servers, wait: Duration) -> Result<Vec<IpAddr>, Failed> {
        let named = servers.named.clone();
        let mut answer = self.begin(name, servers);
        let late = || Failed::Unknown(format!("no answer from {named} within {} ms", wait.as_millis()));
        match time::timeout(wait, answer.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or_else(|| Err(late())),
            Ok(Err(_)) => Err(Failed::Unknown("the question was given up".to_owned())),
            Err(_) => Err(late()),
        }
    }

    fn begin(&self, name: &str, servers: Servers) -> Answer {
        let key = (name.to_owned(), servers.settings);
        let mut asked = lock(&self.0.asked);
        if let Some(answer) = asked.get(&key) {
            return answer.clone();
        }
        let (told, answer) = watch::channel(None);
        asked.insert(key.clone(), answer.clone());
        let question = Question { resolver: self.clone(), key };
        tokio::spawn(async move {
            let looked_up = lookup(&question.key.0, &servers).await;
            question.resolver.learn(&question.key.0, &looked_up);
            drop(question);
            // Nobody may wait any more.
            let _ = told.send(Some(looked_up));
        });
        answer
    }

    fn learn(&self, name: &str, looked_up: &Result<Vec<IpAddr>, Failed>) {
        match looked_up {
            Ok(found) => {
                if lock(&self.0.known).found(name, found.clone(), Instant::now()) {
                    info!(name, "the name is resolved again");
                }
            }
            Err(Failed::Denied(_)) => lock(&self.0.known).denied(name),
            Err(Failed::Unknown(why)) => self.failed(name, why),
        }
    }

    fn failed(&self, name: &str, why: &str) {
        self.files().doubt();
        if lock(&self.0.known).failed(name, Instant::now()) {
            warn!(name, why, "a name cannot be resolved now: its last good addresses are used");
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        lock(&self.0.files)
    }
}

/// A question under way; when it ends, however it ends, the next may be asked.
struct Question {
    resolver: Resolver,
    key: Asked,
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.resolver.0.asked).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is held is whole between any two steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn lookup(name: &str, Servers { resolver, named, .. }: &Servers) -> Result<Vec<IpAddr>, Failed> {
    match time::timeout(LOOKUP_WAIT, resolver.lookup_ip(name)).await {
        Ok(Ok(found)) => Ok(found.iter().take(ADDRESSES_MAX).collect()),
        Ok(Err(error)) => Err(explain(&error, named)),
        Err(_) => Err(Failed::Unknown(format!("no answer from {named} within {} s", LOOKUP_WAIT.as_secs()))),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's errors are many and their number depends on features"
)]
fn explain(error: &NetError, named: &str) -> Failed {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) => Failed::Denied(format!("{named} knows no address of this name")),
        NetError::Dns(DnsError::ResponseCode(code)) => Failed::Unknown(format!("{named} answered: {code}")),
        NetError::Timeout | NetError::NoConnections => Failed::Unknown(format!("no answer from {named}")),
        other => Failed::Unknown(format!("asking {named}: {other}")),
    }
}

#[cfg(test)]
mod tests;
