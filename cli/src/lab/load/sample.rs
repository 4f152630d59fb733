//! What a client saw, as data: one sample a request, connection or block.

use std::{fmt, time::Duration};

use crate::lab::plan::Service;

/// How a client was at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lab) enum Kind {
    /// The first exchange of a connection, its opening included.
    New,
    /// A further request on a connection or UDP session that is kept.
    Kept,
    /// A block through a long flow.
    Block,
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab) struct Placed {
    pub(in crate::lab) origin: String,
    /// The connector replica that carried it.
    pub(in crate::lab) via: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab) enum Outcome {
    /// The right bytes came.
    Served,
    /// No answer: refused, reset, ended early, silent, or an HTTP error. What the client was told.
    Failed(String),
    /// An answer that must not be: another VNet's, another origin's, or changed bytes.
    Wrong(String),
}

/// One exchange. Times count from the beginning of the load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab) struct Sample {
    /// Index of the edge it went through.
    pub(in crate::lab) edge: usize,
    pub(in crate::lab) service: &'static Service,
    pub(in crate::lab) kind: Kind,
    /// Tells connections apart.
    pub(in crate::lab) connection: u64,
    /// When its connection was opened.
    pub(in crate::lab) opened: Duration,
    pub(in crate::lab) began: Duration,
    pub(in crate::lab) ended: Duration,
    /// Absent: nobody had answered on this connection.
    pub(in crate::lab) placed: Option<Placed>,
    pub(in crate::lab) outcome: Outcome,
    /// How often it was asked again: UDP promises no payload.
    pub(in crate::lab) repeats: u32,
    /// How much of its time its client was not let run.
    pub(in crate::lab) stalled: Duration,
}

impl Sample {
    /// How long it took, while its client was let run.
    pub(in crate::lab) fn took(&self) -> Duration {
        self.ended.saturating_sub(self.began).saturating_sub(self.stalled)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::New => "new connection",
            Kind::Kept => "kept connection",
            Kind::Block => "long flow",
        };
        let (edge, took) = (self.edge + 1, self.took().as_millis());
        write!(f, "{} at edge-{edge}, {kind}", self.service.name)?;
        if let Some(Placed { origin, via }) = &self.placed {
            write!(f, ", {origin} via {via}")?;
        }
        let (opened, began) = (self.opened.as_secs_f64(), self.began.as_secs_f64());
        write!(f, ", opened at {opened:.3} s, began at {began:.3} s, took {took} ms: ")?;
        match &self.outcome {
            Outcome::Served => f.write_str("served"),
            Outcome::Failed(why) => write!(f, "{why}"),
            Outcome::Wrong(what) => write!(f, "wrong: {what}"),
        }
    }
}
