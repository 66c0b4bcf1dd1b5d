//! Configuration keys. [`keys!`] defines a struct whose fields are keys: name, type, unit, default,
//! bounds and text stand there once. A [`Loader`] puts the layers over each other (defaults < file
//! < environment < flags) and reports every mistake at once. The struct's `from_config` then reads
//! the values: nothing is looked up by name.
//!
//! ```
//! use std::time::Duration;
//! use mesh_config::{Loader, duration, integer, keys};
//!
//! keys! {
//!     /// How the client calls.
//!     #[derive(Clone, Debug)]
//!     pub struct Limits: "Calls of the client" {
//!         /// Longest time for one call.
//!         call_timeout: Duration = duration("10s").zero("no limit"),
//!         /// Calls in flight at the same time.
//!         max_calls: u32 = integer(100, 1..=10_000, "calls"),
//!     }
//! }
//!
//! let config = Loader::new(Limits::KEYS.to_vec()).set("max_calls", "7").load().unwrap();
//! let limits = Limits::from_config(&config);
//! assert_eq!((limits.max_calls, limits.call_timeout), (7, Duration::from_secs(10)));
//! ```

mod document;
mod key;
mod kind;
mod loader;
mod macros;
mod mistake;
mod parse;
mod secret;
#[cfg(test)]
mod tests;
mod values;

pub use document::{example, table};
pub use key::{DefaultValue, Group, Key, Retired, Type};
pub use kind::{
    Choice, Kind, Whole, checked, choice, duration, folder, integer, list, number, one_of,
    optional, optional_number, optional_port, path, port, secret, size, switch, text, word,
};
pub use loader::{Loader, flatten, nearest, unknown};
pub use mistake::{Mistake, Mistakes};
pub use parse::{duration as parse_duration, list as parse_list, list_entry, pairs};
pub use secret::Secret;
pub use values::{Config, Source, environment, is_true};
