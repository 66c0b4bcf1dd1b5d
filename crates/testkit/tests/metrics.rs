//! The metrics of every program, read by Prometheus's own tools.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
};

use discovery::backends::Memory;
use mesh_testkit::{http_client, local, tools};
use programs::PROGRAMS;
use tempfile::TempDir;

/// What `promtool check metrics` says of a text; nothing when all is well.
fn promtool(text: &str) -> String {
    let mut process = Command::new(tools::tool("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let ended = process.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(ended.status.success() || !said.is_empty(), "promtool fails");
    said
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics_of_any_program() {
    for (spec, build) in &PROGRAMS {
        let folder = TempDir::with_prefix("metrics-").unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let set = [
            ("access_log", path("access.log")),
            ("jobs_path", path("jobs")),
            ("out_dir", path("out")),
            ("docs_dir", path("")),
            ("model_url", "http://127.0.0.1:9/v1".to_owned()),
            ("model_name", "none".to_owned()),
        ];
        let keys = spec.all_keys();
        let set = set.iter().map(|(name, value)| (*name, value.as_str()));
        let set: Vec<_> = set
            .filter(|(name, _)| keys.iter().any(|key| key.name == *name))
            .collect();
        let running = local::start(spec, build, &Arc::new(Memory::new()), &set).await;
        let url = format!("http://{}/metrics", running.admin_addr);
        let (status, text) = http_client::get(&url).await.unwrap();
        assert_eq!(status, 200, "{}: {text}", spec.program);
        assert_eq!(promtool(&text), "", "{}:\n{text}", spec.program);
        for name in [
            "mesh_build_info{",
            "mesh_ready 1",
            "process_start_time_seconds ",
        ] {
            assert!(text.contains(name), "{}: {name}:\n{text}", spec.program);
        }
        for path in keys
            .iter()
            .filter(|key| ["access_log", "out_dir"].contains(&key.name))
        {
            let seen = text.contains("mesh_disk_free_bytes{path=");
            assert!(seen, "{}: {}:\n{text}", spec.program, path.name);
        }
        running.drain().await;
    }
}

#[test]
fn promtool_finds_what_is_wrong() {
    let said = promtool("# TYPE mesh_calls counter\nmesh_calls 1\n");
    assert!(said.contains("_total"), "{said}");
}
