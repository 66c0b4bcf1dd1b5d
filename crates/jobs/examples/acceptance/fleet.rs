//! Three worker processes, and what is done to them.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::Trial;

/// What workers reported, and what was done to them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) attempts: u64,
    pub(crate) refused: u64,
    pub(crate) killed: u64,
    pub(crate) stopped: u64,
}

struct Process {
    child: Child,
    /// What it said last: attempts and refused writes.
    said: Arc<Mutex<(u64, u64)>>,
    reader: thread::JoinHandle<()>,
}

/// The workers.
pub(crate) struct Fleet {
    args: Vec<String>,
    alive: VecDeque<Process>,
    dozing: Vec<(Process, Instant)>,
    tally: Tally,
    started: u64,
}

impl Fleet {
    pub(crate) fn start(trial: &Trial, url: &str) -> Self {
        let args = [
            "--lease-ms".to_owned(),
            trial.lease.as_millis().to_string(),
            "--concurrency".to_owned(),
            trial.concurrency.to_string(),
            "--worker".to_owned(),
            url.to_owned(),
        ];
        let mut fleet = Self {
            args: args.to_vec(),
            alive: VecDeque::new(),
            dozing: Vec::new(),
            tally: Tally::default(),
            started: 0,
        };
        for _ in 0..3 {
            fleet.add();
        }
        fleet
    }

    fn add(&mut self) {
        self.started += 1;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(&self.args)
            .arg(format!("w{}", self.started))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new((0, 0)));
        let lines = BufReader::new(child.stdout.take().unwrap());
        let heard = Arc::clone(&said);
        let reader = thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let (attempts, refused) = line.split_once(' ').unwrap();
                *heard.lock().unwrap() = (attempts.parse().unwrap(), refused.parse().unwrap());
            }
        });
        let process = Process {
            child,
            said,
            reader,
        };
        self.alive.push_back(process);
    }

    /// Kills the oldest of those that are awake, and starts another one.
    pub(crate) fn kill_one(&mut self) {
        let Some(mut process) = self.alive.pop_front() else {
            return;
        };
        process.child.kill().unwrap();
        self.tally.killed += 1;
        self.count(process);
        self.add();
    }

    /// Stops the youngest, if all are awake.
    pub(crate) fn stop_one(&mut self) {
        if self.dozing.is_empty()
            && let Some(process) = self.alive.pop_back()
        {
            signal(&process, "-STOP");
            self.tally.stopped += 1;
            self.dozing.push((process, Instant::now()));
        }
    }

    /// Lets those go on that were stopped for so long.
    pub(crate) fn wake_dozers(&mut self, after: Duration) {
        for (process, since) in std::mem::take(&mut self.dozing) {
            if since.elapsed() < after {
                self.dozing.push((process, since));
                continue;
            }
            signal(&process, "-CONT");
            self.alive.push_back(process);
        }
    }

    pub(crate) fn dozers(&self) -> usize {
        self.dozing.len()
    }

    /// Ends all workers in order.
    pub(crate) fn end(mut self) -> Tally {
        for process in std::mem::take(&mut self.alive) {
            self.count(process);
        }
        std::mem::take(&mut self.tally)
    }

    fn count(&mut self, mut process: Process) {
        drop(process.child.stdin.take());
        process.child.wait().unwrap();
        process.reader.join().unwrap();
        let (attempts, refused) = *process.said.lock().unwrap();
        self.tally.attempts += attempts;
        self.tally.refused += refused;
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let dozing = self.dozing.drain(..).map(|(process, _)| process);
        for mut process in self.alive.drain(..).chain(dozing) {
            drop(process.child.kill());
            drop(process.child.wait());
        }
    }
}

fn signal(process: &Process, which: &str) {
    let pid = process.child.id().to_string();
    let sent = Command::new("kill").args([which, &pid]).status().unwrap();
    assert!(sent.success(), "kill {which} {pid}");
}
