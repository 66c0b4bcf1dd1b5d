//! A tool of the mesh with the operations that the conformance suite of MCP asks of tasks.

use std::{process::ExitCode, time::Duration};

use agentkit::{About, Invocation, InvocationError, Operation, Parameter, Tool};
use service::{Context, Services, Spec};
use tokio::time::sleep;
use tonic::Status;

const SPEC: Spec = Spec {
    program: "suite-tool",
    service: "tool-suite",
    tags: &["tool", "suite"],
    default_port: 50070,
    about: "What the conformance suite asks of tasks",
    keys: &[service::GRPC],
    ..agentkit::TOOL
};

const ABOUT: About = About {
    name: "Suite Tool",
    description: "What the conformance suite of MCP asks of tasks",
    operations: &[
        Operation::new("greet", "a greeting, at once")
            .taking(&[Parameter::required("name", "string", "whom to greet")])
            .read_only(),
        Operation::new("slow_compute", "what takes `seconds`").taking(&[
            Parameter::required("seconds", "number", "how long it takes"),
            Parameter::optional("label", "string", "what it is called"),
        ]),
        Operation::new("failing_job", "nothing: it fails after a second").taking(&[]),
        Operation::new(
            "protocol_error_job",
            "nothing: there is no such method after a second",
        )
        .taking(&[]),
    ],
    ..About::EMPTY
};

#[derive(Debug)]
struct Suite;

#[async_trait::async_trait]
impl Tool for Suite {
    async fn run(&self, call: Invocation) -> Result<String, InvocationError> {
        match call.operation.as_str() {
            "greet" => {
                let name = call.parameters.required("name", "whom to greet")?;
                Ok(format!("Hello, {name}!"))
            }
            "slow_compute" => {
                let seconds = call.parameters.required("seconds", "how long it takes")?;
                let seconds: f64 = seconds.parse().unwrap_or_default();
                sleep(Duration::from_secs_f64(seconds.clamp(0.0, 600.0))).await;
                let label = call.parameters.optional("label").unwrap_or("it");
                Ok(format!("{label} took {seconds} s"))
            }
            "failing_job" => {
                sleep(Duration::from_secs(1)).await;
                Err(InvocationError::Rejected(
                    "it fails, as it should".to_owned(),
                ))
            }
            "protocol_error_job" => {
                sleep(Duration::from_secs(1)).await;
                Err(Status::unimplemented("there is no such method").into())
            }
            _ => Err(call.unknown_operation(&ABOUT)),
        }
    }
}

fn build(context: &Context) -> anyhow::Result<Services> {
    Ok(agentkit::serve_tool(context, ABOUT, Suite))
}

fn main() -> ExitCode {
    service::main(SPEC, build)
}
