//! How live traffic tells the board how it fared.

use protocol::error::Reason;
use tokio::sync::mpsc;

use super::key::PathKey;

/// How live traffic fared on a path.
#[derive(Debug, Clone)]
pub struct Report {
    /// The path.
    pub path: PathKey,
    /// Whether the origin accepted.
    pub connect: Result<(), Reason>,
}

/// Where live traffic reports to. Never waits: a report that finds the inbox full is dropped, since many like it are there.
#[derive(Debug, Clone)]
pub struct Reports(pub(super) mpsc::Sender<Report>);

impl Reports {
    /// Tells how a connect went.
    pub fn tell(&self, report: Report) {
        // Full: the board will see enough others to decide. Closed: the edge is ending.
        let _ = self.0.try_send(report);
    }
}
