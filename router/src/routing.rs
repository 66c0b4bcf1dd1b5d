//! Where a call goes: the facts of a call in, a verdict out.
//!
//! Nothing here does I/O, keeps time or knows connections. [`relay`](crate::relay) is the only driver:
//! it collects the facts, asks, and does what the verdict says.
//!
//! - [`head`] and [`request`]: the facts of a request's head.
//! - [`route`]: the rules that find the service of a call.
//! - [`decision`]: facts → [`Decision`](decision::Decision).
//! - [`cache`]: routes of requests that repeat a path and an authority.
//! - [`retry`]: what follows an attempt that failed.
//! - [`failure`]: the status that a caller gets for it.

pub(crate) mod cache;
pub(crate) mod decision;
pub(crate) mod failure;
pub(crate) mod head;
pub(crate) mod request;
pub(crate) mod retry;
pub(crate) mod route;
