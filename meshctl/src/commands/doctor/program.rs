//! One program, as its admin listener tells of it.

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use crate::{
    admin::{AdminClient, Answer},
    exposition::Samples,
    member::Member,
};

/// How many programs are asked at once.
const AT_ONCE: usize = 32;

/// What a program says.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) member: Member,
    pub(super) readyz: Result<Answer, String>,
    /// `/config`, or why it is not told.
    pub(super) config: Result<Value, String>,
    /// `/metrics`, or why it is not told.
    pub(super) metrics: Result<Samples, String>,
}

impl Program {
    /// Asks all that have an admin listener.
    pub(super) async fn ask_all(client: &AdminClient, members: &[Member]) -> Vec<Self> {
        let asked = members.iter().filter_map(|member| {
            let address = member.admin.clone()?;
            Some(Self::ask(client, member.clone(), address))
        });
        // Borrowed futures in a stream of their own need an owner.
        let asked: Vec<_> = asked.collect();
        let mut programs: Vec<Self> = stream::iter(asked)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        programs.sort_by(|a, b| a.member.id.cmp(&b.member.id));
        programs
    }

    async fn ask(client: &AdminClient, member: Member, address: String) -> Self {
        let (readyz, config, metrics) = tokio::join!(
            client.get(&address, "/readyz"),
            client.get(&address, "/config"),
            client.get(&address, "/metrics"),
        );
        Self {
            member,
            readyz,
            config: config.and_then(|answer| match answer.status {
                200 => serde_json::from_str(&answer.text).map_err(|error| error.to_string()),
                _ => Err(refused(&answer)),
            }),
            metrics: metrics.and_then(|answer| match answer.status {
                200 => Ok(Samples::read(&answer.text)),
                _ => Err(refused(&answer)),
            }),
        }
    }

    /// What it is called in a finding.
    pub(super) fn name(&self) -> &str {
        &self.member.id
    }

    /// The value of one of its keys; `None` when it is empty or not told.
    pub(super) fn key(&self, name: &str) -> Option<&str> {
        let config = self.config.as_ref().ok()?;
        config[name]["value"].as_str().filter(|it| !it.is_empty())
    }
}

fn refused(answer: &Answer) -> String {
    format!("{}: {}", answer.status, answer.text.trim())
}
