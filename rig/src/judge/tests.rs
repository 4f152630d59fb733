//! Both ways to be judged: by parts that are known, as the drill knows them, and by times, as the faults do.

mod parts;
mod times;

use super::*;
use crate::sample::{Connection, Network, Placed};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn placed(origin: &str, via: &str) -> Option<Placed> {
    Some(Placed { origin: origin.to_owned(), via: via.to_owned() })
}

/// Opened for itself.
fn opened(at: u64) -> Connection {
    Connection { number: 1, opened: ms(at) }
}
