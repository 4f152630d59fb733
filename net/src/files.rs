//! The limit of open files, and the part of it that public traffic may not use: an operator who needs the process most when
//! it has run out must still be let in, and its own files must still open.
//!
//! The kernel gives the lowest free number, so a number within the reserve means that every other is taken.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::process::{Resource, getrlimit};

/// The reserve: this share of the limit, within these bounds.
const SHARE: u64 = 16;
const FEWEST: u64 = 16;
const MOST: u64 = 256;
/// The system's error for a process that has run out of files (EMFILE).
const NONE_LEFT: i32 = 24;

/// Fails, as the system does, if this file of public traffic is one of the reserve.
///
/// # Errors
/// "Too many open files".
pub(crate) fn unless_reserved(file: BorrowedFd<'_>) -> std::io::Result<()> {
    if is_reserved(file) { Err(std::io::Error::from_raw_os_error(NONE_LEFT)) } else { Ok(()) }
}

/// Whether a file is one of the reserve, by the limit of this moment.
pub(crate) fn is_reserved(file: BorrowedFd<'_>) -> bool {
    let limit = getrlimit(Resource::Nofile).current;
    let number = u64::try_from(file.as_raw_fd()).unwrap_or(0);
    limit.is_some_and(|limit| number >= limit - reserve(limit))
}

fn reserve(limit: u64) -> u64 {
    (limit / SHARE).clamp(FEWEST, MOST).min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_part_of_the_limit() {
        for (limit, reserved) in [(0, 0), (10, 10), (64, 16), (1024, 64), (4096, 256), (1 << 20, 256)] {
            assert_eq!(reserve(limit), reserved, "{limit}");
        }
    }
}
