//! The Consul backend against a real Consul.

mod entries;
mod instances;
mod outages;
mod scale;
mod security;
mod support;
