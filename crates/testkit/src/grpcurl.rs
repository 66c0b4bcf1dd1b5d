//! The client that users have: grpcurl, without a proto file.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::tools;

/// No call of a test takes longer, seconds.
const PATIENCE: &str = "150";

/// What grpcurl printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether it ended with success.
    pub ok: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs `grpcurl -plaintext <options> <address> <what>`.
pub async fn grpcurl(options: &[&str], address: SocketAddr, what: &[&str]) -> Output {
    let mut command = Command::new(tools::tool("grpcurl"));
    command
        .args(["-plaintext", "-max-time", PATIENCE])
        .args(options)
        .arg(address.to_string())
        .args(what)
        .stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    let output = ended.expect("nothing panics").expect("grpcurl runs");
    Output {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Calls a method with a JSON message, or several one after the other, and gives the answers.
pub async fn call(address: SocketAddr, method: &str, messages: &str) -> Vec<Value> {
    let output = grpcurl(&["-d", messages], address, &[method]).await;
    assert!(output.ok, "{method}: {}", output.err);
    output.messages()
}

impl Output {
    /// The messages it printed, when it printed nothing else.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        let stream = serde_json::Deserializer::from_str(&self.out).into_iter();
        stream
            .map(|message| message.unwrap_or_else(|error| panic!("{error} in {}", self.out)))
            .collect()
    }

    /// The lines of its standard output, of a list for example.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.out.lines().map(str::trim)
    }
}
