//! Changes of tasks, for who follows them by `taskIds`.

use std::sync::Arc;

use mcp::Tasks;
use tokio::task::JoinSet;

use super::{McpServer, listen::Listener, methods::Asker};

/// Tasks that one stream may follow.
const MAX_TASKS: usize = 100;

impl McpServer {
    /// Those of these tasks that there are, for a caller.
    pub(super) async fn known_tasks(&self, asker: &Asker, mut ids: Vec<String>) -> Vec<String> {
        let Some(tasks) = self.caller.tasks() else {
            return Vec::new();
        };
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(MAX_TASKS);
        let caller = asker.caller_name();
        let mut known = Vec::with_capacity(ids.len());
        for id in ids {
            if tasks.get(&id, caller).await.is_ok() {
                known.push(id);
            }
        }
        known
    }

    /// Tells of tasks: how they are, and whenever that changes. It never ends by itself.
    pub(super) async fn follow_tasks(&self, asker: &Asker, ids: &[String], to: &Listener) {
        let mut following = JoinSet::new();
        if let Some(tasks) = self.caller.tasks() {
            for id in ids {
                let (tasks, id) = (tasks.clone(), id.clone());
                let (caller, to) = (asker.caller().cloned(), to.clone());
                following.spawn(follow(tasks, id, caller, to));
            }
        }
        while following.join_next().await.is_some() {}
        std::future::pending().await
    }
}

async fn follow(tasks: Tasks, id: String, caller: Option<Arc<str>>, to: Listener) {
    let mut follower = tasks.follower(&id, caller.as_deref());
    while let Some(task) = follower.next().await {
        if !to.tell_task(task.to_members()).await {
            return;
        }
    }
}
