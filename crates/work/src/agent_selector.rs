//! Finds the agent that suits a description best, by the capabilities that agents list.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use channel::Mesh;
use futures_util::future::join_all;
use parking_lot::Mutex;
use proto::agentplatform::{ListAgentsRequest, agent_service_client::AgentServiceClient};
use tokio::time::{Instant, timeout};
use tonic::Request;

/// How long the capabilities of agents are cached.
const CACHE_TTL: Duration = Duration::from_secs(30);
/// How long an agent may take to list them.
const LIST_TIMEOUT: Duration = Duration::from_secs(1);

/// The words of each agent's capabilities, by its public id.
type AgentWords = BTreeMap<String, BTreeSet<String>>;

/// Chooses agents.
#[derive(Debug)]
pub struct AgentSelector {
    mesh: Mesh,
    fallback: String,
    known: Mutex<Option<(Instant, AgentWords)>>,
}

impl AgentSelector {
    /// Chooses among the agents of a mesh; `fallback` where none suits.
    #[must_use]
    pub fn new(mesh: Mesh, fallback: &str) -> Self {
        let (fallback, known) = (fallback.to_owned(), Mutex::default());
        Self {
            mesh,
            fallback,
            known,
        }
    }

    /// The public ids of the best agents for descriptions, in their order.
    pub async fn best(&self, descriptions: impl Iterator<Item = &str>) -> Vec<String> {
        let known = self.known().await;
        descriptions
            .map(|text| best(&known, text, &self.fallback))
            .collect()
    }

    async fn known(&self) -> AgentWords {
        let fresh = self
            .known
            .lock()
            .clone()
            .filter(|(at, _)| at.elapsed() < CACHE_TTL);
        if let Some((_, known)) = fresh {
            return known;
        }
        let mut catalog = self.mesh.discovery().catalog();
        let answered = timeout(LIST_TIMEOUT, catalog.wait_for(Option::is_some)).await;
        let catalog = answered
            .ok()
            .and_then(Result::ok)
            .and_then(|catalog| catalog.clone());
        let Some(catalog) = catalog else {
            return AgentWords::new();
        };
        let agents = catalog
            .services
            .iter()
            .filter(|(_, tags)| tags.iter().any(|tag| tag == "agent"));
        let asked = join_all(agents.map(|(service, _)| self.ask(service))).await;
        let known: AgentWords = asked.into_iter().flatten().collect();
        if !known.is_empty() {
            *self.known.lock() = Some((Instant::now(), known.clone()));
        }
        known
    }

    /// The agents that one service lists; none if it does not answer in time.
    async fn ask(&self, service: &str) -> Vec<(String, BTreeSet<String>)> {
        let mut request = Request::new(ListAgentsRequest::default());
        request.set_timeout(LIST_TIMEOUT);
        let mut client = AgentServiceClient::new(self.mesh.channel(service));
        let listed = timeout(LIST_TIMEOUT, client.list_agents(request)).await;
        let agents = match listed {
            Ok(Ok(listed)) => listed.into_inner().agents,
            _ => return Vec::new(),
        };
        let words_of =
            |capabilities: &[String]| capabilities.iter().flat_map(|text| words(text)).collect();
        agents
            .into_iter()
            .map(|agent| (agent.agent_id, words_of(&agent.capabilities)))
            .collect()
    }
}

/// The agent with the most matching capabilities; among equals the fallback, else the first by
/// name.
fn best(known: &AgentWords, description: &str, fallback: &str) -> String {
    let asked: BTreeSet<String> = words(description).collect();
    let score = |(id, can): &(&String, &BTreeSet<String>)| {
        let matched = can.intersection(&asked).count();
        (matched, id.as_str() == fallback)
    };
    // `max_by_key` keeps the last of equals, so that the first name comes last.
    let best = known
        .iter()
        .rev()
        .filter(|agent| score(agent).0 > 0)
        .max_by_key(score);
    best.map_or_else(|| fallback.to_owned(), |(id, _)| id.clone())
}

/// Lower case and without endings, so that `Reviewing` meets `review`.
fn words(text: &str) -> impl Iterator<Item = String> {
    let parts = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 2);
    parts.map(|word| {
        let word = word.to_lowercase();
        let stem = ["ing", "ers", "er", "ed", "es", "s"]
            .iter()
            .find_map(|end| word.strip_suffix(end));
        match stem {
            // `process` is no plural.
            Some(stem) if stem.chars().count() > 2 && !word.ends_with("ss") => stem.to_owned(),
            _ => word,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_with_the_most_matching_capabilities_is_chosen() {
        let can = |text: &str| words(text).collect::<BTreeSet<_>>();
        let known = AgentWords::from([
            ("code-agent".to_owned(), can("code implementation design")),
            ("echo-agent".to_owned(), can("echo text-processing")),
            ("research-agent".to_owned(), can("research notes design")),
            ("review-agent".to_owned(), can("review quality")),
        ]);
        let table = [
            ("Reviewing the quality of reviews", "review-agent"),
            ("Write the code", "code-agent"),
            ("process this text", "echo-agent"),
            ("Make a design", "research-agent"),
            ("Bake a cake", "research-agent"),
            ("", "research-agent"),
        ];
        for (text, expected) in table {
            assert_eq!(best(&known, text, "research-agent"), expected, "{text}");
        }
        assert_eq!(
            best(&AgentWords::new(), "code", "research-agent"),
            "research-agent"
        );
    }
}
