//! Settings over a registry in memory and a real file.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use channel::{Meta, ServiceConfig as _};
use discovery::{Discovery, backends::Memory};
use serde_json::Value;
use telemetry::MetricsRegistry;
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::LiveSettings;
use crate::tests::SPEC;

const SERVICE: &str = "agent-echo";

struct World {
    live: Arc<LiveSettings>,
    memory: Arc<Memory>,
    registry: MetricsRegistry,
    folder: TempDir,
    _stop: DropGuard,
}

impl World {
    async fn new(file: &str, set: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("mesh.toml");
        std::fs::write(&path, file).unwrap();
        let loader = SPEC.loader().file(path);
        let loader = set.iter().fold(loader, |loader, (k, v)| loader.set(k, *v));
        let (memory, registry) = (Arc::new(Memory::new()), MetricsRegistry::new());
        let shutdown = CancellationToken::new();
        let live = LiveSettings::start(
            &SPEC,
            Arc::new(loader.load().unwrap()),
            &(Arc::clone(&memory) as Arc<dyn Discovery>),
            &registry,
            &crate::Reload::default(),
            &TaskTracker::new(),
            &shutdown,
        )
        .await;
        let _stop = shutdown.drop_guard();
        Self {
            live,
            memory,
            registry,
            folder,
            _stop,
        }
    }

    fn policy(&self, meta: &[(&str, &str)]) -> String {
        let meta: Meta<'_> = meta.iter().copied().collect();
        let options = self.live.options(SERVICE, &meta);
        options.lb_policy.clone().expect("resolved")
    }

    async fn kv(&self, key: &str, value: Option<&str>) {
        let mut changes = self.live.changes();
        let key = format!("services/{SERVICE}/{key}");
        self.memory.write(&key, value).await.unwrap();
        let changed = timeout(Duration::from_secs(5), changes.changed()).await;
        changed.expect("taken over").unwrap();
    }

    async fn file(&self, text: &str) {
        let mut changes = self.live.changes();
        std::fs::write(self.folder.path().join("mesh.toml"), text).unwrap();
        let changed = timeout(Duration::from_secs(10), changes.changed()).await;
        changed.expect("taken over").unwrap();
    }

    async fn until_refused(&self) {
        let refused = async || !self.shown()["refused"].as_array().unwrap().is_empty();
        crate::tests::until(refused).await;
    }

    fn shown(&self) -> BTreeMap<&'static str, Value> {
        self.live.report().into_iter().collect()
    }
}

#[tokio::test]
async fn kv_wins_over_the_file_over_meta_over_the_program() {
    let file = "[services.agent-echo]\nlb_policy = \"random\"";
    let world = World::new(file, &[("lb_policy", "weighted")]).await;
    let meta = [("lb_policy", "session"), ("version", "1")];
    assert_eq!(world.policy(&meta), "random");
    world.kv("lb_policy", Some("round_robin")).await;
    assert_eq!(world.policy(&meta), "round_robin");
    let shown = &world.shown()["services"][SERVICE];
    assert_eq!(
        shown["lb_policy"]["source"],
        "KV mesh/services/agent-echo/lb_policy"
    );
    assert_eq!(shown["queue_timeout"]["source"], "default");
    world.kv("lb_policy", None).await;
    assert_eq!(world.policy(&meta), "random");
    world.file("").await;
    assert_eq!(world.policy(&meta), "session");
    assert_eq!(world.policy(&[]), "weighted");
    let other = world.live.options("tool-weather", &Meta::new());
    assert_eq!(other.lb_policy.as_deref(), Some("weighted"));
}

#[tokio::test]
async fn a_bad_value_is_shown_with_its_reason_and_counted_and_the_old_one_stays() {
    let world = World::new("", &[]).await;
    world.kv("max_in_flight", Some("7")).await;
    world.kv("max_in_flight", Some("many")).await;
    assert_eq!(world.live.options(SERVICE, &Meta::new()).max_in_flight, 7);
    let refused = world.shown()["refused"].clone();
    assert_eq!(refused[0]["key"], "agent-echo.max_in_flight");
    assert_eq!(refused[0]["value"], "many");
    assert_eq!(
        refused[0]["source"],
        "KV mesh/services/agent-echo/max_in_flight"
    );
    let reason = refused[0]["reason"].as_str().unwrap();
    assert!(reason.contains("a whole number from 1"), "{reason}");
    assert_eq!(
        world.registry.sample("mesh_config_refused{source=\"kv\"}"),
        Some(1.0)
    );
    world.kv("max_in_flight", None).await;
    assert_eq!(
        world.live.options(SERVICE, &Meta::new()).max_in_flight,
        1024
    );
    assert_eq!(
        world.registry.sample("mesh_config_refused{source=\"kv\"}"),
        Some(0.0)
    );
    let reloads = world
        .registry
        .sample("mesh_config_reloads_total{source=\"kv\"}");
    assert_eq!(reloads, Some(3.0));
}

#[tokio::test]
async fn a_file_that_is_no_toml_any_more_changes_nothing() {
    let world = World::new("[services.agent-echo]\nqueue_timeout = \"1s\"", &[]).await;
    let path = world.folder.path().join("mesh.toml");
    std::fs::write(path, "[services").unwrap();
    world.until_refused().await;
    let options = world.live.options(SERVICE, &Meta::new());
    assert_eq!(options.queue_timeout, Duration::from_secs(1));
}

#[tokio::test]
async fn what_is_announced_is_checked() {
    let world = World::new("[services.agent-echo]\nlb_policy = \"random\"", &[]).await;
    assert_eq!(world.policy(&[("lb_policy", "fastest")]), "random");
    let refused = world.shown()["refused"].clone();
    assert_eq!(refused[0]["source"], "Meta", "{refused}");
    assert_eq!(
        world
            .registry
            .sample("mesh_config_refused{source=\"meta\"}"),
        Some(1.0)
    );
}

#[tokio::test]
async fn an_entry_of_an_instance_drains_it_and_a_misspelt_one_is_refused() {
    let world = World::new("", &[]).await;
    let mut changes = world.live.changes();
    let write = |key: &'static str, value| world.memory.write(key, value);
    write("instances/echo-1/drain", Some("true")).await.unwrap();
    write("instance/echo-2/drain", Some("true")).await.unwrap();
    changes.wait_for(|version| *version > 0).await.unwrap();
    world.until_refused().await;
    assert_eq!(*world.live.drained(), ["echo-1".to_owned()].into());
    let shown = world.shown();
    assert_eq!(shown["drained"][0], "echo-1");
    let reason = shown["refused"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("did you mean instances?"), "{reason}");
}

#[test]
fn mistakes_in_the_file_stop_a_program_from_starting_and_name_their_place() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = "[services.agent-echo]\nlb_polcy = \"random\"\nqueue_timeout = 3\n";
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    let mistakes = SPEC.loader().file(file.path()).load().unwrap_err();
    let told = mistakes.to_string();
    assert!(told.contains("services.agent-echo.lb_polcy"), "{told}");
    assert!(told.contains("did you mean lb_policy?"), "{told}");
    assert!(
        told.contains("services.agent-echo.queue_timeout = \"3\""),
        "{told}"
    );
}
