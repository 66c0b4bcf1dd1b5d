//! The guide's table of metrics: those that the programs register. `make keys` writes it anew.

use std::{collections::BTreeMap, sync::Arc};

use discovery::backends::Memory;
use mesh_testkit::local;
use programs::PROGRAMS;
use telemetry::MetricRow;
use tempfile::TempDir;

/// Every metric by its name: each program is started to see what it registers.
async fn registered() -> BTreeMap<String, MetricRow> {
    let mut rows = BTreeMap::new();
    for (spec, build) in &PROGRAMS {
        let folder = TempDir::with_prefix("metrics-").unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let set = [
            ("access_log", path("access.log")),
            ("jobs_path", path("jobs")),
            ("workflows_path", path("workflows")),
            ("out_dir", path("out")),
            ("docs_dir", path("")),
            ("tasks_port", "0".to_owned()),
            // Nobody asks it anything.
            ("model_url", "http://127.0.0.1:9/v1".to_owned()),
            ("model_name", "none".to_owned()),
            ("mount_command", mesh_testkit::tools::MCP_SERVER.to_owned()),
        ];
        let keys = spec.all_keys();
        let set = set.iter().map(|(name, value)| (*name, value.as_str()));
        let set: Vec<_> = set
            .filter(|(name, _)| keys.iter().any(|key| key.name == *name))
            .collect();
        let running = local::start(spec, build, &Arc::new(Memory::new()), &set).await;
        let theirs = running.context().registry.rows();
        rows.extend(theirs.into_iter().map(|row| (row.name.clone(), row)));
        running.drain().await;
    }
    rows
}

pub(crate) async fn table() -> String {
    let mut out = "| metric | labels | meaning |\n|---|---|---|\n".to_owned();
    for (name, row) in registered().await {
        let labels: Vec<_> = row.labels.iter().map(|it| format!("`{it}`")).collect();
        out += &format!("| `{name}` | {} | {} |\n", labels.join(", "), row.help);
    }
    out
}
