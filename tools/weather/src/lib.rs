//! The weather tool: current weather and forecasts, measured where a provider may be asked over the
//! network, and what is usual for the place and season where not.
//!
//! A call reads [`operation::run`] → [`provider::Provider`] → the payloads in `report`.

mod condition;
mod error;
mod names;
pub mod operation;
pub mod provider;
mod report;

pub use error::Error;
pub use report::Units;
