//! The whole system, run as a user runs it: real processes, real servers, real clients. Test names state behaviour.
//!
//! `heavy` holds the tests that load the machine; the runner gives them the machine for themselves.

mod access_log;
mod bad_input;
mod beside_nginx;
mod connector_reload;
mod cuts;
mod destination;
mod drains;
mod endings;
mod explain;
mod failover;
mod health;
mod heavy;
mod http;
mod http2_abuse;
mod http2_rules;
mod http2_uploads;
mod http_manners;
mod http_rules;
mod icmp;
mod identity;
mod links;
mod names;
mod older_peers;
mod operators;
mod origin_tls;
mod overloaded;
mod parts;
mod proxy;
mod reloads;
mod renewal;
mod replacing;
mod running;
mod security_floods;
mod security_identity;
mod security_peers;
mod security_secrets;
mod security_targets;
mod slow_readers;
mod software;
mod status;
mod surviving;
mod tcp;
mod udp;
mod vnets;
