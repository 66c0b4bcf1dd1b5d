//! A real PostgreSQL of a test's own.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tempfile::TempDir;

use crate::{Certificate, Process, process::Signal, tools, until};

/// How long it may take to serve, on a busy machine; after a kill it reads its log first.
const START: Duration = Duration::from_secs(40);
/// What the files of its certificate and key are called.
const TLS: &str = "server";
/// Who runs it: it refuses root.
const USER: &str = "postgres";

/// A `postgres` on a port and in a folder of its own. What it says is stored is on the disk.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    // It ends before its folder is deleted.
    process: Process,
    folder: TempDir,
    databases: AtomicUsize,
}

impl Postgres {
    /// Starts one, with an empty cluster.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts one that also speaks TLS, with this certificate.
    pub async fn over_tls(certificate: &Certificate) -> Self {
        Self::start_with(Some(certificate)).await
    }

    async fn start_with(certificate: Option<&Certificate>) -> Self {
        let folder = TempDir::with_prefix("postgres-").expect("a temporary folder");
        if let Some((user, group)) = other_user() {
            chown(folder.path(), Some(user), Some(group)).expect("root may give a folder away");
        }
        let mut initdb = program("initdb", folder.path());
        initdb
            .args(["--username", USER, "--auth", "trust", "--encoding", "UTF8"])
            .args(["--locale", "C", "--no-sync", "--pgdata"])
            .arg(data(&folder));
        let made = initdb.output().expect("initdb runs");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        if let Some(certificate) = certificate {
            for file in certificate.write(folder.path(), TLS) {
                // It takes no key that others may read.
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
                    .expect("its own file");
                if let Some((user, group)) = other_user() {
                    chown(&file, Some(user), Some(group)).expect("root may give a file away");
                }
            }
        }
        let command = |[port]: [u16; 1]| command(port, &folder);
        let serves = async |[port]: [u16; 1]| is_ready(&folder, None) && answers(port);
        let ([port], process) = Process::on_free_ports("postgres", START, command, serves).await;
        Self {
            port,
            folder,
            process,
            databases: AtomicUsize::new(0),
        }
    }

    /// Ends it with `SIGKILL`. Its children notice, and end too.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on what it left.
    pub async fn restart(&mut self) {
        self.process.kill();
        // Its children see that it has gone, and end by themselves; until then their memory is in use.
        until("postgres comes up again", START, async || {
            self.process = Process::start("postgres", command(self.port, &self.folder));
            let (pid, folder) = (self.process.pid(), &self.folder);
            let serves = async || is_ready(folder, Some(pid)) && answers(self.port);
            let up = self.process.comes_up(START, serves);
            up.await.then_some(())
        })
        .await;
    }

    /// Sends it a signal. Its children, which serve the connections, get none.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Sends a signal to it and to its children.
    pub fn signal_all(&mut self, signal: Signal) {
        self.process.signal(signal);
        for pid in self.children() {
            let pid = pid.to_string();
            // One may have ended meanwhile.
            Command::new("kill")
                .args([signal.flag(), &pid])
                .status()
                .ok();
        }
    }

    /// The process IDs of its children, which serve the connections.
    fn children(&self) -> Vec<u32> {
        let pid = self.process.pid();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    /// A new empty database: its address, as `DATABASE_URL` has it.
    pub async fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run(&format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    /// Has it run statements that give nothing back, in its first database.
    pub async fn run(&self, sql: &str) {
        let url = self.url(USER);
        let connected = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
        let (client, connection) = connected.expect("it serves");
        let done = async {
            let done = client.batch_execute(sql).await;
            drop(client);
            done
        };
        let (done, _) = tokio::join!(done, connection);
        done.expect("it does what it is told");
    }

    /// The address of one of its databases.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl Drop for Postgres {
    /// Ends its children with it: they would write into a folder that is being deleted.
    fn drop(&mut self) {
        self.process.signal(Signal::Quit);
        for _ in 0..100 {
            if self.process.exit_status().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn data(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

fn command(port: u16, folder: &TempDir) -> Command {
    let mut command = program("postgres", folder.path());
    command
        .arg("-D")
        .arg(data(folder))
        .arg("-p")
        .arg(port.to_string());
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "fsync=on",
        "synchronous_commit=on",
        "max_connections=200",
        "shared_buffers=64MB",
        "log_min_messages=warning",
    ] {
        command.args(["-c", setting]);
    }
    let [certificate, key] = ["pem", "key"].map(|of| folder.path().join(TLS).with_extension(of));
    if certificate.exists() {
        for (setting, file) in [("ssl_cert_file", certificate), ("ssl_key_file", key)] {
            command
                .arg("-c")
                .arg(format!("{setting}={}", file.display()));
        }
        command.args(["-c", "ssl=on"]);
    }
    command
}

/// One of its programs, as the user that may run it.
fn program(name: &str, folder: &Path) -> Command {
    let found = tools::tool(name);
    // Its neighbours are beside the file itself, which everybody may read.
    let found = fs::canonicalize(&found).unwrap_or(found);
    let mut command = Command::new(found);
    command.current_dir(folder);
    if let Some((user, group)) = other_user() {
        command.uid(user).gid(group);
    }
    command
}

/// The user and the group that run it where this test is run by root.
fn other_user() -> Option<(u32, u32)> {
    let own = fs::read_to_string("/proc/self/status").expect("as Linux tells it");
    let own = own.lines().find_map(|line| line.strip_prefix("Uid:"));
    if own?.split_whitespace().next() != Some("0") {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("as Linux tells it");
    let user = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.first() == Some(&USER))
            .then(|| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))?
    });
    Some(user.expect("Debian's package makes the user postgres: run `make tools`"))
}

/// Whether the one of this folder is ready, as it says itself: one of another test may have taken the port that
/// was free a moment ago, and answers there. Of one that was killed a file is left, with another process ID.
fn is_ready(folder: &TempDir, pid: Option<u32>) -> bool {
    let said = fs::read_to_string(data(folder).join("postmaster.pid")).unwrap_or_default();
    let its = said
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok());
    let same = pid.is_none_or(|pid| its == Some(pid));
    same && said
        .lines()
        .nth(7)
        .is_some_and(|line| line.trim() == "ready")
}

/// Whether it serves: one that still reads its log says so by an error.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let words = format!("user\0{USER}\0database\0{USER}\0\0");
    let length = u32::try_from(8 + words.len()).expect("a short message");
    let mut hello = length.to_be_bytes().to_vec();
    hello.extend(196_608_u32.to_be_bytes());
    hello.extend(words.as_bytes());
    let mut answer = [0];
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .is_ok()
        && stream.write_all(&hello).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"R"
}
