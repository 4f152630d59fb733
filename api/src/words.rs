//! Words that a status says of states. A word of a newer version is kept as it came.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enum of words, each with its one spelling.
macro_rules! words {
    ($(#[doc = $about:literal])* $name:ident { $($(#[$meaning:meta])* $word:ident = $spelling:literal,)+ }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$meaning])* $word,)+
            /// A word of a newer version, or none at all.
            Other(String),
        }

        impl $name {
            /// As it is spelt.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$word => $spelling,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($spelling => Self::$word,)+
                    _ => Self::Other(word),
                }
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        // A version says none but its own words; who reads takes others too.
        #[cfg(test)]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let about = [$($about),*].concat();
                schemars::json_schema!({ "description": about.trim(), "type": "string", "enum": [$($spelling),+] })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// Of an origin or a path.
    Health {
        /// Probes pass.
        Healthy = "healthy",
        /// Probes fail.
        Unhealthy = "unhealthy",
        /// Not probed yet.
        Unknown = "unknown",
    }
}

words! {
    /// Of a pool or a load balancer.
    PoolHealth {
        /// Every origin that counts is healthy.
        Healthy = "healthy",
        /// It serves with less than it should have.
        Degraded = "degraded",
        /// It does not serve.
        Critical = "critical",
        /// Not probed yet.
        Unknown = "unknown",
    }
}

words! {
    /// Of a connector's links at an edge, together.
    TunnelHealth {
        /// Every link is up.
        Healthy = "healthy",
        /// A link is suspect or gone.
        Degraded = "degraded",
        /// No link is up; one was.
        Down = "down",
        /// No link has ever been up.
        Inactive = "inactive",
    }
}

words! {
    /// Of one link.
    LinkState {
        /// Not registered: only its connector knows of it.
        Dialling = "dialling",
        /// It carries.
        Up = "up",
        /// Silent for longer than it should be: nothing new is placed on it.
        Suspect = "suspect",
        /// Given up.
        Dead = "dead",
        /// It finishes what it carries and takes nothing new.
        Draining = "draining",
    }
}

words! {
    /// What a listener speaks with its clients.
    Protocol {
        /// Bytes.
        Tcp = "tcp",
        /// Datagrams.
        Udp = "udp",
        /// HTTP in the clear.
        Http = "http",
        /// HTTP over TLS.
        Https = "https",
    }
}
