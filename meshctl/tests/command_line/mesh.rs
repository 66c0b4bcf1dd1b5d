//! `meshctl` as a child process, and a mesh that it keeps up for a test.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use testkit::Process;

/// How long a mesh may take to come up or to leave, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    /// The lines of its answer as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{self:?}")))
            .collect()
    }

    /// Its only line.
    pub(crate) fn value(&self) -> Value {
        let [value] = self
            .json()
            .try_into()
            .unwrap_or_else(|_| panic!("{self:?}"));
        value
    }

    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// The program with nothing but what the test sets in its environment.
pub(crate) fn meshctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    command.env_clear().args(args);
    command
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Answer {
    answer(
        meshctl(args)
            .stdin(Stdio::null())
            .output()
            .expect("meshctl runs"),
    )
}

/// Runs it to its end with this on standard input.
pub(crate) fn run_command(mut command: Command, input: &str) -> Answer {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("meshctl runs");
    let mut stdin = child.stdin.take().expect("piped");
    // One that needs no input may have ended by now.
    stdin.write_all(input.as_bytes()).ok();
    drop(stdin);
    answer(child.wait_with_output().expect("meshctl ends"))
}

fn answer(output: Output) -> Answer {
    Answer {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A mesh in a process of its own, killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) process: Process,
    /// What it said of itself.
    pub(crate) told: Value,
    pub(crate) router: String,
}

impl Mesh {
    /// `meshctl up` on a port that the system chooses, without jobs.
    pub(crate) async fn up(args: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start(&[&["--no-jobs"], args].concat(), environment).await
    }

    /// The same with jobs, its files and jobs in this folder.
    pub(crate) async fn with_jobs(folder: &Path, environment: &[(&str, &str)]) -> Self {
        let out = folder.join("out").display().to_string();
        let environment = [&[("OUT_DIR", out.as_str())], environment].concat();
        let args = ["--consul", "none", "--http-port", "0"];
        Self::start(&args, &environment).await
    }

    async fn start(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = meshctl(&["up", "--json", "--port", "0"]);
        command.args(args).envs(environment.iter().copied());
        let mut process = Process::start("meshctl", command);
        let told = process
            .wait_for_line(LIMIT, |line| {
                let told: Value = serde_json::from_str(line).ok()?;
                told["router"].is_string().then_some(told)
            })
            .await;
        let router = told["router"].as_str().expect("an address").to_owned();
        Self {
            process,
            told,
            router,
        }
    }

    /// One of everything, in memory.
    pub(crate) async fn small() -> Self {
        Self::up(&["--consul", "none"], &[]).await
    }

    /// Runs a command against its router.
    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        let mut command = self.command(args);
        command.stdin(Stdio::null());
        answer(command.output().expect("meshctl runs"))
    }

    /// The same with this on standard input.
    pub(crate) fn run_with(&self, input: &str, args: &[&str]) -> Answer {
        run_command(self.command(args), input)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = meshctl(args);
        command.env("MCP_ROUTER_ADDR", &self.router);
        command
    }

    /// What Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        self.signal("-INT");
    }

    /// Sends it a signal, written as `kill` takes it.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.process.pid().to_string();
        let sent = Command::new("kill")
            .args([signal, &pid])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }
}
