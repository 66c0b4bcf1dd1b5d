//! The Consul backend's own tests against this registry.
//!
//! What is left out needs what this registry has not: access control and TLS (`security`), and the
//! proxies that Consul registers by itself (`sidecar`).

// The tests know the crate by its own name.
extern crate discovery as mesh_discovery;

#[path = "../../../discovery/tests/consul/cache.rs"]
mod cache;
#[path = "../../../discovery/tests/consul/entries.rs"]
mod entries;
#[path = "../../../discovery/tests/consul/instances.rs"]
mod instances;
#[path = "../../../discovery/tests/consul/odd.rs"]
mod odd;
#[path = "../../../discovery/tests/consul/outages.rs"]
mod outages;
#[path = "../../../discovery/tests/consul/scale.rs"]
mod scale;
mod support;
