//! What is measured.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use discovery::backends::Memory;
use futures_util::{StreamExt as _, stream};
use runs::{NewRun, RunFilter, RunStore};
use serde_json::{Value, json};
use service::ServerHandle;
use tokio::task::JoinSet;
use work::QueueKeys;
use workflow::Start;

use crate::{follower::Follower, graphs, worker::Working};

/// A runner, a worker and whoever creates runs.
pub(crate) struct Bench {
    set: Vec<(&'static str, String)>,
    runner: Option<ServerHandle>,
    worker: Working,
    load: Arc<Load>,
}

/// Creates runs and awaits their ends.
struct Load {
    store: Arc<dyn RunStore>,
    follower: Follower,
}

impl Bench {
    /// Starts them on the stores at these addresses.
    pub(crate) async fn start(runs: &str, jobs: &str, places: usize) -> anyhow::Result<Self> {
        let runs_key = match runs.starts_with("postgres") {
            true => "database_url",
            false => "workflows_path",
        };
        let jobs_key = match jobs.starts_with("redis") {
            true => "redis_url",
            false => "jobs_path",
        };
        let mut set = vec![(runs_key, runs.to_owned()), (jobs_key, jobs.to_owned())];
        if jobs_key == "jobs_path" {
            // Every change is on the disk before it is told.
            set.push(("jobs_sync", "always".to_owned()));
        }
        let runner = start_runner(&set).await;
        let context = runner.context();
        let queue = QueueKeys::from_config(&context.config);
        let worker = Working::start(&queue.open_for(context)?, &queue.queue_name, places);
        let store = work::open_runs(context)?;
        let follower = Follower::start(Arc::clone(&store)).await?;
        Ok(Self {
            set,
            runner: Some(runner),
            worker,
            load: Arc::new(Load { store, follower }),
        })
    }

    pub(crate) async fn stop(self) {
        if let Some(runner) = self.runner {
            runner.drain().await;
        }
        self.worker.stop().await;
    }

    /// Runs a second, `concurrency` at a time.
    pub(crate) async fn rate(
        &mut self,
        shape: &str,
        concurrency: u64,
        count: u64,
    ) -> anyhow::Result<Value> {
        let graph = match shape {
            "seq" => graphs::sequence(),
            "diamond" => graphs::diamond(),
            other => bail!("{other} is no shape: give seq or diamond"),
        };
        let graph = self.load.put(&graph).await?;
        self.load.many(&graph, 1, 20, "workflow_completed").await?;
        println!("begin");
        let from = Instant::now();
        let ended = "workflow_completed";
        let took = self.load.many(&graph, concurrency, count, ended).await?;
        let seconds = from.elapsed().as_secs_f64();
        println!("end");
        Ok(json!({
            "shape": shape, "conc": concurrency, "n": count, "wf_s": count as f64 / seconds,
            "p50_ms": quantile(&took, 0.5), "p99_ms": quantile(&took, 0.99),
        }))
    }

    /// How long after a node the next one begins, at so many runs a second.
    pub(crate) async fn hops(&mut self, rate: u64, time: Duration) -> anyhow::Result<Value> {
        let graph = self.load.put(&graphs::sequence()).await?;
        self.load.many(&graph, 1, 20, "workflow_completed").await?;
        self.worker
            .steps
            .hops
            .lock()
            .expect("no holder panics")
            .clear();
        println!("begin");
        let pause = Duration::from_secs(1) / u32::try_from(rate)?;
        let (mut tasks, from, mut count) = (JoinSet::new(), Instant::now(), 0_u32);
        while from.elapsed() < time {
            let (load, graph) = (Arc::clone(&self.load), graph.clone());
            tasks.spawn(async move { load.one(&graph, "workflow_completed").await });
            count += 1;
            tokio::time::sleep_until((from + pause * count).into()).await;
        }
        for ended in tasks.join_all().await {
            ended?;
        }
        println!("end");
        let mut hops = self
            .worker
            .steps
            .hops
            .lock()
            .expect("no holder panics")
            .clone();
        hops.sort_unstable();
        Ok(json!({
            "rate": rate, "n": count, "hops": hops.len(), "p50_ms": quantile(&hops, 0.5),
            "p99_ms": quantile(&hops, 0.99), "max_ms": quantile(&hops, 1.0),
        }))
    }

