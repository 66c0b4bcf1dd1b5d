//! A child process that does not outlive its test, with its log.

use std::{
    env,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tempfile::NamedTempFile;

use crate::{ports, wait};

/// How much of a log a failed test shows.
const SHOWN_LINES: usize = 25;
/// What a child keeps of this process' environment: a test means what it sets, and nothing else.
const KEPT: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"];

/// What a process can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ends it at once.
    Kill,
    /// Asks it to leave in order.
    Terminate,
    /// Pauses it: the kernel goes on acknowledging its TCP.
    Stop,
    /// Lets a paused one go on.
    Continue,
    /// Asks it to leave in order, as a terminal's Ctrl-\ does.
    Quit,
    /// Asks it to read its files again.
    HangUp,
    /// Says nothing that is agreed on.
    User1,
    /// The same. Has HAProxy's master take its configuration anew.
    User2,
    /// A timer's.
    Alarm,
}

impl Signal {
    pub(crate) const fn flag(self) -> &'static str {
        match self {
            Self::Kill => "-KILL",
            Self::Terminate => "-TERM",
            Self::Stop => "-STOP",
            Self::Continue => "-CONT",
            Self::Quit => "-QUIT",
            Self::HangUp => "-HUP",
            Self::User1 => "-USR1",
            Self::User2 => "-USR2",
            Self::Alarm => "-ALRM",
        }
    }
}

/// A running program. Dropping it kills it, and shows its log when the test failed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: NamedTempFile,
}

impl Process {
    /// Starts a program; what it prints goes to its log.
    #[must_use]
    pub fn start(name: &str, mut command: Command) -> Self {
        let set: Vec<_> = command
            .get_envs()
            .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
            .collect();
        let kept = KEPT
            .iter()
            .filter_map(|key| Some((*key, env::var_os(key)?)));
        let log = NamedTempFile::with_prefix(format!("{name}-")).expect("a temporary file");
        command
            .env_clear()
            .envs(kept)
            .env("RUST_BACKTRACE", "1")
            .envs(set)
            .stdin(Stdio::null())
            .stdout(append(&log))
            .stderr(append(&log));
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// Starts a program on free ports, and waits until it answers. If it ends, another process has
    /// taken one of them, and it is started on others.
    pub async fn on_free_ports<const N: usize>(
        name: &str,
        limit: Duration,
        command: impl Fn([u16; N]) -> Command,
        answers: impl AsyncFn([u16; N]) -> bool,
    ) -> ([u16; N], Self) {
        for _ in 0..3 {
            let ports = ports::free();
            let mut process = Self::start(name, command(ports));
            if process.comes_up(limit, async || answers(ports).await).await {
                return (ports, process);
            }
        }
        panic!("{name} does not come up");
    }

    /// Waits until it answers; `false` when it ends before.
    pub async fn comes_up(&mut self, limit: Duration, answers: impl AsyncFn() -> bool) -> bool {
        let what = format!("{} serves", self.name);
        wait::until(&what, limit, async || {
            if self.exit_status().is_some() {
                return Some(false);
            }
            answers().await.then_some(true)
        })
        .await
    }

    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal; to one that has ended, none.
    pub fn signal(&mut self, signal: Signal) {
        // Until it is waited for its ID belongs to nobody else.
        if self.exit_status().is_none() {
            let pid = self.pid().to_string();
            let told = Command::new("kill").args([signal.flag(), &pid]).status();
            assert!(
                told.is_ok_and(|status| status.success()),
                "{signal:?} {}",
                self.name
            );
        }
    }

    /// How it ended, when it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Waits for its end.
    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait::until(&what, limit, async || self.exit_status()).await
    }

    /// Resident memory, bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.kernel_says("VmRSS:") * 1024
    }

    /// Its threads.
    #[must_use]
    pub fn threads(&self) -> u64 {
        self.kernel_says("Threads:")
    }

    /// Files it has open, sockets included.
    #[must_use]
    pub fn files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid()));
        files.expect("as Linux tells it").count()
    }

    fn kernel_says(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("as Linux tells it");
        let value = status.lines().find_map(|line| line.strip_prefix(key));
        let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
        number.expect("as Linux tells it")
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        // An error says that it has ended already.
        self.child.kill().ok();
        self.child.wait().expect("a child of ours");
    }

    /// All that it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log.path()).expect("the log is there");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for a line of its log that `find` takes. Its early end fails the test.
    pub async fn wait_for_line<T>(
        &mut self,
        limit: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> T {
        let what = format!("{} says that it serves", self.name);
        wait::until(&what, limit, async || {
            let found = self.log().lines().find_map(&find);
            if found.is_none()
                && let Some(status) = self.exit_status()
            {
                panic!("{} ended with {status}", self.name);
            }
            found
        })
        .await
    }
}

/// Both streams append, or one would write over the other.
fn append(log: &NamedTempFile) -> Stdio {
    let file = std::fs::OpenOptions::new().append(true).open(log.path());
    Stdio::from(file.expect("the log is there"))
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines.len().saturating_sub(SHOWN_LINES);
            eprintln!(
                "--- {} ({} lines)\n{}",
                self.name,
                lines.len(),
                lines[shown..].join("\n")
            );
        }
    }
}
