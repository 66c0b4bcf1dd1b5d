//! The timers of a store: set, removed, fired, and kept as schedulers have them configured.

mod desired;
mod fire;
mod reconcile;
mod timers;

pub use desired::{ENTRY_TTL_MS, is_live};
pub use fire::JobFactory;
pub use reconcile::{ReconcileResult, ScheduleEntries};
