//! Keys of an edge's QUIC endpoint, kept over restarts: with them a restarted edge answers packets of its old links with a
//! stateless reset (RFC 9000 section 10.3), so that the links die at once instead of by silence.

use std::path::Path;

use crate::{
    FileError, files,
    secret::{Secret, random},
};

const RESET_LENGTH: usize = 64;
const FILE_LENGTH: usize = RESET_LENGTH + 8;

/// The keys.
#[derive(Debug)]
pub struct EndpointKeys {
    /// Makes stateless reset tokens.
    pub reset: Secret<[u8; RESET_LENGTH]>,
    /// Marks connection IDs as this endpoint's.
    pub connection_id: Secret<u64>,
}

impl EndpointKeys {
    /// The keys in `state_dir/endpoint.keys`, made if there are none or they cannot be told from rubbish.
    ///
    /// # Errors
    /// If the file can be neither read nor written.
    pub fn open(state_dir: &Path) -> Result<Self, FileError> {
        files::make_private_dir(state_dir)?;
        let path = state_dir.join("endpoint.keys");
        let kept =
            files::read_secret_if_there(&path, FILE_LENGTH as u64)?.and_then(|b| <[u8; FILE_LENGTH]>::try_from(b).ok());
        let bytes = match kept {
            Some(bytes) => bytes,
            None => {
                let fresh = random::<FILE_LENGTH>();
                files::write(&path, &fresh)?;
                fresh
            }
        };
        let (reset, connection_id) = bytes.split_first_chunk().expect("72 bytes are 64 and 8");
        let connection_id = connection_id.try_into().expect("8 bytes are left");
        Ok(Self { reset: Secret::new(*reset), connection_id: Secret::new(u64::from_be_bytes(connection_id)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_outlive_a_restart_and_stay_out_of_logs() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = EndpointKeys::open(dir.path()).expect("fresh keys");
        let second = EndpointKeys::open(dir.path()).expect("the same keys");
        assert_eq!(first.reset.expose(), second.reset.expose());
        assert_eq!(first.connection_id.expose(), second.connection_id.expose());
        assert!(!format!("{first:?}").contains(|c: char| c.is_ascii_digit()), "{first:?}");
    }
}
