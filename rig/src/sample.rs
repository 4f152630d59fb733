//! One thing that a client did, and what became of it. Times count from the beginning of the run.

use std::{fmt, io, ops::Range, time::Duration};

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// GET on a connection of its own.
    GetNew,
    /// GET on a connection that is kept.
    GetKept,
    /// POST, which must not be delivered twice.
    Post,
    /// A TCP connection, with the first exchange over it.
    Connect,
    /// One block through a long TCP flow and back.
    Block,
    /// A run of PostgreSQL transactions.
    Transactions,
    /// A DNS question over UDP, asked again as resolvers do.
    Question,
}

/// What it is done over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP.
    Http,
    /// Plain TCP, whatever is spoken over it.
    Tcp,
    /// UDP.
    Udp,
}

impl Kind {
    /// Whether it may be done twice, and so has to succeed as long as there is any path.
    #[must_use]
    pub fn may_be_done_twice(self) -> bool {
        match self {
            Self::GetNew | Self::GetKept | Self::Question => true,
            Self::Post | Self::Connect | Self::Block | Self::Transactions => false,
        }
    }

    /// What it is done over.
    #[must_use]
    pub fn protocol(self) -> Protocol {
        match self {
            Self::GetNew | Self::GetKept | Self::Post => Protocol::Http,
            Self::Connect | Self::Block | Self::Transactions => Protocol::Tcp,
            Self::Question => Protocol::Udp,
        }
    }

    /// Its word in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::GetNew => "GET on a new connection",
            Self::GetKept => "GET on a kept connection",
            Self::Post => "POST",
            Self::Connect => "TCP connection",
            Self::Block => "block of a long flow",
            Self::Transactions => "run of transactions",
            Self::Question => "DNS question",
        }
    }
}

/// The private network that something goes to, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(pub &'static str);

/// The connection, or UDP session, that something went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Tells it from every other.
    pub number: u64,
    /// When it was begun to be opened.
    pub opened: Duration,
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The origin.
    pub origin: String,
    /// The connector replica that carried it.
    pub via: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The right answer.
    Served,
    /// No answer, or one that says so: what the client was told.
    Failed(String),
    /// An answer that must not be: another network's, another question's, or changed bytes.
    Wrong(String),
}

/// Why something was not served.
#[derive(Debug)]
pub enum Trouble {
    /// The kernel told so.
    Told(io::Error),
    /// No answer, or one that says so.
    Failed(String),
    /// An answer that must not be.
    Wrong(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Told(error)
    }
}

impl From<Trouble> for Outcome {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Told(error) => Self::Failed(error.to_string()),
            Trouble::Failed(why) => Self::Failed(why),
            Trouble::Wrong(what) => Self::Wrong(what),
        }
    }
}

/// One request, connection, block, run or question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What it was.
    pub kind: Kind,
    /// The edge it went to, by index.
    pub edge: usize,
    /// The network behind.
    pub network: Network,
    /// What it went over.
    pub connection: Connection,
    /// When it began.
    pub began: Duration,
    /// When it was over.
    pub ended: Duration,
    /// Who answered on that connection; absent: nobody had, or none is told apart, so it may have been any of its network.
    pub placed: Option<Placed>,
    /// How it ended.
    pub outcome: Outcome,
    /// How often it was asked again: UDP promises no payload.
    pub repeats: u32,
}

impl Sample {
    /// From its beginning to its end.
    #[must_use]
    pub fn span(&self) -> Range<Duration> {
        self.began..self.ended
    }

    /// Whether its connection was opened for it.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.connection.opened == self.began
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, edge, network, connection, began, ended, .. } = self;
        write!(f, "{} to {} by edge-{}", kind.word(), network.0, edge + 1)?;
        if let Some(Placed { origin, via }) = &self.placed {
            write!(f, ", {origin} via {via}")?;
        }
        if !self.is_first() {
            write!(f, ", opened at {:.3?}", connection.opened)?;
        }
        let took = ended.saturating_sub(*began);
        write!(f, ", at {began:.3?}, {took:.3?}: {:?}", self.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_says_what_was_done_and_who_answered() {
        let ms = Duration::from_millis;
        let first = Sample {
            kind: Kind::Connect,
            edge: 0,
            network: Network("red"),
            connection: Connection { number: 1, opened: ms(1_500) },
            began: ms(1_500),
            ended: ms(1_900),
            placed: None,
            outcome: Outcome::Failed("reset".to_owned()),
            repeats: 0,
        };
        assert_eq!(first.to_string(), "TCP connection to red by edge-1, at 1.500s, 400.000ms: Failed(\"reset\")");
        let placed = Some(Placed { origin: "red-1".to_owned(), via: "connector-2".to_owned() });
        let later = Sample { kind: Kind::Block, began: ms(1_800), placed, outcome: Outcome::Served, ..first };
        let said = "block of a long flow to red by edge-1, red-1 via connector-2, opened at 1.500s, at 1.800s, 100.000ms: Served";
        assert_eq!(later.to_string(), said);
    }
}
