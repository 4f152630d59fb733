//! The admin token: made once, kept in `state_dir/admin.token` for whoever may read that file.

use std::path::Path;

use certs::secret::Secret;

/// What a writer must present.
#[derive(Debug)]
pub struct AdminToken(Secret<String>);

/// Why the token cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("admin token: {0}")]
pub struct TokenError(#[from] certs::FileError);

impl AdminToken {
    /// The token in `state_dir/admin.token`, made (mode 0600) if there is none.
    ///
    /// # Errors
    /// [`TokenError`] if the file can be neither read nor written.
    pub fn open(state_dir: &Path) -> Result<Self, TokenError> {
        Ok(Self(Secret::kept_in(&state_dir.join("admin.token"))?))
    }

    /// Whether this is the token. Takes as long for a near miss as for a far one.
    #[must_use]
    pub fn matches(&self, presented: &str) -> bool {
        let (ours, theirs) = (self.0.expose().as_bytes(), presented.as_bytes());
        aws_lc_rs::constant_time::verify_slices_are_equal(ours, theirs).is_ok()
    }
}
