//! PostgreSQL transactions by pgbench, run after run.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rig::{
    load::Client,
    sample::{Kind, Trouble},
};
use underpass_tests::harness::{origin::servers, process};

use super::To;

/// Transactions of a run, by each of two clients.
const TRANSACTIONS: u32 = 20;
/// Longest time a run may take before it counts as failed.
const LIMIT: u32 = 20;

/// Transactions that pgbench was told were committed.
static COMMITTED: AtomicU64 = AtomicU64::new(0);

/// How many transactions this program's clients know to be committed.
#[must_use]
pub(crate) fn committed() -> u64 {
    COMMITTED.load(Ordering::SeqCst)
}

/// Run after run, at so many transactions a second.
pub(super) fn run(client: &Client, to: To, rate: u32) {
    client.pace(Duration::from_millis(100), || {
        // A run is many transactions in a row.
        if client.is_light() {
            client.rest();
        } else {
            client.record(&mut None, Kind::Transactions, |_| transact(to.at, rate));
        }
    });
}

fn transact(at: SocketAddr, rate: u32) -> Result<(), Trouble> {
    let mut timeout = process::command("timeout");
    timeout.args(["--signal=KILL", &LIMIT.to_string()]);
    let pgbench = servers::postgres_client("pgbench", at);
    timeout.arg(pgbench.get_program()).args(pgbench.get_args());
    timeout.env("PGDATABASE", "postgres").env("PGCONNECT_TIMEOUT", "10");
    timeout.args(["-n", "-N", "-c", "2", "-j", "1", "-t", &TRANSACTIONS.to_string(), "-R", &rate.to_string()]);
    let ran = process::run(timeout, Duration::from_secs(u64::from(LIMIT) + 10));
    COMMITTED.fetch_add(processed(&ran.out), Ordering::SeqCst);
    if ran.code == 0 {
        return Ok(());
    }
    Err(Trouble::Failed(ran.err.lines().last().unwrap_or("pgbench was cut off").to_owned()))
}

/// The number in pgbench's line "number of transactions actually processed: N/M".
fn processed(out: &str) -> u64 {
    let line = out.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
    let number = line.map(|line| line.split('/').next().unwrap_or_default());
    number.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}
