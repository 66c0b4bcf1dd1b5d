//! JSON as it is given on the command line: itself, in a file, or on standard input.

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, stdin};

/// How to write it, for error messages.
pub(crate) const FORMS: &str = "write {\"field\": \"value\"}, - for standard input or @file";

/// The text that was meant.
pub(crate) async fn read(given: &str) -> anyhow::Result<String> {
    if given == "-" {
        let mut text = String::new();
        let read = stdin().read_to_string(&mut text).await;
        read.context("read standard input")?;
        return Ok(text);
    }
    match given.strip_prefix('@') {
        Some(path) => tokio::fs::read_to_string(path)
            .await
            .with_context(|| format!("read {path}")),
        None => Ok(given.to_owned()),
    }
}
