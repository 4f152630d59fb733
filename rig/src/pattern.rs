//! Bytes that are like no others, and easy to tell again.

use std::io::{self, Write};

/// An endless sequence of bytes that tells a lost, doubled or swapped block.
#[derive(Debug, Clone)]
pub struct Pattern(u64);

impl Pattern {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number of the sequence (xorshift64*).
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// The next `len` bytes. Take multiples of 8 to go on without a gap.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 7);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Writes `len` bytes.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write_to(&mut self, mut to: impl Write, len: usize) -> io::Result<()> {
        let mut left = len;
        while left > 0 {
            let chunk = self.bytes(left.min(64 * 1024));
            to.write_all(&chunk)?;
            left -= chunk.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_its_seeds_however_it_is_taken() -> io::Result<()> {
        let mut whole = Vec::new();
        Pattern::new(7).write_to(&mut whole, 100_000)?;
        let mut pattern = Pattern::new(7);
        assert_eq!([pattern.bytes(4_096), pattern.bytes(95_904)].concat(), whole);
        assert_ne!(Pattern::new(8).bytes(4_096), whole[..4_096]);
        assert_ne!(whole[..4_096], whole[4_096..8_192], "no block is like the one before");
        Ok(())
    }
}
