//! The mesh that something is done to.

use std::{collections::HashSet, time::Duration};

use super::fault::Fault;
use crate::{BreakableLink, Consul, FaultyInstance, Mesh, Program, Signal, load, wait};

/// Each call works so long, so that some are always in flight.
const WORK: &str = "25ms";
/// A router or agent that was asked to leave is gone by then.
const LEAVE: Duration = Duration::from_secs(30);
/// Consul's name for those whose calls may run twice.
const ECHO: &str = "agent-echo";
/// And for those that do not say so.
const PLAIN: &str = "agent-plain";

pub(super) struct Scenario {
    pub(super) mesh: Mesh,
    pub(super) faulty: Vec<FaultyInstance>,
    /// The instances that came later.
    pub(super) newcomers: Vec<String>,
    fault: Fault,
    link: Option<BreakableLink>,
    for_routers: Vec<(&'static str, String)>,
    /// Programs that were told to end, and whether they should do so in order.
    gone: Vec<(Program, bool)>,
}

impl Scenario {
    /// Three instances and two routers.
    pub(super) async fn start(fault: Fault) -> Self {
        let consul = Consul::start().await;
        let (link, for_routers) = if fault == Fault::PartitionConsul {
            let link = BreakableLink::open(consul.http()).await;
            let variable = ("CONSUL_HTTP_ADDR", link.address().to_string());
            (Some(link), vec![variable])
        } else {
            (None, Vec::new())
        };
        let (service, of_ours) = match fault {
            Fault::Misbehave(_) => (ECHO, 2),
            Fault::MisbehaveUndeclared(_) => (PLAIN, 0),
            _ => (ECHO, 3),
        };
        let env = [("ECHO_DELAY", WORK.to_owned())];
        let mesh = Mesh::around(consul, of_ours, 2, &env, &for_routers).await;
        let mut faulty = Vec::new();
        for number in of_ours..3 {
            let id = format!("faulty-{number}");
            faulty.push(FaultyInstance::start(&mesh.consul, service, &id, fault.declared()).await);
        }
        mesh.consul.wait_passing(service, 3).await;
        let scenario = Self {
            mesh,
            faulty,
            newcomers: Vec::new(),
            fault,
            link,
            for_routers,
            gone: Vec::new(),
        };
        scenario.wait_known().await;
        scenario
    }

    /// Until every router has called every instance.
    async fn wait_known(&self) {
        for router in &self.mesh.routers {
            let (mut client, mut known) = (load::client(router.grpc), HashSet::new());
            wait::until("a router calls all three", LEAVE, async || {
                known.extend(load::call_agent(self.agent(), &mut client, 0).await);
                (known.len() == 3).then_some(())
            })
            .await;
        }
    }

    pub(super) fn agent(&self) -> &'static str {
        if self.fault.declared() {
            "echo-agent"
        } else {
            "plain-agent"
        }
    }

    pub(super) fn link(&self) -> &BreakableLink {
        self.link.as_ref().expect("this fault has one")
    }

    pub(super) async fn end_instance(&mut self, signal: Signal) -> String {
        let program = self.mesh.echoes.remove(0);
        self.end(program, signal).await
    }

    pub(super) async fn end_router(&mut self, signal: Signal) -> String {
        let program = self.mesh.routers.remove(0);
        self.end(program, signal).await
    }

    async fn end(&mut self, mut program: Program, signal: Signal) -> String {
        program.signal(signal);
        if signal == Signal::Kill {
            program.process.wait_exit(LEAVE).await;
        }
        let id = program.id.clone();
        self.gone.push((program, signal == Signal::Terminate));
        id
    }

    pub(super) async fn add_instances(&mut self, count: usize) {
        let env = [
            self.mesh.consul.env(),
            vec![("ECHO_DELAY", WORK.to_owned())],
        ]
        .concat();
        let new = Program::several("echo-agent", count, &env).await;
        self.newcomers
            .extend(new.iter().map(|program| program.id.clone()));
        self.mesh.echoes.extend(new);
    }

    /// One after the other, as an orchestrator does it: the next goes when the last has left.
    pub(super) async fn redeploy_instances(&mut self) {
        for _ in 0..self.mesh.echoes.len() {
            self.add_instances(1).await;
            let known = self.mesh.echoes.len();
            self.mesh.consul.wait_passing(ECHO, known).await;
            self.end_instance(Signal::Terminate).await;
            self.see_last_off().await;
        }
    }

    pub(super) async fn redeploy_routers(&mut self) {
        let count = self.mesh.routers.len();
        for _ in 0..count {
            let env = [self.mesh.consul.env(), self.for_routers.clone()].concat();
            let new = Program::start("mcp-router", &env).await;
            self.mesh.routers.push(new);
            self.mesh.haproxy.wait_up(count + 1).await;
            self.end_router(Signal::Terminate).await;
            self.see_last_off().await;
            self.mesh.haproxy.wait_up(count).await;
        }
    }

    async fn see_last_off(&mut self) {
        if let Some((program, _)) = self.gone.last_mut() {
            program.process.wait_exit(LEAVE).await;
        }
    }

    /// Whoever was not struck is well; whoever was asked to leave has left in order.
    pub(super) async fn check(&mut self) {
        for (program, in_order) in &mut self.gone {
            let status = program.process.wait_exit(LEAVE).await;
            assert_eq!(
                status.success(),
                *in_order,
                "{}, {}: {status}",
                self.fault.name(),
                program.id
            );
        }
        if self.fault == Fault::RestartConsul {
            self.mesh.consul.wait_passing(ECHO, 3).await;
            self.mesh.consul.wait_passing("mcp-router", 2).await;
        }
        for program in self.mesh.echoes.iter_mut().chain(&mut self.mesh.routers) {
            program.assert_healthy();
        }
    }
}
