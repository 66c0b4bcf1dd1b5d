//! The Consul backend against a real Consul.

mod cache;
mod entries;
mod instances;
mod odd;
mod outages;
mod scale;
mod security;
mod sidecar;
mod support;
