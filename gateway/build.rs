//! Compresses the script of the API's page, which is most of what a small program would weigh.

use std::{env, fs::File, io::Write as _, path::Path};

use anyhow::{Context as _, Result};
use flate2::{Compression, write::GzEncoder};

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let script =
        scalar_api_reference::get_asset("scalar.js").context("no scalar.js in its crate")?;
    let folder = env::var_os("OUT_DIR").context("OUT_DIR is not set")?;
    let file = File::create(Path::new(&folder).join("scalar.js.gz"))?;
    let mut encoder = GzEncoder::new(file, Compression::best());
    encoder.write_all(&script)?;
    encoder.finish()?;
    Ok(())
}
