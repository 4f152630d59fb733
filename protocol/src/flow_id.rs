//! What a flow is called: in the access log, in its explanation, at the connector, and where a trace of it goes on.

use std::{fmt, str::FromStr};

use rand::{Rng, RngExt};

/// The number of a flow: 128 random bits, never 0, spelt as 32 hexadecimal digits. Of an HTTP request it is the id of its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowId(u128);

/// Digits of an id.
const DIGITS: usize = 32;
/// Bytes of an id.
pub(crate) const LENGTH: usize = 16;

impl FlowId {
    /// One that nobody has had, most likely.
    #[must_use]
    pub fn draw(dice: &mut impl Rng) -> Self {
        // W3C's traces have no 0, and one in 2^128 is not worth another throw.
        Self(dice.random::<u128>().max(1))
    }

    /// As it crosses, the first digit first; none for 0.
    pub(crate) fn read(bytes: [u8; LENGTH]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes))).filter(|id| id.0 != 0)
    }

    /// As it crosses.
    pub(crate) fn bytes(self) -> [u8; LENGTH] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for FlowId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RIGHT: &str = "a flow's id is 32 hexadecimal digits in small letters, as in its line of the access log";
        let is_digits = text.len() == DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(text, 16).ok().filter(|number| is_digits && *number != 0);
        number.map(Self).ok_or(RIGHT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_spelt() {
        let id = FlowId::draw(&mut rand::rng());
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(FlowId(0xa).to_string(), "0000000000000000000000000000000a");
        for wrong in [
            "",
            "a",
            "00000000000000000000000000000000",
            "0000000000000000000000000000000A",
            "+000000000000000000000000000000a",
        ] {
            assert!(wrong.parse::<FlowId>().is_err(), "{wrong}");
        }
    }
}