    /// A rate on an empty store and beside runs that wait for people; the memory of this process, and how
    /// soon after a restart the first step begins.
    pub(crate) async fn waiting(
        &mut self,
        waiting: u64,
        concurrency: u64,
        count: u64,
    ) -> anyhow::Result<Value> {
        let graph = self.load.put(&graphs::sequence()).await?;
        let rate = async |load: &Arc<Load>| -> anyhow::Result<f64> {
            let from = Instant::now();
            load.many(&graph, concurrency, count, "workflow_completed")
                .await?;
            Ok(count as f64 / from.elapsed().as_secs_f64())
        };
        rate(&self.load).await?;
        let empty = rate(&self.load).await?;
        let before = memory()?;
        let asks = self.load.put(&graphs::approval()).await?;
        let from = Instant::now();
        self.load
            .many(&asks, 256, waiting, "approval_required")
            .await?;
        let filled = from.elapsed().as_secs_f64();
        println!("begin");
        let beside = rate(&self.load).await?;
        println!("end");
        let after = memory()?;
        // As after a crash that was noticed at once: the leases are given up.
        if let Some(runner) = self.runner.take() {
            runner.drain().await;
        }
        let mut begun = self.worker.steps.begun.subscribe();
        let seen = *begun.borrow_and_update();
        let restart = Instant::now();
        let load = Arc::clone(&self.load);
        let again = graph.clone();
        let mut first = JoinSet::new();
        first.spawn(async move { load.one(&again, "workflow_completed").await });
        self.runner = Some(start_runner(&self.set).await);
        begun.wait_for(|count| *count > seen).await?;
        let first_step = restart.elapsed().as_secs_f64();
        for ended in first.join_all().await {
            ended?;
        }
        Ok(json!({
            "waiting": waiting, "n": count, "empty_wf_s": empty, "wf_s": beside,
            "filled_s": filled, "rss_before_mib": before, "rss_mib": after,
            "first_step_s": first_step,
        }))
    }

    /// How long a run of a light owner takes to its first node: alone, and beside so many queued runs of a
    /// heavy one. Each node takes about so many milliseconds.
    pub(crate) async fn fair(
        &mut self,
        queued: u64,
        count: u64,
        busy: u64,
    ) -> anyhow::Result<Value> {
        let steps = Arc::clone(&self.worker.steps);
        let graph = self.load.put(&graphs::sequence()).await?;
        self.load.many(&graph, 1, 20, "workflow_completed").await?;
        steps.busy.store(busy * 1_000, Ordering::Relaxed);
        let light = async |load: &Load| -> anyhow::Result<Vec<Duration>> {
            let mut took = Vec::new();
            for _ in 0..count {
                let run_id = runs::new_id();
                let (first, from) = (steps.first(&run_id), Instant::now());
                load.create("light", &run_id, &graph).await?;
                took.push(first.await?.saturating_duration_since(from));
                // It comes at any time of what goes on.
                tokio::time::sleep(Duration::from_millis(rand::random_range(5..15))).await;
            }
            took.sort_unstable();
            Ok(took)
        };
        let alone = light(&self.load).await?;
        if let Some(runner) = self.runner.take() {
            runner.drain().await;
        }
        let creating = (0..queued).map(|_| self.load.create_one("heavy", &graph));
        let mut creating = stream::iter(creating).buffer_unordered(256);
        while let Some(created) = creating.next().await {
            created?;
        }
        drop(creating);
        let mut begun = steps.begun.subscribe();
        let seen = *begun.borrow_and_update();
        self.runner = Some(start_runner(&self.set).await);
        begun.wait_for(|count| *count > seen + 1_000).await?;
        println!("begin");
        let beside = light(&self.load).await?;
        println!("end");
        let left = RunFilter {
            owner: Some("heavy".to_owned()),
            status: Some("QUEUED".to_owned()),
            ..RunFilter::default()
        };
        Ok(json!({
            "n": count, "queued": queued, "left": self.load.store.count(&left).await?, "busy_ms": busy,
            "alone_p50_ms": quantile(&alone, 0.5), "alone_p99_ms": quantile(&alone, 0.99),
            "p50_ms": quantile(&beside, 0.5), "p99_ms": quantile(&beside, 0.99),
        }))
    }

