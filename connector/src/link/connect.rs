//! Dials of one slot, until one of them has become a link.

use std::{fmt, time::Instant};

use api::code::Code;
use certs::tls;
use futures_util::{StreamExt, stream::FuturesUnordered};
use protocol::{control::Hello, link::Connection};
use tokio::time;
use tracing::{debug, warn};

use super::{
    backoff::Backoff,
    hedge::{HEDGE_AFTER, Hedge},
    registered::{RegisterError, Registered, register},
    slot::Wanted,
    supervisor::Supervisor,
    trouble::{Trouble, of_refusal},
    words::gist,
};

/// Dials of one slot under way at once; and one more as its edge comes up.
const DIALS_MAX: usize = 4;

/// Why a dial has not become a link.
struct Missed {
    why: Trouble,
    /// It will not before somebody has acted.
    lasts: bool,
}

impl Missed {
    fn now(code: Code, error: &dyn fmt::Display) -> Self {
        Self { why: Trouble { code, text: error.to_string() }, lasts: false }
    }
}

impl Supervisor {
    /// Dials until there is a registered link; and where the waits between dials that failed have got to.
    ///
    /// A dial without an answer gets company after [`HEDGE_AFTER`], or after the back-off's cap if that is longer. Not so while another
    /// link to the edge is up: then the edge is there and busy, and more dials make it busier.
    pub(super) async fn connect(&self, Wanted { number, not_before, flapping }: Wanted) -> (Registered, Backoff) {
        let mut backoff = flapping.unwrap_or_else(|| Backoff::new(Instant::now()));
        let mut dials = FuturesUnordered::new();
        let mut next = time::Instant::from_std(not_before);
        let mut said = String::new();
        let mut hedge = Hedge::new(self.status.is_up(&self.edge));
        loop {
            if hedge.sees(self.status.is_up(&self.edge), Instant::now()) {
                debug!("the edge is there for others: what was dialled before may have been lost, and gets company");
                hedge.dialled(Instant::now());
                dials.push(self.dial());
            }
            let Missed { why: failure, lasts } = tokio::select! {
                Some(dialled) = dials.next() => match dialled {
                    Ok(connection) => match self.register(connection, number).await {
                        Ok(link) => return (link, backoff),
                        Err(error) => error,
                    },
                    Err(error) => error,
                },
                () = time::sleep_until(next), if dials.len() < DIALS_MAX => {
                    if dials.is_empty() || !self.status.is_up(&self.edge) {
                        hedge.dialled(Instant::now());
                        dials.push(self.dial());
                    }
                    next = time::Instant::now() + HEDGE_AFTER.max(backoff.cap(Instant::now()));
                    continue;
                }
                () = self.status.until(|| self.status.is_up(&self.edge)), if !hedge.is_edge_up() => continue,
            };
            let (now, dice) = (Instant::now(), rand::random());
            let wait = if lasts { backoff.next_refused(now, dice) } else { backoff.next(now, dice) };
            next = time::Instant::now() + wait;
            let Trouble { code, text } = &failure;
            if gist(text) == said {
                debug!(why = text, %code, "no link yet");
            } else {
                warn!(why = text, %code, "no link yet: trying again");
                said = gist(text);
            }
            self.status.set_failure(&self.edge, self.slot, failure);
        }
    }

    async fn dial(&self) -> Result<Connection, Missed> {
        self.renewal.ensure_valid(&self.dialler, &self.edge).await.map_err(|e| Missed::now(e.code(), &e))?;
        let crypto = tls::link_client(&self.renewal.identity()).map_err(|e| Missed::now(Code::HandshakeFailed, &e))?;
        self.dialler.dial(&self.edge, crypto).await.map_err(|e| Missed::now(e.code(), &e))
    }

    async fn register(&self, connection: Connection, number: u16) -> Result<Registered, Missed> {
        let claims = self.claims.borrow().clone();
        let hello = Hello {
            version_min: 0,
            version_max: 0,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            run: self.run,
            slot: number,
            links: 0,
            routes: Vec::new(),
        };
        register(connection, hello, claims).await.map_err(|error| match &error {
            RegisterError::Refused(refusal) => {
                self.renewal.heard(refusal);
                let why = Trouble { code: of_refusal(refusal), text: error.to_string() };
                Missed { why, lasts: refusal.code().is_lasting() }
            }
            RegisterError::Wire(_) | RegisterError::TimedOut => Missed::now(Code::HandshakeFailed, &error),
        })
    }
}
