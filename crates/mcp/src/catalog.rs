//! Which services and methods are tools, kept up to date.
//!
//! One task follows the directory. A service that changes is asked again, and no other. What all of them offer is
//! published as a whole [`CatalogSnapshot`], as the directory does.

mod about;
mod build;
mod follow;
pub mod forward;
mod keys;
mod methods;
mod mounts;
mod named;
mod pools;
pub mod prompts;
mod publish;
mod reflected;
pub mod resources;
mod sets;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use directory::{Directory, Service};
use service::{Context, ToolSettings};
use tokio::{sync::watch, task::JoinSet, time::timeout};

pub use build::LeftOut;
pub use keys::CatalogKeys;
pub use snapshot::{
    CatalogService, CatalogSnapshot, CatalogView, MeshPrompt, MeshResource, Versions,
};

use crate::{ToolKeys, schema::SchemaOptions};
use build::Builder;
use follow::Follower;
use publish::Publisher;
use sets::FollowedSets;

/// The settings of services: which of their methods are tools.
pub trait ToolSettingsSource: std::fmt::Debug + Send + Sync + 'static {
    /// Those of one service.
    fn of(&self, service: &Service) -> ToolSettings;

    /// Changes whenever they may have changed.
    fn changes(&self) -> watch::Receiver<u64>;
}

impl ToolSettingsSource for Context {
    fn of(&self, service: &Service) -> ToolSettings {
        self.tool_settings(&service.name, &service.meta())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.settings_changes()
    }
}

/// Knows every tool, resource and prompt of the mesh. Ends its work when dropped.
#[derive(Debug)]
pub struct Catalog {
    current: Arc<ArcSwap<CatalogSnapshot>>,
    changes: watch::Receiver<Arc<CatalogSnapshot>>,
    /// Owns the task that follows the directory.
    _tasks: JoinSet<()>,
}

impl Catalog {
    /// Starts following a directory, on the current tokio runtime.
    ///
    /// # Errors
    /// When a file of `mcp_descriptor_sets` cannot be used.
    pub fn start(directory: &Arc<Directory>, context: &Context) -> anyhow::Result<Arc<Self>> {
        let keys = CatalogKeys::from_config(&context.config);
        let schema = SchemaOptions {
            max_bytes: ToolKeys::from_config(&context.config).mcp_max_schema,
            ..SchemaOptions::default()
        };
        Self::with_settings(directory, Arc::new(context.clone()), &keys, schema)
    }

    /// The same with settings of another source.
    ///
    /// # Errors
    /// As [`Catalog::start`].
    pub fn with_settings(
        directory: &Arc<Directory>,
        settings: Arc<dyn ToolSettingsSource>,
        keys: &CatalogKeys,
        schema: SchemaOptions,
    ) -> anyhow::Result<Arc<Self>> {
        let builder = Builder {
            directory: Arc::clone(directory),
            sets: Arc::new(FollowedSets::read(&keys.mcp_descriptor_sets)?),
            pools: Arc::default(),
            schema,
        };
        let publisher = Publisher::new(keys.mcp_max_name, keys.mcp_max_tools);
        let current: Arc<ArcSwap<CatalogSnapshot>> = Arc::default();
        let (sender, changes) = watch::channel(Arc::default());
        let follower = Follower::new(builder, settings, publisher, Arc::clone(&current), sender);
        let mut tasks = JoinSet::new();
        tasks.spawn(follower.run());
        Ok(Arc::new(Self {
            current,
            changes,
            _tasks: tasks,
        }))
    }

    /// What is known now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<CatalogSnapshot> {
        self.current.load_full()
    }

    /// Follows what is known.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<CatalogSnapshot>> {
        self.changes.clone()
    }

    /// The snapshot once the registry has answered and the services of then have been asked; `None` when that
    /// takes longer than `limit`: a list would not be true.
    pub async fn ready_snapshot(&self, limit: Duration) -> Option<Arc<CatalogSnapshot>> {
        let snapshot = self.snapshot();
        if snapshot.ready {
            return Some(snapshot);
        }
        let mut changes = self.changes();
        let ready = timeout(limit, changes.wait_for(|snapshot| snapshot.ready)).await;
        Some(Arc::clone(&*ready.ok()?.ok()?))
    }
}
