//! A model's client against a server in this process that speaks the documented form.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

mod endpoints;
mod rounds;
mod support;
