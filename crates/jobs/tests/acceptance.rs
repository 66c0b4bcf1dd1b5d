//! The acceptance trial in small: real worker processes, killed and stopped, and a Redis that is
//! killed. The program itself asserts; see `examples/acceptance`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::PathBuf, process::Command};

/// The example is built with the tests, beside them.
fn program() -> PathBuf {
    let built = std::env::current_exe().unwrap();
    let path = built
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/acceptance");
    assert!(
        path.is_file(),
        "build it first: cargo build -p mesh-jobs --example acceptance"
    );
    path
}

#[test]
fn every_job_ends_once_though_processes_are_killed_and_stopped_and_redis_is_killed() {
    let trial = Command::new(program())
        .args(["--jobs", "5000", "--lease-ms", "1000"])
        .args(["--kill-every-ms", "1000", "--concurrency", "16"])
        .output()
        .unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&trial.stdout),
        String::from_utf8_lossy(&trial.stderr),
    );
    assert!(trial.status.success(), "{out}\n{error}");
    assert!(out.contains("all is as promised"), "{out}");
}
