//! What those tests share, with this registry in the place of Consul.

pub(crate) mod agent;
#[path = "../../../../discovery/tests/consul/support/proxy.rs"]
pub(crate) mod proxy;
#[path = "../../../../discovery/tests/consul/support/shared.rs"]
mod shared;

pub(crate) use shared::*;
