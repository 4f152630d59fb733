//! One thing that a client did, and what became of it. Times count from the beginning of the run.

use std::{fmt, time::Duration};

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// GET on a connection that is kept.
    GetKept,
    /// GET on a connection of its own.
    GetNew,
    /// POST, which must not be delivered twice.
    Post,
    /// One block through a long TCP transfer and back.
    Block,
    /// A run of PostgreSQL transactions.
    Transactions,
    /// A DNS question over UDP, asked again as resolvers do.
    Dns,
}

impl Kind {
    /// Whether it may be done twice, and so has to succeed as long as there is any path.
    #[must_use]
    pub(crate) fn is_idempotent(self) -> bool {
        match self {
            Self::GetKept | Self::GetNew | Self::Dns => true,
            Self::Post | Self::Block | Self::Transactions => false,
        }
    }

    /// Its word in messages.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::GetKept => "GET on a kept connection",
            Self::GetNew => "GET on a new connection",
            Self::Post => "POST",
            Self::Block => "block of a long transfer",
            Self::Transactions => "run of transactions",
            Self::Dns => "DNS question",
        }
    }
}

/// Which private network it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Site {
    /// The one that things happen to.
    A,
    /// Its neighbour with the very same addresses.
    B,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With the right answer.
    Served,
    /// Without an answer, or with one that says so.
    Failed(String),
    /// With an answer that is not the one to this question.
    Wrong(String),
}

/// One request, block, run or question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    /// What it was.
    pub(crate) kind: Kind,
    /// The edge it went to, by index.
    pub(crate) edge: usize,
    /// The network behind.
    pub(crate) site: Site,
    /// When it began.
    pub(crate) began: Duration,
    /// When it was over.
    pub(crate) ended: Duration,
    /// How.
    pub(crate) outcome: Outcome,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, edge, site, began, ended, outcome } = self;
        let took = ended.saturating_sub(*began);
        write!(f, "{} to site {site:?} by edge-{} at {began:.3?}, {took:.3?}: {outcome:?}", kind.word(), edge + 1)
    }
}
