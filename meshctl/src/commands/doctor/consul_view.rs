//! What a Consul tells of the mesh, and what it hides.

use futures_util::future::join_all;
use serde_json::Value;

use crate::{admin::Answer, consul::ConsulReader, member::Member};

/// What was answered.
#[derive(Debug)]
pub(super) struct ConsulView {
    pub(super) reader: ConsulReader,
    /// Who leads; empty when nobody does. Or why there is no answer.
    pub(super) leader: Result<String, String>,
    pub(super) leader_answer: Option<Answer>,
    /// The names of the catalog.
    pub(super) services: Result<Vec<String>, String>,
    /// How many nodes it shows.
    pub(super) nodes: Result<usize, String>,
    /// The status of the answer about a key of the mesh, with Consul's words.
    pub(super) key: Result<(u16, String), String>,
    /// Names of the catalog whose instances it does not show.
    pub(super) hidden: Vec<String>,
    pub(super) members: Vec<Member>,
}

impl ConsulView {
    pub(super) async fn look(reader: ConsulReader) -> Self {
        let (leader, services, nodes, key) = tokio::join!(
            reader.get(&["status", "leader"]),
            reader.json(&["catalog", "services"]),
            reader.json(&["catalog", "nodes"]),
            // A token that may read keys is told that there is none.
            reader.get(&["kv", "mesh", "doctor"]),
        );
        let services = services.map(|it| names(&it));
        let listed = services.iter().flatten().map(|name| async {
            let rows = reader.json(&["health", "service", name]).await;
            (name.clone(), rows)
        });
        let (mut hidden, mut members) = (Vec::new(), Vec::new());
        for (name, rows) in join_all(listed).await {
            let Ok(Value::Array(rows)) = rows else {
                hidden.push(name);
                continue;
            };
            if rows.is_empty() {
                hidden.push(name);
            }
            members.extend(rows.iter().filter_map(Member::of_consul));
        }
        let leader_answer = leader.as_ref().ok().cloned();
        Self {
            leader: leader.and_then(|answer| leads(&answer)),
            leader_answer,
            services,
            nodes: nodes.map(|it| it.as_array().map_or(0, Vec::len)),
            key: key.map(|answer| (answer.status, answer.text.trim().to_owned())),
            hidden,
            members,
            reader,
        }
    }

    /// Whether something that is a Consul answers.
    pub(super) const fn answers(&self) -> bool {
        self.leader.is_ok()
    }
}

fn names(services: &Value) -> Vec<String> {
    let names = services.as_object().into_iter().flatten();
    names.map(|(name, _)| name.clone()).collect()
}

/// The leader in an answer to `/v1/status/leader`.
fn leads(answer: &Answer) -> Result<String, String> {
    match serde_json::from_str::<String>(&answer.text) {
        Ok(leader) if answer.status == 200 => Ok(leader),
        // Servers that have not elected anybody yet say so in words.
        _ if answer.text.contains("No cluster leader") => Ok(String::new()),
        _ => Err(format!("{}: {}", answer.status, answer.text.trim())),
    }
}
