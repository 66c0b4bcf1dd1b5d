//! Compiles the contract with protox, so that nobody needs a system `protoc`.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells build scripts by environment"
)]
fn main() -> anyhow::Result<()> {
    let files = protox::compile(
        ["agentplatform/agentplatform.proto", "mesh/v1/mesh.proto"],
        ["proto"],
    )?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(out, files.encode_to_vec())?;
    println!("cargo::rerun-if-changed=proto");
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
