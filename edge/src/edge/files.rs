//! The files that an edge's settings name, read as it would read them, without starting anything.

use std::{path::Path, time::SystemTime};

use certs::{ca::Ca, secret::Secret};

use crate::{
    listener::{Certificate, Term},
    model::Config,
    offramp::TlsTable,
};

/// What is to be said of them.
#[derive(Debug, Default)]
pub struct Findings {
    /// With these the edge would not start.
    pub wrong: Vec<String>,
    /// With these it would, and somebody may have to act.
    pub warnings: Vec<String>,
}

impl Findings {
    /// Reads all that the settings name.
    #[must_use]
    pub fn of(config: &Config, now: SystemTime) -> Self {
        let mut findings = Self::default();
        for listener in &config.catalog.listeners {
            for files in &listener.http.certificates {
                findings.note(&format!("listener {}", listener.name), Certificate::read(files), now);
            }
        }
        if let Err(error) = TlsTable::default().read(&config.catalog) {
            findings.wrong.push(error.to_string());
        }
        if let Some(ca) = &config.ca
            && let Err(error) = Ca::from_files(&ca.certificate, &ca.key, now)
        {
            findings.wrong.push(error.to_string());
        }
        if let Some(file) = &config.affinity_key {
            findings.secret("affinity_key", file);
        }
        findings
    }

    fn note(&mut self, whose: &str, read: std::io::Result<Certificate>, now: SystemTime) {
        match read {
            Err(error) => self.wrong.push(format!("{whose}: {error}")),
            Ok(certificate) => match certificate.term(now) {
                Term::Good => {}
                term @ (Term::EndsSoon(_) | Term::Ended(_) | Term::NotBegun(_)) => {
                    let file = certificate.file().display();
                    self.warnings.push(format!("{whose}: {file}: this certificate {term}"));
                }
            },
        }
    }

    fn secret(&mut self, whose: &str, file: &Path) {
        if let Err(error) = Secret::in_file(file) {
            self.wrong.push(format!("{whose}: {error}"));
        }
    }
}
