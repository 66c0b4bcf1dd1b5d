//! One instance of a service, as it is registered.

use std::{collections::BTreeMap, sync::Arc};

/// The result of the registry's checks of an instance, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Health {
    /// Every check passes.
    Passing,
    /// Some check warns: the instance serves, with its lower weight.
    Warning,
    /// Some check fails, or the instance is in maintenance: it gets no calls.
    Critical,
}

/// What a service is to the mesh: by Consul `Meta.kind`, else by its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceKind {
    /// Serves `agentplatform.AgentService`.
    Agent,
    /// Serves `agentplatform.ToolService`.
    Tool,
    /// Serves `agentplatform.TaskWorker`.
    Worker,
    /// A router: never routed to.
    Router,
    /// Any other gRPC service.
    Service,
}

/// Identifies an instance in the whole mesh. Consul service IDs are unique per node only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceKey {
    /// Consul service ID. It comes first in the order of keys, so that keys can be searched by it.
    pub id: Arc<str>,
    /// Consul node name; empty for registries that have no nodes.
    pub node: Arc<str>,
}

/// One instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Node and service ID.
    pub key: InstanceKey,
    /// Consul service name, such as `agent-echo`.
    pub service: Arc<str>,
    /// IP address or host name to connect to.
    pub host: String,
    /// TCP port, 1–65535.
    pub port: u16,
    /// Tags as registered.
    pub tags: Vec<String>,
    /// `Meta` as registered.
    pub meta: BTreeMap<String, String>,
    /// Relative weight for its present health (Consul `Weights`). 0 gets no calls unless all are 0.
    pub weight: u32,
    /// The result of the checks.
    pub health: Health,
}

impl Health {
    /// Its name in Consul: `passing`, `warning` or `critical`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The health of this name. Any other name, such as `maintenance`, is critical.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        [Self::Passing, Self::Warning]
            .into_iter()
            .find(|health| health.name() == name)
            .unwrap_or(Self::Critical)
    }
}

impl ServiceKind {
    /// The kinds with their name in `Meta.kind` and in tags.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Agent, Self::Agent.name()),
        (Self::Tool, Self::Tool.name()),
        (Self::Worker, Self::Worker.name()),
        (Self::Router, Self::Router.name()),
        (Self::Service, Self::Service.name()),
    ];

    /// Its name in `Meta.kind`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Tool => "tool",
            Self::Worker => "worker",
            Self::Router => "router",
            Self::Service => "service",
        }
    }

    /// The kind that carries this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, n)| *n == name)
            .map(|(kind, _)| *kind)
    }

    /// The kind by tags: `router` before `agent`, `tool` and `worker`, else a plain service.
    #[must_use]
    pub fn from_tags<S: AsRef<str>>(tags: &[S]) -> Self {
        let has = |name: &str| tags.iter().any(|tag| tag.as_ref() == name);
        [Self::Router, Self::Agent, Self::Tool, Self::Worker]
            .into_iter()
            .find(|kind| has(kind.name()))
            .unwrap_or(Self::Service)
    }

    /// The public id of a service: `echo-agent` for `agent-echo`. `None` for kinds without such
    /// ids, and for names without the prefix.
    #[must_use]
    pub fn public_id(self, service: &str) -> Option<String> {
        let prefixed = matches!(self, Self::Agent | Self::Tool | Self::Worker);
        let rest = service.strip_prefix(self.name())?.strip_prefix('-')?;
        (prefixed && !rest.is_empty()).then(|| format!("{rest}-{}", self.name()))
    }
}

