//! The commands, one file each: its arguments, then what it does.

pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod completion;
pub(crate) mod demo;
pub(crate) mod describe;
pub(crate) mod drain;
pub(crate) mod jobs;
pub(crate) mod list;
pub(crate) mod run;
pub(crate) mod schedules;
pub(crate) mod status;
pub(crate) mod up;