    /// The time of an iteration of a `for_each`.
    pub(crate) async fn each(&mut self, items: u64, concurrency: u64) -> anyhow::Result<Value> {
        let graph = self.load.put(&graphs::each(items, concurrency)).await?;
        println!("begin");
        let took = self.load.one(&graph, "workflow_completed").await?;
        println!("end");
        let each = took.as_secs_f64() * 1e3 / items as f64;
        Ok(json!({"n": items, "conc": concurrency, "ms_each": each, "s": took.as_secs_f64()}))
    }

    /// Nothing to do.
    pub(crate) async fn idle(&mut self, time: Duration) -> anyhow::Result<Value> {
        // What a start does is over by then.
        tokio::time::sleep(Duration::from_secs(3)).await;
        println!("begin");
        tokio::time::sleep(time).await;
        println!("end");
        Ok(json!({"n": time.as_secs(), "rss_mib": memory()?}))
    }
}

async fn start_runner(set: &[(&'static str, String)]) -> ServerHandle {
    let set: Vec<(&str, &str)> = set
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let registry = Arc::new(Memory::new());
    let (spec, build) = (&workflow_runner::SPEC, workflow_runner::build);
    testkit::local::start(spec, build, &registry, &set).await
}

impl Load {
    /// Stores a graph; answers its name.
    async fn put(&self, graph: &Value) -> anyhow::Result<String> {
        Ok(self.store.put_blob(graph.to_string().as_bytes()).await?)
    }

    /// Creates a run of an owner.
    async fn create(&self, owner: &str, run_id: &str, graph: &str) -> anyhow::Result<()> {
        let run_id = run_id.to_owned();
        let start = Start {
            run_id: run_id.clone(),
            owner: owner.to_owned(),
            inputs: json!({}),
            priority: 3,
            ..Start::default()
        };
        let run = NewRun {
            run_id,
            owner: owner.to_owned(),
            submitted_by: owner.to_owned(),
            base: ("inline".to_owned(), graph.to_owned()),
            tags_snapshot: json!({}),
            workflow: graph.to_owned(),
            start: serde_json::to_vec(&start)?,
            priority: 3,
            keep_ms: 86_400_000,
            ..NewRun::default()
        };
        self.store.create_run(&run, 0).await?;
        Ok(())
    }

    /// Creates a run of an owner, and follows it no further.
    async fn create_one(&self, owner: &str, graph: &str) -> anyhow::Result<()> {
        self.create(owner, &runs::new_id(), graph).await
    }

    /// Creates one run, and answers how long it took until its event.
    async fn one(&self, graph: &str, until: &str) -> anyhow::Result<Duration> {
        let run_id = runs::new_id();
        let from = Instant::now();
        let event = self.follower.wait(&run_id);
        self.create("bench", &run_id, graph).await?;
        let event = event.await.context("nobody follows the events")?;
        if event != until {
            bail!("{run_id} came to {event}");
        }
        Ok(from.elapsed())
    }

    /// Many runs, so many at a time; answers their times, the shortest first.
    async fn many(
        self: &Arc<Self>,
        graph: &str,
        concurrency: u64,
        count: u64,
        until: &'static str,
    ) -> anyhow::Result<Vec<Duration>> {
        let (mut tasks, next) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
        for _ in 0..concurrency {
            let (load, graph, next) = (Arc::clone(self), graph.to_owned(), Arc::clone(&next));
            tasks.spawn(async move {
                let mut took = Vec::new();
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    took.push(load.one(&graph, until).await?);
                }
                Ok::<_, anyhow::Error>(took)
            });
        }
        let mut all = Vec::new();
        for took in tasks.join_all().await {
            all.extend(took?);
        }
        all.sort_unstable();
        Ok(all)
    }
}

/// A quantile of sorted times, in ms.
fn quantile(sorted: &[Duration], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a slice"
    )]
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e3)
}

/// The memory of this process that is in use, in MiB.
fn memory() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.context("no memory in /proc/self/status")? / 1024)
}
