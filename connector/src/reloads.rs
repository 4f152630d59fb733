//! What came of the last reload, for status.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// How a reload ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// When.
    pub at: SystemTime,
    /// What is wrong with the settings; if anything is, those before stay in force.
    pub mistakes: Vec<String>,
    /// Keys that changed and count only with a restart.
    pub restart: Vec<&'static str>,
}

/// The last outcome, if there was a reload.
#[derive(Debug, Default)]
pub struct Reloads(Mutex<Option<Arc<Outcome>>>);

impl Reloads {
    /// One more has ended.
    pub fn note(&self, outcome: Outcome) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(outcome));
    }

    /// The last.
    #[must_use]
    pub fn last(&self) -> Option<Arc<Outcome>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