impl Instance {
    /// Whether it may be given calls.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.health != Health::Critical
    }

    /// What it is to the mesh: by `Meta.kind` if that is a known word, else by its tags.
    #[must_use]
    pub fn kind(&self) -> ServiceKind {
        self.meta
            .get("kind")
            .and_then(|name| ServiceKind::from_name(name))
            .unwrap_or_else(|| ServiceKind::from_tags(&self.tags))
    }

    /// The public id of its service: `Meta.public_id`, else by the Consul name, else the Consul
    /// name itself.
    #[must_use]
    pub fn public_id(&self) -> String {
        self.meta
            .get("public_id")
            // Clients cannot write other ids in a header.
            .filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()))
            .cloned()
            .or_else(|| self.kind().public_id(&self.service))
            .unwrap_or_else(|| self.service.to_string())
    }

    /// `Meta.version`; empty without one.
    #[must_use]
    pub fn version(&self) -> &str {
        let version = self.meta.get("version").map_or("", String::as_str);
        // Control characters would garble terminals and logs.
        if version.chars().any(char::is_control) {
            return "";
        }
        version
    }

    /// The gRPC services that it announces in `Meta.grpc_services`. `None` when it announces none:
    /// then its reflection has to be asked.
    #[must_use]
    pub fn grpc_services(&self) -> Option<Vec<String>> {
        let mut names: Vec<String> = list(self.meta.get("grpc_services")?);
        // No call's path has another name.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
        names.retain(|name| name.bytes().all(plain));
        (!names.is_empty()).then_some(names)
    }

    /// Whether it declares a method, `pkg.Service/Method`, safe to run twice (`Meta.idempotent`).
    #[must_use]
    pub fn is_idempotent(&self, method: &str) -> bool {
        self.meta.get("idempotent").is_some_and(|methods| {
            methods
                .split(',')
                .map(str::trim)
                .any(|m| m == "*" || m == method)
        })
    }

    /// `host:port`, with brackets around an IPv6 address.
    #[must_use]
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(tags: &[&str], meta: &[(&str, &str)]) -> Instance {
        Instance {
            key: InstanceKey {
                node: "n1".into(),
                id: "echo-agent-1".into(),
            },
            service: "agent-echo".into(),
            host: "10.0.0.1".to_owned(),
            port: 50052,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            meta: meta
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            weight: 1,
            health: Health::Passing,
        }
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for (kind, name) in ServiceKind::ALL {
            assert_eq!(ServiceKind::from_name(name), Some(kind));
        }
        assert_eq!(ServiceKind::from_name("agents"), None);
    }

    #[test]
    fn tags_tell_the_kind_with_router_first() {
        assert_eq!(
            ServiceKind::from_tags(&["tool", "weather"]),
            ServiceKind::Tool
        );
        assert_eq!(
            ServiceKind::from_tags(&["agent", "router"]),
            ServiceKind::Router
        );
        assert_eq!(ServiceKind::from_tags(&["grpc"]), ServiceKind::Service);
    }

    #[test]
    fn meta_tells_the_kind_before_tags_unless_it_is_no_kind() {
        assert_eq!(
            instance(&["agent"], &[("kind", "worker")]).kind(),
            ServiceKind::Worker
        );
        assert_eq!(
            instance(&["agent"], &[("kind", "robot")]).kind(),
            ServiceKind::Agent
        );
    }

    #[test]
    fn a_public_id_turns_the_consul_name_around() {
        assert_eq!(instance(&["agent"], &[]).public_id(), "echo-agent");
        assert_eq!(instance(&["tool"], &[]).public_id(), "agent-echo");
        assert_eq!(instance(&["grpc"], &[]).public_id(), "agent-echo");
        assert_eq!(
            instance(&["agent"], &[("public_id", "parrot")]).public_id(),
            "parrot"
        );
        assert_eq!(
            instance(&["agent"], &[("public_id", "")]).public_id(),
            "echo-agent"
        );
        assert_eq!(
            instance(&["agent"], &[("public_id", "two words")]).public_id(),
            "echo-agent"
        );
        assert_eq!(ServiceKind::Agent.public_id("agent-"), None);
        assert_eq!(ServiceKind::Agent.public_id("agents-x"), None);
    }

    #[test]
    fn lists_in_meta_are_separated_by_commas() {
        let it = instance(
            &[],
            &[
                ("grpc_services", "a.B, c.D,"),
                ("idempotent", "a.B/Get, c.D/Run"),
            ],
        );
        assert_eq!(
            it.grpc_services(),
            Some(vec!["a.B".to_owned(), "c.D".to_owned()])
        );
        assert!(it.is_idempotent("c.D/Run") && !it.is_idempotent("c.D/Other"));
        assert!(instance(&[], &[("idempotent", "*")]).is_idempotent("x.Y/Z"));
        assert_eq!(
            instance(&[], &[("grpc_services", " ,")]).grpc_services(),
            None
        );
        assert!(!instance(&[], &[]).is_idempotent("x.Y/Z"));
        let odd = instance(
            &[],
            &[("grpc_services", "a b, /x, c.D"), ("version", "1\n2")],
        );
        assert_eq!(odd.grpc_services(), Some(vec!["c.D".to_owned()]));
        assert_eq!(odd.version(), "");
    }

    #[test]
    fn an_ipv6_authority_has_brackets() {
        let it = Instance {
            host: "::1".to_owned(),
            ..instance(&[], &[])
        };
        assert_eq!(it.authority(), "[::1]:50052");
    }
}
