//! What the tests against a real Consul share.

pub(crate) mod agent;
pub(crate) mod proxy;
mod shared;

pub(crate) use shared::*;
