//! Lines of standard input.

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader, Stdin, stdin};

use crate::mcp::endpoint::LARGEST;

/// The messages of a client, a line each.
#[derive(Debug)]
pub(super) struct Lines {
    input: BufReader<Stdin>,
    /// What is here of the next line.
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self {
            input: BufReader::new(stdin()),
            line: Vec::new(),
        }
    }

    /// The next line that is not empty, `None` after the last. Can be dropped at any time.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            let bytes = self.input.fill_buf().await.context("read standard input")?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let is_over = bytes.is_empty();
            let taken = end.map_or(bytes.len(), |end| end + 1);
            self.line.extend_from_slice(&bytes[..taken]);
            self.input.consume(taken);
            ensure!(
                self.line.len() <= LARGEST,
                "a message has more than {LARGEST} bytes"
            );
            if end.is_some() || is_over {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(line.trim_ascii()).into_owned();
                if !line.is_empty() {
                    return Ok(Some(line));
                }
                if is_over {
                    return Ok(None);
                }
            }
        }
    }
}
