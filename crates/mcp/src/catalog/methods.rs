//! Which methods are tools.

use service::{Listed, MethodList, ServiceKind, ToolSettings};

/// The package of the mesh's own contract.
pub(super) const PLATFORM: &str = "agentplatform.";
pub(super) const EXECUTE_TASK: (&str, &str) = ("agentplatform.AgentService", "ExecuteTask");
pub(super) const PROCESS_TASK: (&str, &str) = ("agentplatform.TaskWorker", "ProcessTask");
pub(super) const EXECUTE_TOOL: (&str, &str) = ("agentplatform.ToolService", "ExecuteTool");
/// What a mounted MCP server serves beside its tools.
pub(super) const MOUNT: &str = "mesh.v1.McpService";

/// Which methods of one service are tools, and what is declared of them.
#[derive(Clone, Debug)]
pub(super) struct Exposure {
    methods: MethodList,
    /// The setting, for people.
    pub(super) mode: String,
    settings: ToolSettings,
    kind: ServiceKind,
}

/// Whether a method is a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Tool,
    /// The setting does not name it.
    Unlisted,
    /// It is named, and is none all the same.
    LeftOut(&'static str),
}

impl Exposure {
    pub(super) fn new(settings: ToolSettings, kind: ServiceKind) -> Self {
        let methods = settings.mcp.clone().unwrap_or_else(|| match kind {
            ServiceKind::Agent | ServiceKind::Tool | ServiceKind::Worker => MethodList::all(),
            ServiceKind::Router | ServiceKind::Service => MethodList::default(),
        });
        Self {
            mode: methods.to_string(),
            methods,
            settings,
            kind,
        }
    }

    /// Whether nothing of the service is a tool.
    pub(super) const fn is_off(&self) -> bool {
        self.methods.is_empty()
    }

    /// Whether a method of the mesh's own contract is called.
    pub(super) fn has(&self, (service, method): (&str, &str)) -> bool {
        self.methods.contains(service, method)
    }

    pub(super) fn verdict(&self, service: &str, method: &str) -> Verdict {
        let listed = self.methods.lists(service, method);
        if listed == Listed::No {
            return Verdict::Unlisted;
        }
        if is_infrastructure(service) {
            return Verdict::LeftOut("it is the mesh's own");
        }
        let is_list = ["Register", "List"].iter().any(|it| method.starts_with(it));
        match (is_list, service.starts_with(PLATFORM), listed) {
            (true, true, _) => Verdict::LeftOut("it is the mesh's own"),
            (true, false, Listed::ByPattern) => {
                Verdict::LeftOut("no pattern takes Register… and List…: name it in `mcp`")
            }
            _ => Verdict::Tool,
        }
    }

    /// The gRPC services and methods that the setting names one by one.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.methods.names()
    }

    pub(super) fn is_read_only(&self, service: &str, method: &str) -> bool {
        self.settings.mcp_read_only.contains(service, method)
    }

    pub(super) fn is_destructive(&self, service: &str, method: &str) -> bool {
        self.settings.mcp_destructive.contains(service, method)
    }

    /// Whether calls of the method take long.
    pub(super) fn is_task(&self, service: &str, method: &str) -> bool {
        match &self.settings.mcp_tasks {
            Some(list) => list.contains(service, method),
            None => match self.kind {
                ServiceKind::Agent => (service, method) == EXECUTE_TASK,
                ServiceKind::Worker => (service, method) == PROCESS_TASK,
                ServiceKind::Tool | ServiceKind::Router | ServiceKind::Service => false,
            },
        }
    }
}

/// What each process serves for the mesh and for tools such as `grpcurl`.
pub(super) fn is_infrastructure(service: &str) -> bool {
    ["grpc.health.", "grpc.reflection.", "mesh.v1."]
        .iter()
        .any(|package| service.starts_with(package))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposure(mcp: &str, kind: ServiceKind) -> Exposure {
        let mcp = (!mcp.is_empty()).then(|| MethodList::parse(mcp).unwrap());
        let settings = ToolSettings {
            mcp,
            ..ToolSettings::default()
        };
        Exposure::new(settings, kind)
    }

    #[test]
    fn by_default_agents_tools_and_workers_are_shown_and_others_are_not() {
        for kind in [ServiceKind::Agent, ServiceKind::Tool, ServiceKind::Worker] {
            assert!(!exposure("", kind).is_off());
            assert!(exposure("off", kind).is_off());
        }
        assert!(exposure("", ServiceKind::Service).is_off());
        assert!(!exposure("*", ServiceKind::Service).is_off());
    }

    #[test]
    fn some_methods_are_no_tools_whatever_the_setting() {
        let all = exposure("*", ServiceKind::Service);
        for (service, method, is_tool) in [
            ("shop.Orders", "Get", true),
            ("shop.Orders", "Register", false),
            ("shop.Orders", "ListOrders", false),
            ("grpc.health.v1.Health", "Check", false),
            (
                "grpc.reflection.v1.ServerReflection",
                "ServerReflectionInfo",
                false,
            ),
            ("mesh.v1.MeshService", "ListInstances", false),
            ("agentplatform.AgentService", "RegisterAgent", false),
        ] {
            assert_eq!(
                all.verdict(service, method) == Verdict::Tool,
                is_tool,
                "{service}/{method}"
            );
        }
        let named = "shop.Orders/ListOrders, agentplatform.AgentService/ListAgents, mesh.v1.A/B";
        let named = exposure(named, ServiceKind::Service);
        assert_eq!(named.verdict("shop.Orders", "ListOrders"), Verdict::Tool);
        assert_eq!(named.verdict("shop.Orders", "Get"), Verdict::Unlisted);
        let never = |service, method| matches!(named.verdict(service, method), Verdict::LeftOut(_));
        assert!(never("agentplatform.AgentService", "ListAgents") && never("mesh.v1.A", "B"));
    }

    #[test]
    fn tasks_are_those_of_agents_and_workers_unless_others_are_named() {
        let agent = exposure("", ServiceKind::Agent);
        assert!(agent.is_task(EXECUTE_TASK.0, EXECUTE_TASK.1));
        assert!(!exposure("", ServiceKind::Tool).is_task(EXECUTE_TASK.0, EXECUTE_TASK.1));
        let settings = ToolSettings {
            mcp_tasks: MethodList::parse("shop.Orders/*"),
            ..ToolSettings::default()
        };
        let named = Exposure::new(settings, ServiceKind::Agent);
        assert!(named.is_task("shop.Orders", "Get"));
        assert!(!named.is_task(EXECUTE_TASK.0, EXECUTE_TASK.1));
    }
}
