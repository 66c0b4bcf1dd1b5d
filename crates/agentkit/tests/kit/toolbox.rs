//! Calls to tools through the mesh.

use std::{sync::Arc, time::Duration};

use discovery::backends::Memory;
use mesh_agentkit::{ToolError, Toolbox, serve_tool};
use serde_json::Value;
use service::ServerHandle;
use testkit::local;

use crate::probes::{ABOUT, Probe, TOOL};

/// The probe, and a toolbox with it, a tool that nobody serves, and one by another name.
async fn toolbox(probe: &Probe, timeout: Duration) -> (ServerHandle, Toolbox) {
    let registry = Arc::new(Memory::new());
    let probe = probe.clone();
    let build = |c: &service::Context| Ok(serve_tool(c, ABOUT, probe));
    let running = local::start(&TOOL, build, &registry, &[]).await;
    let tools = ["probe-tool", "missing-tool", "tool-probe"].map(str::to_owned);
    let mesh = running.context().mesh.clone();
    let toolbox = Toolbox::new(mesh, tools.to_vec(), "run-1", timeout);
    (running, toolbox)
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_tool_of_the_task_is_called_for_its_session_and_others_are_not() {
    let (running, toolbox) = toolbox(&Probe::default(), LONG).await;
    let text = |text: &str| [("text", text.to_owned())];
    let said = toolbox.call("probe-tool", "say", text("hi ")).await;
    assert_eq!(said.unwrap(), "hi run-1");
    let said = toolbox.call("tool-probe", "say", text("yo ")).await;
    assert_eq!(said.unwrap(), "yo run-1", "the Consul name does as well");
    assert_eq!(toolbox.call_count(), 2);
    let error = toolbox.call("fs-tool", "file_list", []).await.unwrap_err();
    assert!(matches!(error, ToolError::NotAllowed(_)), "{error}");
    assert!(error.to_string().contains("tool_ids"), "{error}");
    assert_eq!(toolbox.call_count(), 2, "it was not asked");
    running.drain().await;
}

#[tokio::test]
async fn each_failure_is_of_its_kind_and_names_the_tool() {
    let (running, toolbox) = toolbox(&Probe::default(), LONG).await;
    let failed = async |tool: &str, operation: &str| {
        let error = toolbox.call(tool, operation, []).await.unwrap_err();
        assert!(error.to_string().starts_with(tool), "{error}");
        error
    };
    let rejected = failed("probe-tool", "sing").await;
    assert!(matches!(rejected, ToolError::Rejected { .. }), "{rejected}");
    let off = failed("probe-tool", "off").await;
    assert!(matches!(off, ToolError::Disabled { .. }), "{off}");
    assert!(off.to_string().contains("set probe=on"), "{off}");
    let broken = failed("probe-tool", "broken").await;
    assert!(matches!(broken, ToolError::Unavailable { .. }), "{broken}");
    let missing = failed("missing-tool", "say").await;
    assert!(
        matches!(missing, ToolError::Unavailable { .. }),
        "{missing}"
    );
    running.drain().await;
}

#[tokio::test]
async fn a_tool_that_hangs_is_given_up_and_its_call_ends() {
    let probe = Probe::default();
    let (running, toolbox) = toolbox(&probe, Duration::from_millis(200)).await;
    let error = toolbox.call("probe-tool", "hang", []).await.unwrap_err();
    assert!(matches!(error, ToolError::Unavailable { .. }), "{error}");
    probe.has_dropped(1).await;
    running.drain().await;
}

#[tokio::test]
async fn a_result_that_is_not_of_the_form_is_no_result() {
    let (running, toolbox) = toolbox(&Probe::default(), LONG).await;
    let json = async |text: &str| {
        let text = [("text", format!("{text} //"))];
        let result = toolbox.call_json::<Value>("probe-tool", "say", text).await;
        result.unwrap_err()
    };
    let error = json("{\"a\": 1}").await;
    assert!(matches!(error, ToolError::Malformed { .. }), "{error}");
    assert!(error.to_string().contains("probe-tool"), "{error}");
    let number = [("text", "1".to_owned()), ("times", "1".to_owned())];
    let number = toolbox.call_json::<Vec<u8>>("probe-tool", "say", number);
    assert!(matches!(number.await, Err(ToolError::Malformed { .. })));
    running.drain().await;
}

#[tokio::test]
async fn a_tool_says_what_it_is_by_its_public_id_only() {
    let (running, toolbox) = toolbox(&Probe::default(), LONG).await;
    let info = toolbox.describe("probe-tool").await.unwrap();
    assert_eq!(info.parameters.len(), 2);
    let other = toolbox.describe("tool-probe").await.unwrap_err();
    assert!(
        other.to_string().contains("does not list itself"),
        "{other}"
    );
    let missing = toolbox.describe("missing-tool").await.unwrap_err();
    assert!(
        matches!(missing, ToolError::Unavailable { .. }),
        "{missing}"
    );
    assert_eq!(toolbox.call_count(), 0);
    running.drain().await;
}
