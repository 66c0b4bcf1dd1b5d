//! A real Redis of a test's own.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{Process, process::Signal, tools};

/// How long it may take to serve, on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A `redis-server` on a port and in a folder of its own.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    args: Vec<String>,
    folder: TempDir,
    process: Process,
}

impl Redis {
    /// Starts one; it persists nothing unless the arguments say so.
    pub async fn start(args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let folder = TempDir::with_prefix("redis-").expect("a temporary folder");
        let command = |[port]: [u16; 1]| command(port, &folder, &args);
        let serves = async |[port]: [u16; 1]| answers(port);
        let ([port], process) =
            Process::on_free_ports("redis-server", START, command, serves).await;
        Self {
            port,
            args,
            folder,
            process,
        }
    }

    /// As a power cut would end it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on what it left.
    pub async fn restart(&mut self) {
        self.process.kill();
        let command = command(self.port, &self.folder, &self.args);
        self.process = Process::start("redis-server", command);
        let up = self.process.comes_up(START, async || answers(self.port));
        assert!(up.await, "redis-server does not come up again");
    }

    /// Sends it a signal: a stopped one takes connections and answers nothing.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Says a command without blanks in its words, and gives the first line of the answer.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn command(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .expect("it reads");
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .expect("it answers");
        line.trim_end().to_owned()
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of what it keeps on disk.
    #[must_use]
    pub fn files(&self) -> &Path {
        self.folder.path()
    }

    /// Its address, as `REDIS_URL` has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

fn command(port: u16, folder: &TempDir, args: &[String]) -> Command {
    let mut command = Command::new(tools::tool("redis-server"));
    command
        .current_dir(folder.path())
        .args(["--bind", "127.0.0.1", "--save", "", "--port"])
        .arg(port.to_string())
        .args(args);
    command
}

/// Whether it serves: a Redis that still reads its log says LOADING.
pub(crate) fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut answer = [0; 5];
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .is_ok()
        && stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"+PONG"
}
