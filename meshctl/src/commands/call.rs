//! `meshctl call`: any method of any service of the mesh, with JSON.

mod input;
mod metadata;

use std::{future::pending, time::Duration};

use clap::Args;
use dynamic::{Deadline, ReflectionClient};
use prost_reflect::{DynamicMessage, Value};
use proto::error_info::{self, Reason};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use crate::{
    contract::{self, ListKind, ListedService},
    duration, methods,
    output::{Output, Style},
    router::{self, Channel, RouterArgs},
};
use input::Input;

/// Names that mean the router itself, and not a service behind it.
const ROUTER: [&str; 2] = ["router", router_program()];
/// Messages that are read ahead of the call.
const AHEAD: usize = 16;

const fn router_program() -> &'static str {
    ::router::SPEC.program
}

/// Call a method of a service, with JSON in and out.
///
/// The method is found by reflection. TARGET becomes the agent_id or tool_id of an agentplatform
/// request that has none. For any other message it is sent as x-mesh-service metadata.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl call echo-agent ExecuteTask '{\"input\":\"hi\"}'\n  \
    meshctl call echo-agent agentplatform.AgentService/StreamTask '{\"input\":\"one two\"}'\n  \
    meshctl call weather-tool ExecuteTool @request.json --timeout 5s -H x-mesh-session:42\n  \
    meshctl call mcp-router ListAgents")]
pub(crate) struct Call {
    /// A service's id or Consul name; mcp-router for the router itself
    target: String,

    /// pkg.Service/Method, or Method alone where only one service has it
    method: String,

    /// The message: JSON, @file, or - for standard input; {} when absent. A method that takes a
    /// stream gets one message after another, from standard input when absent
    #[arg(value_name = "JSON|-|@file")]
    message: Option<String>,

    /// Metadata to send along; base64 for a key that ends with -bin
    #[arg(short = 'H', long = "header", value_name = "KEY:VALUE", value_parser = metadata::parse)]
    headers: Vec<metadata::Pair>,

    /// The call's deadline, such as 500ms, 5s or 2m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    #[command(flatten)]
    router: RouterArgs,
}

impl Call {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<()> {
        let channel = self.router.connect().await?;
        let mut reflection = ReflectionClient::new(channel.clone());
        let method = methods::find(&mut reflection, &self.method).await?;
        let mut input = Input::open(self.message.as_deref(), &method).await?;
        let (messages, sent) = mpsc::channel(AHEAD);
        let mut request = Request::new(ReceiverStream::new(sent));
        *request.metadata_mut() = metadata::build(&self.headers);
        let mut first = input.next().await?;
        let addressed = first.as_mut().is_some_and(|message| self.address(message));
        if !addressed && !ROUTER.contains(&self.target.as_str()) {
            let target = self.target.parse().map_err(|_| {
                anyhow::anyhow!("{:?} cannot be a service's name: use ASCII", self.target)
            })?;
            request.metadata_mut().insert(router::SERVICE, target);
        }
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        let feed = async {
            let mut next = first;
            while let Some(message) = next {
                if messages.send(message).await.is_err() {
                    // The call is over; the other branch has its outcome.
                    break;
                }
                next = input.next().await?;
            }
            drop(messages);
            pending::<anyhow::Result<()>>().await
        };
        let pretty = !out.json && !method.is_server_streaming();
        let answer = self.answer(out, channel.clone(), &method, request, pretty);
        // Invalid input ends the call, which the service then sees as cancelled.
        let ended = tokio::select! {
            answered = answer => answered,
            failed = feed => failed,
        };
        if let Err(error) = &ended
            && is_unknown(error)
        {
            self.suggest(out, &channel).await;
        }
        ended
    }

    /// Remarks which service a misspelt target probably means.
    async fn suggest(&self, out: &Output, channel: &Channel) {
        // The call's own failure is the answer; a failure here is not told.
        let known = contract::list(channel, &ListKind::ALL, "").await;
        let ids: Vec<String> = known.iter().flatten().map(ListedService::id).collect();
        let near = methods::suggest(&self.target, ids.iter().map(String::as_str));
        if !near.is_empty() {
            out.remark(&format!("no service is called {}{near}", self.target));
        }
    }

    async fn answer(
        &self,
        out: &Output,
        channel: Channel,
        method: &prost_reflect::MethodDescriptor,
        request: Request<ReceiverStream<DynamicMessage>>,
        pretty: bool,
    ) -> anyhow::Result<()> {
        let deadline = Deadline::after(self.timeout);
        let response = deadline
            .keep(dynamic::invoke(channel, method, request, router::LARGEST))
            .await?;
        let instance = router::instance(response.metadata()).map(str::to_owned);
        if let (Some(instance), false) = (&instance, out.json) {
            let text = format!("{}: {instance}", router::INSTANCE);
            out.remark(&out.paint_remark(Style::Quiet, &text));
        }
        let mut answers = response.into_inner();
        while let Some(message) = deadline.keep(answers.message()).await? {
            if out.json {
                let message = message.to_json();
                out.value(&json!({ "instance": instance, "message": message }))?;
            } else {
                out.line(&message.to_text(pretty))?;
            }
        }
        Ok(())
    }

    /// Puts the target into a request without an id; returns whether it did.
    fn address(&self, message: &mut DynamicMessage) -> bool {
        use prost_reflect::ReflectMessage as _;
        const REQUESTS: [(&str, &str); 3] = [
            ("agentplatform.TaskRequest", "agent_id"),
            ("agentplatform.StatusRequest", "agent_id"),
            ("agentplatform.ToolRequest", "tool_id"),
        ];
        let descriptor = message.descriptor();
        let row = REQUESTS
            .iter()
            .find(|(name, _)| *name == descriptor.full_name());
        let Some((_, field)) = row else { return false };
        if ROUTER.contains(&self.target.as_str()) || message.has_field_by_name(field) {
            return false;
        }
        let id = Value::String(self.target.clone());
        message.try_set_field_by_name(field, id).is_ok()
    }
}

/// Whether the mesh says that the call's id names no service.
fn is_unknown(error: &anyhow::Error) -> bool {
    let status = error.downcast_ref::<Status>();
    status.and_then(error_info::reason) == Some(Reason::NoSuchService)
}
