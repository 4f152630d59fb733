//! The files that an edge's settings name, read as it would read them, without starting anything.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use certs::{ca::Ca, secret::Secret};
use config::{Mistake, Spec, beside};

use crate::{
    model::{CaFiles, CertificateFiles, Config},
    tls::{Certificate, ClientTlsTable, ServerTls, Term},
};

/// What is to be said of them.
#[derive(Debug, Default)]
pub struct Findings {
    /// With these the edge would not start.
    pub wrong: Vec<Finding>,
    /// With these it would, and somebody may have to act.
    pub warnings: Vec<Finding>,
}

/// What is to be said of a file, or of several that belong together.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// The files; the one that it is about is named first in the text.
    pub files: Vec<PathBuf>,
    /// Which setting names them, and what is wrong.
    pub text: String,
}

impl Findings {
    /// Reads all that the settings name.
    #[must_use]
    pub fn of(config: &Config, now: SystemTime) -> Self {
        let mut findings = Self::default();
        for listener in &config.catalog.listeners {
            for files in &listener.tls.certificates {
                findings.certificate(&format!("listener {}", listener.name), files, now);
            }
            if let (Some(clients), Err(error)) = (&listener.tls.clients, ServerTls::check_clients(&listener.tls)) {
                let text = format!("listener {}: {error}", listener.name);
                findings.wrong.push(Finding { files: vec![clients.ca.clone()], text });
            }
        }
        for (error, file) in ClientTlsTable::unreadable(&config.catalog) {
            findings.wrong.push(Finding { files: file.into_iter().collect(), text: error.to_string() });
        }
        if let Some(CaFiles { certificate, key }) = &config.ca {
            let files = vec![certificate.clone(), key.clone()];
            match Ca::from_files(certificate, key, now) {
                Err(error) => findings.wrong.push(Finding { files, text: format!("ca: {error}") }),
                Ok(ca) => findings.term(Term::of(UNIX_EPOCH, ca.not_after(), now), "ca", certificate, files),
            }
        }
        if let Some(file) = &config.affinity_key
            && let Err(error) = Secret::in_file(file)
        {
            findings.wrong.push(Finding { files: vec![file.clone()], text: format!("affinity_key: {error}") });
        }
        findings
    }

    /// What is wrong, each where the settings name it.
    #[must_use]
    pub fn mistakes(&self, spec: &Spec, file: &Path) -> Vec<Mistake> {
        sorted(self.wrong.iter().map(|finding| finding.placed(spec, file, "")))
    }

    /// What there is to be warned of, each where the settings name it, behind this word.
    #[must_use]
    pub fn warnings(&self, spec: &Spec, file: &Path, word: &str) -> Vec<Mistake> {
        sorted(self.warnings.iter().map(|finding| finding.placed(spec, file, word)))
    }

    fn certificate(&mut self, whose: &str, named: &CertificateFiles, now: SystemTime) {
        let files = vec![named.certificate.clone(), named.key.clone()];
        match Certificate::read(named) {
            Err(error) => self.wrong.push(Finding { files, text: format!("{whose}: {error}") }),
            Ok(certificate) => self.term(certificate.term(now), whose, certificate.file(), files),
        }
    }

    fn term(&mut self, term: Term, whose: &str, file: &Path, files: Vec<PathBuf>) {
        match term {
            Term::Good => {}
            Term::EndsSoon(_) | Term::Ended(_) | Term::NotBegun(_) => {
                let text = format!("{whose}: {}: this certificate {term}", file.display());
                self.warnings.push(Finding { files, text });
            }
        }
    }
}

fn sorted(all: impl Iterator<Item = Mistake>) -> Vec<Mistake> {
    let mut all: Vec<_> = all.collect();
    all.sort();
    all
}

impl Finding {
    fn placed(&self, spec: &Spec, file: &Path, word: &str) -> Mistake {
        let is_it = |string: &str| self.file().is_some_and(|named| beside(file, string) == named);
        spec.at_string(is_it, format!("{word}{}", self.text))
    }

    /// The file that it is about.
    #[must_use]
    fn file(&self) -> Option<&Path> {
        let named = |file: &&PathBuf| self.text.find(&file.display().to_string()).unwrap_or(usize::MAX);
        self.files.iter().min_by_key(named).map(PathBuf::as_path)
    }
}
