//! The edge: the public relay of Underpass.
//!
//! Rooms, each using only those before it: `model, config, metrics` ← `store` ← `routing, tunnel` ← `offramp` ← `health` ←
//! `balancer` ← `listener` ← `admin` ← `edge`.

pub mod config;
pub mod model;
pub mod health {
    //! Probing.
    pub mod view;
}
