//! A real redis-server, on a port and in a folder of its own, gone with its value.

use std::{
    env,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

pub(crate) struct RedisServer {
    port: u16,
    args: Vec<String>,
    folder: tempfile::TempDir,
    child: Child,
}

impl RedisServer {
    /// Starts one; it persists nothing unless the arguments say so.
    pub(crate) fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        // Somebody else may take a free port before Redis does: then it is another one's turn.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            if let Some(child) = spawn(port, folder.path(), &args) {
                return Self {
                    port,
                    args,
                    folder,
                    child,
                };
            }
        }
        panic!("redis-server does not start on any of ten free ports");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// As a power cut would: kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on what it left.
    pub(crate) fn restart(&mut self) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(child) = spawn(self.port, self.folder.path(), &self.args) {
                self.child = child;
                return;
            }
            assert!(Instant::now() < end, "redis-server does not start again");
        }
    }

    /// Copies what it has on disk to or from a folder beside it, while it is down.
    pub(crate) fn files(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(root.join(".tools/bin")).chain(env::split_paths(&path));
    let found = folders
        .map(|folder| folder.join("redis-server"))
        .find(|path| path.is_file());
    found.expect("redis-server is neither in .tools/bin nor on the PATH: run `make tools`")
}

fn spawn(port: u16, folder: &Path, args: &[String]) -> Option<Child> {
    let mut child = Command::new(program())
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
        ])
        .arg(folder)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        if answers(port) {
            return Some(child);
        }
        thread::sleep(Duration::from_millis(10));
    }
    drop(child.kill());
    drop(child.wait());
    None
}

/// Whether it serves: a Redis that still reads its log says LOADING.
fn answers(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut answer = [0; 5];
    drop(stream.set_read_timeout(Some(Duration::from_secs(1))));
    stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"+PONG"
}
