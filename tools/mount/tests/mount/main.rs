//! A mount as its callers see it, with servers of both eras that do what servers should not.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

mod eras;
mod faults;
mod hostile;
mod http;
mod kit;
mod operations;
mod pins;
mod tasks;
