//! All that is looked at before the checks: Consul, a router and the programs' admin listeners.

use std::collections::BTreeMap;

use clap::Args;
use work::QueueKeys;

use super::{consul_view::ConsulView, finding::Finding, program::Program};
use crate::{
    admin::AdminClient,
    consul::ConsulReader,
    instances,
    member::Member,
    router::{self, RouterArgs},
};

/// Where to look, beside the router.
#[derive(Args, Clone, Debug)]
pub(super) struct SceneArgs {
    /// Consul's address; by default that of CONSUL_HTTP_ADDR, else 127.0.0.1:8500
    #[arg(long, value_name = "ADDR")]
    consul: Option<String>,

    /// The address of HAProxy's statistics; by default 127.0.0.1:8404, where one may be
    #[arg(
        long,
        value_name = "ADDR",
        env = "HAPROXY_STATS",
        hide_env_values = true
    )]
    haproxy: Option<String>,
}

/// What there is.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) environment: BTreeMap<String, String>,
    pub(super) http: AdminClient,
    /// The router's address, and the instances it tells of.
    pub(super) router: (String, Result<Vec<Member>, String>),
    pub(super) consul: ConsulView,
    /// Why the mesh does without Consul; `None` when it uses one.
    pub(super) without_consul: Option<String>,
    /// Every instance that the registry or the router tells of, routers too.
    pub(super) members: Vec<Member>,
    /// Those of them that have an admin listener.
    pub(super) programs: Vec<Program>,
    pub(super) haproxy: Option<String>,
}

impl Scene {
    /// Looks at everything once.
    ///
    /// # Errors
    /// When the environment or an address is invalid.
    pub(super) async fn look(router: &RouterArgs, args: &SceneArgs) -> anyhow::Result<Self> {
        let mut environment = service::config::environment();
        if let Some(address) = &args.consul {
            environment.insert("CONSUL_HTTP_ADDR".to_owned(), address.clone());
        }
        let config = ::router::SPEC.loader().env(environment.clone()).load()?;
        let http = AdminClient::new(&environment)?;
        let address = router.address()?;
        let reader = ConsulReader::new(&config)?;
        let (consul, told) = tokio::join!(ConsulView::look(reader), ask_router(&address));
        let told_members = told.as_deref().unwrap_or_default();
        let mut programs = Program::ask_all(&http, told_members).await;
        let without = without_consul(&environment, &consul, &told, &programs);
        let mut members = told_members.to_vec();
        if without.is_none() {
            let known = |it: &Member| {
                told_members
                    .iter()
                    .any(|own| own.id == it.id && own.node == it.node)
            };
            let more: Vec<Member> = consul
                .members
                .iter()
                .filter(|it| !known(it))
                .cloned()
                .collect();
            programs.extend(Program::ask_all(&http, &more).await);
            members.extend(more);
        }
        members.sort_by(|a, b| (&a.service, &a.id).cmp(&(&b.service, &b.id)));
        Ok(Self {
            environment,
            http,
            router: (address, told),
            consul,
            without_consul: without,
            members,
            programs,
            haproxy: args.haproxy.clone(),
        })
    }

    /// Where jobs are kept: by the environment, else as the programs say. `None` when nobody works
    /// with jobs.
    pub(super) fn queue(&self) -> anyhow::Result<Option<String>> {
        if self.set("REDIS_URL") || self.set("REDIS_HOST") {
            let config = gateway::SPEC
                .loader()
                .env(self.environment.clone())
                .load()?;
            return Ok(Some(QueueKeys::from_config(&config).address()));
        }
        let told = self.programs.iter().find_map(|program| {
            let config = program.config.as_ref().ok()?;
            config.get("jobs_lease")?;
            // A URL may hold a password, and is not told then.
            if let Some(url) = program.key("redis_url") {
                return Some(url.to_owned());
            }
            match (program.key("redis_host"), program.key("jobs_path")) {
                (None, Some(path)) => Some(format!("file://{path}")),
                (host, _) => {
                    let port = program.key("redis_port")?;
                    Some(format!("redis://{}:{port}", host.unwrap_or("127.0.0.1")))
                }
            }
        });
        Ok(told)
    }

    /// The finding of a check that needs a path of the admin listeners, where nobody answers it.
    pub(super) fn nothing_told(&self, path: &str) -> Finding {
        let reasons = self
            .programs
            .iter()
            .filter_map(|it| it.config.as_ref().err());
        match reasons.clone().next() {
            None => Finding::cannot_tell(
                "no admin listener is known",
                "see the checks `router` and `consul`",
            ),
            Some(reason) => Finding::cannot_tell(
                format!("no program tells {path} from here: {reason}"),
                "set ADMIN_TOKEN here as for them, or run this where they run",
            ),
        }
    }

    /// Whether a variable has a value.
    pub(super) fn set(&self, name: &str) -> bool {
        self.environment.get(name).is_some_and(|it| !it.is_empty())
    }
}

async fn ask_router(address: &str) -> Result<Vec<Member>, String> {
    let channel = router::connect(address)
        .await
        .map_err(|error| format!("{error:#}"))?;
    let told = instances::all(&channel).await;
    let told = told.map_err(|status| status.message().to_owned())?;
    let all = told.instances.into_iter().chain(told.routers);
    Ok(all.map(Member::of).collect())
}

/// Why the mesh does without Consul, if it does.
fn without_consul(
    environment: &BTreeMap<String, String>,
    consul: &ConsulView,
    router: &Result<Vec<Member>, String>,
    programs: &[Program],
) -> Option<String> {
    let said: Vec<&str> = programs
        .iter()
        .filter_map(|it| it.key("discovery"))
        .collect();
    if said.contains(&"consul") {
        return None;
    }
    if let Some(other) = said.first() {
        return Some(format!("the programs have discovery = {other:?}"));
    }
    let value = |name: &str| environment.get(name).filter(|it| !it.is_empty());
    match value("DISCOVERY") {
        Some(other) if other != "consul" => return Some(format!("DISCOVERY={other}")),
        _ => {}
    }
    let is_named = value("CONSUL_HTTP_ADDR").or(value("CONSUL_HOST")).is_some();
    let members = router.as_deref().unwrap_or_default();
    let has_nodes = members.iter().any(|member| !member.node.is_empty());
    if is_named || has_nodes || consul.answers() || members.is_empty() {
        return None;
    }
    Some("the router's registry is no Consul".to_owned())
}
