//! What agents, tools and workers say of themselves.

use directory::Service;
use discovery::ServiceKind;
use proto::agentplatform::{AgentInfo, ToolInfo, ToolOperation, ToolParameter, WorkerInfo};

/// What a service says of itself; where it is silent, what the registry knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) details: String,
    pub(super) how_it_works: String,
    pub(super) return_format: String,
    pub(super) use_cases: Vec<String>,
    pub(super) operations: Vec<ToolOperation>,
    pub(super) parameters: Vec<ToolParameter>,
}

/// What agents, tools and workers say alike, beside what only this kind says.
macro_rules! about {
    ($info:expr, $own:expr) => {
        About {
            name: $info.name,
            description: $info.description,
            details: $info.detailed_description,
            how_it_works: $info.how_it_works,
            return_format: $info.return_format,
            use_cases: $info.use_cases,
            ..$own
        }
    };
}

impl About {
    pub(super) fn agent(service: &Service, info: AgentInfo) -> Self {
        about!(info, Self::default()).completed(service)
    }

    pub(super) fn worker(service: &Service, info: WorkerInfo) -> Self {
        let own = Self {
            parameters: info.parameters,
            ..Self::default()
        };
        about!(info, own).completed(service)
    }

    pub(super) fn tool(service: &Service, info: ToolInfo) -> Self {
        let own = Self {
            operations: info.operations,
            parameters: info.parameters,
            ..Self::default()
        };
        about!(info, own).completed(service)
    }

    fn completed(mut self, service: &Service) -> Self {
        let meta = service.meta();
        let known = |key: &str| meta.get(key).copied().unwrap_or_default().to_owned();
        if self.name.is_empty() {
            self.name = known("name");
        }
        if self.name.is_empty() {
            self.name.clone_from(&service.public_id);
        }
        if self.description.is_empty() {
            self.description = known("description");
        }
        self
    }

    /// What it does and answers, in a few sentences.
    pub(super) fn summary(&self) -> String {
        let answer = match self.return_format.is_empty() {
            true => String::new(),
            false => format!("Answer: {}", self.return_format),
        };
        sentences([self.description.as_str(), &self.details, &answer])
    }
}

/// The scheme of the URIs of a kind.
pub(super) const fn scheme(kind: ServiceKind) -> Option<&'static str> {
    match kind {
        ServiceKind::Agent | ServiceKind::Tool | ServiceKind::Worker => Some(kind.name()),
        ServiceKind::Router | ServiceKind::Service => None,
    }
}

/// Sentences one after the other, each of them once.
pub(super) fn sentences<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for part in parts {
        let part = part.trim();
        if part.is_empty() || text.contains(part) {
            continue;
        }
        // A longer text that begins with what is there says it all.
        if !text.is_empty() && part.starts_with(&text) {
            text.clear();
        }
        if !text.is_empty() {
            let ends = text.ends_with(['.', '!', '?', ':']);
            text.push_str(if ends { " " } else { ". " });
        }
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_joined_and_none_is_said_twice() {
        assert_eq!(
            sentences(["Finds files", "", "Finds", "Fast."]),
            "Finds files. Fast."
        );
        assert_eq!(sentences(["One.", "Two"]), "One. Two");
        assert_eq!(
            sentences(["Weather", "Weather. Parameters: city."]),
            "Weather. Parameters: city."
        );
    }
}
