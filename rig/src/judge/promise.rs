//! The promises, by name.

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Nothing that was answered is wrong.
    Right,
    /// Nothing is delivered twice.
    Once,
    /// What may be done twice fails only if every path was gone.
    Served,
    /// Whatever nothing excuses is answered in time.
    Prompt,
    /// A dead path is out of rotation in time.
    Left,
    /// What is cut is told so in time.
    Told,
    /// Memory stays below its bound.
    Memory,
    /// Nothing needs a human or a restart.
    Alone,
    /// It is all as before in time.
    Recovered,
}

impl Promise {
    /// All of them, in the order of `docs/reliability.md`; what is answered promptly is held to that by the drill alone.
    pub const ALL: [Self; 9] = [
        Self::Right,
        Self::Once,
        Self::Served,
        Self::Prompt,
        Self::Left,
        Self::Told,
        Self::Memory,
        Self::Alone,
        Self::Recovered,
    ];

    /// Its word in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Once => "once",
            Self::Served => "served",
            Self::Prompt => "prompt",
            Self::Left => "left",
            Self::Told => "told",
            Self::Memory => "memory",
            Self::Alone => "alone",
            Self::Recovered => "recovered",
        }
    }
}
