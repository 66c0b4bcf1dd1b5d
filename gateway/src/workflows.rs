//! Workflows and their runs, as the doors offer them: kept by a [`runs::RunStore`], read by
//! [`workflow::Run`], and changed by commands to the run's runner.

pub(crate) mod approvals;
pub(crate) mod body;
pub(crate) mod changes;
pub(crate) mod commands;
pub(crate) mod create;
pub(crate) mod details;
pub(crate) mod event_text;
pub(crate) mod follow;
pub(crate) mod ids;
pub(crate) mod ir;
pub(crate) mod limits;
mod outage;
pub(crate) mod owner;
pub(crate) mod recent;
pub(crate) mod tags;
pub(crate) mod versions;
pub(crate) mod views;

use std::{sync::Arc, time::Duration};

use runs::RunStore;
use service::Context;

use crate::{keys::WorkflowKeys, problem::Problem};

use changes::ChangeFeed;
use create::KnownVersions;
use limits::MinuteLimits;
use outage::Outage;

/// What the doors of workflows work with.
#[derive(Debug)]
pub(crate) struct Workflows {
    store: Arc<dyn RunStore>,
    pub(crate) keys: WorkflowKeys,
    links: work::ApprovalLinkKeys,
    pub(crate) limits: MinuteLimits,
    pub(crate) changes: ChangeFeed,
    pub(crate) known: KnownVersions,
    outage: Outage,
    /// How long the store may take.
    patience: Duration,
}

impl Workflows {
    pub(crate) fn new(context: &Context, store: Arc<dyn RunStore>, patience: Duration) -> Self {
        let keys = WorkflowKeys::from_config(&context.config);
        Self {
            links: work::ApprovalLinkKeys::from_config(&context.config),
            limits: MinuteLimits::new(&keys),
            changes: ChangeFeed::start(context, store.clone()),
            known: KnownVersions::default(),
            outage: Outage::new(context, store.clone()),
            store,
            keys,
            patience,
        }
    }

    /// Where runs are kept.
    pub(crate) fn store(&self) -> &Arc<dyn RunStore> {
        &self.store
    }

    /// Asks the store something, for a bounded time.
    pub(crate) async fn ask<T>(
        &self,
        asked: impl Future<Output = Result<T, runs::Error>>,
    ) -> Result<T, Problem> {
        let patience = self.patience;
        let answer = tokio::time::timeout(patience, asked).await;
        let answer = answer.unwrap_or_else(|_| {
            let text = format!("no answer within store_timeout = {patience:?}");
            Err(runs::Error::Unavailable(text))
        });
        if let Err(runs::Error::Unavailable(reason)) = &answer {
            self.outage.met(reason);
        }
        Ok(answer?)
    }
}
