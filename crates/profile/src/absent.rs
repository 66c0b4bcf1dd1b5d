//! A program without profiles.

use std::time::Duration;

use tokio::runtime;

use crate::{Error, Kind};

pub(crate) const BUILT_IN: bool = false;

const HOW: &str = "profiles are not built into this program: `PPROF=1 make build` on Linux builds \
    it with them";

/// A profile that nobody can take.
#[derive(Debug)]
pub(crate) enum Raw {}

impl Raw {
    pub(crate) fn encode(self) -> Option<Vec<u8>> {
        match self {}
    }
}

pub(crate) fn can(_: Kind) -> Result<(), Error> {
    Err(Error::NotBuiltIn(HOW))
}

pub(crate) async fn sample(_: Kind, _: Duration) -> Result<Raw, Error> {
    Err(Error::NotBuiltIn(HOW))
}

pub(crate) fn track_tasks(_: &mut runtime::Builder) {}
