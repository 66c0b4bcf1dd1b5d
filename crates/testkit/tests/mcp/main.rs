//! MCP as its users have it: their own clients and SDKs, the protocol's conformance suite, and what
//! happens when services come and go and gateways end.

mod bridge;
mod clients;
mod conformance;
mod guide;
mod kinds;
mod live;
mod load;
mod long;
mod mounts;
mod oauth;
mod sessions;
mod support;
mod tasks;
