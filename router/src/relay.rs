//! The router's port carried by the relay engine: one engine a thread, all of them on one listener.
//! What the router answers itself is one more endpoint behind it, within this process.

mod call;
mod client;
mod dispatch;
mod gauges;
mod handshake;
mod host;
mod responses;
mod spans;
mod transport;

use std::{
    future::Future,
    io,
    net::TcpListener,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use directory::Directory;
use mesh_relay::{
    Config, Engine,
    driver::{self, Command},
};
use parking_lot::Mutex;
use service::{Context, Listener, LocalBackend, LoopLag};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{RouterKeys, hedging::HedgedCalls, tasks::TaskLocations};
use gauges::Gauges;
use host::RouterHost;

/// Commands that wait for one engine.
const COMMANDS: usize = 4096;

/// What all engines of a router share.
pub(crate) struct Shared {
    pub(crate) mesh: channel::Mesh,
    pub(crate) directory: Arc<Directory>,
    pub(crate) tasks: Arc<TaskLocations>,
    pub(crate) hedged: Arc<HedgedCalls>,
    pub(crate) backend: LocalBackend,
    pub(crate) max_message_bytes: u64,
    /// The largest header list of a call.
    pub(crate) max_header_bytes: usize,
    /// Of what the router answers itself.
    pub(crate) default_timeout: Option<Duration>,
    /// Where waiting is done: the engines' threads do nothing but relay.
    pub(crate) runtime: runtime::Handle,
    pub(crate) tracker: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    /// Calls in flight.
    pub(crate) active: AtomicUsize,
    pub(crate) gauges: Gauges,
    pub(crate) loop_lag: LoopLag,
}

/// The threads that carry the port.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    threads: Mutex<Vec<Thread>>,
}

struct Thread {
    commands: mpsc::Sender<Command<RouterHost>>,
    /// How many calls its drain cut.
    ended: oneshot::Receiver<usize>,
}

impl Relay {
    /// Starts the threads.
    pub(crate) fn start(
        context: &Context,
        directory: Arc<Directory>,
        tasks: Arc<TaskLocations>,
        hedged: Arc<HedgedCalls>,
        backend: LocalBackend,
        listener: &TcpListener,
    ) -> anyhow::Result<Arc<dyn Listener>> {
        let shared = Arc::new(Shared {
            mesh: context.mesh.clone(),
            directory,
            tasks,
            hedged,
            backend,
            max_message_bytes: u64::try_from(context.max_message_bytes())?,
            max_header_bytes: context.keys.metadata.max_header_bytes,
            default_timeout: unless_zero(context.mesh.options().default_timeout),
            runtime: runtime::Handle::current(),
            tracker: context.tracker.clone(),
            shutdown: context.shutdown.clone(),
            active: AtomicUsize::new(0),
            gauges: Gauges::new(&context.registry),
            loop_lag: context.loop_lag.clone(),
        });
        let config = config(context);
        let threads = (0..RouterKeys::from_config(&context.config).relay_threads)
            .map(|number| {
                spawn(
                    number,
                    listener.try_clone()?,
                    config.clone(),
                    Arc::clone(&shared),
                )
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Arc::new(Self {
            shared,
            threads: Mutex::new(threads),
        }))
    }
}

impl Listener for Relay {
    fn active(&self) -> usize {
        self.shared.active.load(Ordering::Relaxed)
    }

    fn drain(&self, limit: Duration) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        Box::pin(async move {
            let threads = std::mem::take(&mut *self.threads.lock());
            for thread in &threads {
                // A thread that has ended has nothing to drain.
                thread.commands.send(Command::Drain(limit)).await.ok();
            }
            let mut cut = 0;
            for thread in threads {
                cut += thread.ended.await.unwrap_or(0);
            }
            cut
        })
    }
}

fn unless_zero(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

fn config(context: &Context) -> Config {
    let keys = RouterKeys::from_config(&context.config);
    let options = context.mesh.options();
    Config {
        replay: options.retry_buffer,
        max_connections: options.max_connections,
        client_memory: keys.client_memory,
        memory: keys.relay_memory,
        ..context.relay_config()
    }
}

fn spawn(
    number: u64,
    listener: TcpListener,
    config: Config,
    shared: Arc<Shared>,
) -> io::Result<Thread> {
    let (commands, orders) = mpsc::channel(COMMANDS);
    let (end, ended) = oneshot::channel();
    let lag = shared.loop_lag.clone();
    let host = RouterHost::new(shared, commands.clone());
    let mut builder = runtime::Builder::new_current_thread();
    service::track_tasks(&mut builder);
    let runtime = builder.enable_all().build()?;
    let name = format!("relay-{number}");
    thread::Builder::new().name(name.clone()).spawn(move || {
        let cut = runtime.block_on(async {
            let mut beside = JoinSet::new();
            beside.spawn(async move { lag.measure(&name).await });
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let engine = Engine::new(config, host, Instant::now());
            io::Result::Ok(driver::run(Some(listener), engine, orders).await)
        });
        match cut {
            // There is no receiver if the program ends without a drain.
            Ok(cut) => drop(end.send(cut)),
            Err(error) => tracing::error!(%error, "a relay thread cannot listen"),
        }
    })?;
    Ok(Thread { commands, ended })
}
