//! The server as a process of its own: its group, its environment, its standard streams.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The longest line of the server's log that is written whole.
const LOG_LINE: usize = 8 << 10;
/// How long the server may take to end after its input has, and after SIGTERM.
const GRACE: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(20);

/// How the server is started.
#[derive(Clone, Debug)]
pub(crate) struct ServerCommand {
    pub(crate) words: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// A running server. Dropping it ends its whole process group at once.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    group: Option<Pid>,
}

/// The standard streams of a server.
pub(crate) type Streams = (ChildStdin, ChildStdout, ChildStderr);

impl ServerCommand {
    /// The command of these words, with PATH, HOME and the variables of `names`, each `NAME` or
    /// `NAME=VALUE`, from `environment`.
    pub(crate) fn new(
        words: Vec<String>,
        names: &[String],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let mut env: Vec<(String, String)> = ["PATH", "HOME"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), environment(name)?)))
            .collect();
        for entry in names {
            match entry.split_once('=') {
                Some((name, value)) => env.push((name.to_owned(), value.to_owned())),
                None => match environment(entry) {
                    Some(value) => env.push((entry.clone(), value)),
                    None => warn!(variable = entry, "the server's variable is not set here"),
                },
            }
        }
        Self { words, env }
    }

    /// Starts it in a process group of its own.
    pub(crate) fn start(&self) -> anyhow::Result<(ServerProcess, Streams)> {
        let (program, args) = self.words.split_first().context("the command is empty")?;
        let mut child = Command::new(program)
            .args(args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", PathBuf::from(program).display()))?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let streams = (
            child.stdin.take().context("the server has no input")?,
            child.stdout.take().context("the server has no output")?,
            child.stderr.take().context("the server has no log")?,
        );
        Ok((ServerProcess { child, group }, streams))
    }
}

impl ServerProcess {
    /// Waits until it ends. Cancel-safe.
    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it, after its input was closed: waits, asks it to end, and ends its group at last.
    pub(crate) async fn stop(mut self) {
        if timeout(GRACE, self.child.wait()).await.is_err() {
            self.signal(Signal::TERM);
            timeout(GRACE, self.child.wait()).await.ok();
        }
        // What it has started may live on.
        let end = Instant::now() + GRACE / 3;
        self.signal(Signal::TERM);
        while let Some(group) = self.group {
            if test_kill_process_group(group).is_err() {
                // Its number may be another's from now on.
                self.group = None;
            } else if Instant::now() >= end {
                break;
            }
            sleep(POLL).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The group may be empty by now.
            kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Writes the server's standard error to the log, until that ends, or a while after the server has: what
/// it has started may keep the pipe open for ever.
pub(crate) async fn log(stderr: ChildStderr, ended: CancellationToken) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    let lines = async {
        while let Ok(Some(whole)) = read_line(&mut stderr, &mut line, LOG_LINE, Long::Skipped).await
        {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if !text.is_empty() {
                info!(target: "mcp_mount::server", text, whole, "server");
            }
        }
    };
    let late = async {
        ended.cancelled().await;
        sleep(GRACE).await;
    };
    tokio::select! {
        () = lines => {}
        () = late => {}
    }
}

/// What becomes of a line that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Long {
    /// Its rest is skipped.
    Skipped,
    /// Nothing more is read: it may have no end.
    Ends,
}

/// Reads a line of at most `most` bytes. Whether it was whole; `None` at the end.
pub(crate) async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    most: usize,
    long: Long,
) -> std::io::Result<Option<bool>> {
    line.clear();
    let (mut whole, mut any) = (true, false);
    loop {
        let (used, ended) = {
            let buffer = from.fill_buf().await?;
            if buffer.is_empty() {
                return Ok(any.then_some(whole));
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = most.saturating_sub(line.len());
            whole &= part.len() <= room;
            line.extend_from_slice(&part[..part.len().min(room)]);
            if !whole && long == Long::Ends {
                return Ok(Some(false));
            }
            (part.len() + usize::from(end.is_some()), end.is_some())
        };
        from.consume(used);
        if ended {
            return Ok(Some(whole));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> ServerCommand {
        let words = ["sh", "-c", script].map(str::to_owned).to_vec();
        let env = |name: &str| (name == "PATH").then(|| "/usr/bin:/bin".to_owned());
        ServerCommand::new(words, &["A=1".to_owned(), "B".to_owned()], env)
    }

    #[tokio::test]
    async fn a_server_has_only_the_variables_that_it_is_given() {
        let (mut server, (_, stdout, _)) = shell("env | sort").start().unwrap();
        let mut lines = BufReader::new(stdout).lines();
        let mut names = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            names.push(line);
        }
        server.wait().await.unwrap();
        names.retain(|it| {
            !it.starts_with("PWD=") && !it.starts_with("_=") && !it.starts_with("SHLVL")
        });
        assert_eq!(names, ["A=1", "PATH=/usr/bin:/bin"]);
    }

    #[tokio::test]
    async fn a_server_that_ignores_every_request_to_end_is_ended_with_what_it_started() {
        let script = "trap '' TERM; (trap '' TERM; sleep 60) & echo $!; sleep 60";
        let (server, (_, stdout, _)) = shell(script).start().unwrap();
        let child = BufReader::new(stdout)
            .lines()
            .next_line()
            .await
            .unwrap()
            .unwrap();
        server.stop().await;
        let gone = |pid: &str| {
            !std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists()
                || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it.is_empty())
        };
        testkit::until(
            "the child of the server has ended",
            Duration::from_secs(5),
            async || gone(&child).then_some(()),
        )
        .await;
    }

    #[tokio::test]
    async fn a_line_is_read_up_to_its_limit_and_the_next_one_is_whole() {
        let mut from = BufReader::with_capacity(4, &b"12345678\nabc\n\nlast"[..]);
        let mut line = Vec::new();
        let mut lines = Vec::new();
        while let Some(whole) = read_line(&mut from, &mut line, 5, Long::Skipped)
            .await
            .unwrap()
        {
            lines.push((String::from_utf8(line.clone()).unwrap(), whole));
        }
        let expected = [("12345", false), ("abc", true), ("", true), ("last", true)];
        assert_eq!(
            lines,
            expected.map(|(text, whole)| (text.to_owned(), whole))
        );
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_given_up_at_its_limit() {
        let mut from = BufReader::new(tokio::io::repeat(b'x'));
        let mut line = Vec::new();
        let read = read_line(&mut from, &mut line, 100, Long::Ends).await;
        assert_eq!((read.unwrap(), line.len()), (Some(false), 100));
    }

    #[tokio::test]
    async fn a_pipe_that_a_child_keeps_open_is_left_when_the_server_has_ended() {
        // Its own session is no part of the server's process group.
        let (mut server, (_, _, stderr)) = shell("setsid sleep 30 & exit 0").start().unwrap();
        let ended = CancellationToken::new();
        server.wait().await.unwrap();
        ended.cancel();
        let left = timeout(GRACE * 4, log(stderr, ended)).await;
        left.expect("it is left");
    }
}
