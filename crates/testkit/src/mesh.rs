//! The whole mesh, small: Consul, echo agents, routers, HAProxy.

use std::net::SocketAddr;

use crate::{Consul, HaProxy, Program, load};

/// A mesh that takes calls at [`Mesh::address`].
#[derive(Debug)]
pub struct Mesh {
    /// In front of the routers.
    pub haproxy: HaProxy,
    /// Between HAProxy and the agents.
    pub routers: Vec<Program>,
    /// `echo-agent`, of which `agent-echo` is the Consul service.
    pub echoes: Vec<Program>,
    /// Who knows them all.
    pub consul: Consul,
}

impl Mesh {
    /// Starts one, with these variables for every program of ours, and waits until HAProxy has
    /// every router and Consul every instance.
    pub async fn start(echoes: usize, routers: usize, env: &[(&'static str, String)]) -> Self {
        Self::around(Consul::start().await, echoes, routers, env, &[]).await
    }

    /// The same with a Consul that is there already, and more variables for the routers alone.
    pub async fn around(
        consul: Consul,
        echoes: usize,
        routers: usize,
        env: &[(&'static str, String)],
        for_routers: &[(&'static str, String)],
    ) -> Self {
        let env = [consul.env(), env.to_vec()].concat();
        let echo_agents = Program::several("echo-agent", echoes, &env).await;
        // Of a variable that is given twice, the last counts.
        let env = [env, for_routers.to_vec()].concat();
        let mcp_routers = Program::several("mcp-router", routers, &env).await;
        let haproxy = HaProxy::start(consul.dns()).await;
        consul.wait_passing("agent-echo", echoes).await;
        consul.wait_passing("mcp-router", routers).await;
        haproxy.wait_up(routers).await;
        Self {
            haproxy,
            routers: mcp_routers,
            echoes: echo_agents,
            consul,
        }
    }

    /// Where clients call: HAProxy.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.haproxy.grpc()
    }
}

/// A mesh whose one router takes the calls itself.
#[derive(Debug)]
pub struct RouterMesh {
    /// Takes the calls.
    pub router: Program,
    /// `echo-agent`, of which `agent-echo` is the Consul service.
    pub echoes: Vec<Program>,
    /// Who knows them.
    pub consul: Consul,
}

impl RouterMesh {
    /// Starts one, with variables for the agents and for the router, and waits until a call is
    /// answered.
    pub async fn start(
        echoes: usize,
        for_echoes: &[(&'static str, String)],
        for_router: &[(&'static str, String)],
    ) -> Self {
        let consul = Consul::start().await;
        let with = |more: &[(&'static str, String)]| [consul.env(), more.to_vec()].concat();
        let agents = Program::several("echo-agent", echoes, &with(for_echoes)).await;
        let router = Program::start("mcp-router", &with(for_router)).await;
        consul.wait_passing("agent-echo", echoes).await;
        load::wait_answered(router.grpc).await;
        Self {
            router,
            echoes: agents,
            consul,
        }
    }
}
