//! What only HTTP listeners know.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use ipnetwork::IpNetwork;
use protocol::id::Name;

/// Settings of an HTTP listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Which requests go to another load balancer than the listener's own; the first that matches decides.
    pub rules: Vec<Rule>,
    /// Whose forwarding fields are believed.
    pub trusted_proxies: Vec<IpNetwork>,
    /// How paths go on to origins.
    pub paths: Paths,
    /// This hop names itself in `Via`.
    pub via: bool,
    /// What the edge answers itself does not say what is wrong behind it.
    pub hides_reasons: bool,
    /// How long a client may take nothing of its answer, and how far its body may fall behind `upload_pace`.
    pub client_timeout: Duration,
    /// The slowest pace of a body that is borne, in bytes a second; 0: whatever comes within `client_timeout` is enough.
    pub upload_pace: u64,
    /// What becomes of fields with an underscore in their name.
    pub underscores: Underscores,
    /// Protocols that a client may change to by `Upgrade`, in lower case.
    pub upgrade: Vec<String>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            trusted_proxies: Vec::new(),
            paths: Paths::AsSent,
            via: false,
            hides_reasons: false,
            client_timeout: Duration::from_secs(60),
            upload_pace: 500,
            underscores: Underscores::Keep,
            upgrade: vec!["websocket".to_owned()],
        }
    }
}

/// How the path of a request goes on to its origin, once dot segments are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paths {
    /// As it came.
    #[default]
    AsSent,
    /// In one spelling: no needless escapes, no runs of slashes.
    Normalised,
}

/// What becomes of fields with an underscore in their name, which some servers read as a dash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underscores {
    /// They are carried, but for those that would be read as fields of the edge's own.
    Keep,
    /// They are left out.
    Drop,
    /// The request is refused.
    Refuse,
}

/// A `[[listener.rule]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// A name in lower case, or `*.` and one; absent: any.
    pub host: Option<String>,
    /// A path prefix without escapes; absent: any.
    pub path: Option<String>,
    /// The name of a load balancer of the same catalog.
    pub load_balancer: Name,
    /// What is changed in the head that goes to the origin.
    pub request: FieldEdits,
    /// What is changed in the head of the origin's answer.
    pub response: Arc<FieldEdits>,
}

/// Changes of a head's fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldEdits {
    /// Taken out, whoever has put them there.
    pub remove: Vec<HeaderName>,
    /// Put in, in place of all others of the name.
    pub set: Vec<(HeaderName, HeaderValue)>,
}
