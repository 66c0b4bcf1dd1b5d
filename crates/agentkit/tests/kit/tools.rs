//! A tool's gRPC service.

use mesh_agentkit::serve_tool;
use proto::agentplatform::ToolInfo;
use testkit::clients;
use tonic::Code;

use crate::probes::{ABOUT, Probe, TOOL, reason};

async fn tool() -> clients::Tool {
    let build = |c: &service::Context| Ok(serve_tool(c, ABOUT, Probe::default()));
    clients::Tool::start(&TOOL, build, &[]).await
}

#[tokio::test]
async fn a_result_and_a_rejection_are_answers_that_repeat_the_session() {
    let tool = tool().await;
    let said = tool.try_call("s1", " say ", &[("text", "hi "), ("times", "2")]);
    let said = said.await.unwrap();
    assert!(said.success && said.error.is_empty());
    assert_eq!((&*said.result, &*said.session_id), ("hi hi s1", "s1"));
    for (operation, parameters, expected) in [
        (
            "say",
            vec![],
            "parameter `text` is missing: give what to repeat",
        ),
        (
            "say",
            vec![("text", "x"), ("times", "many")],
            "parameter `times` is \"many\": give a whole number from 1 to 100000",
        ),
        (
            "sing",
            vec![],
            "unknown operation \"sing\": give one of say, hang",
        ),
        ("", vec![], "unknown operation \"\": give one of say, hang"),
    ] {
        let answer = tool.try_call("s1", operation, &parameters).await.unwrap();
        assert!(!answer.success && answer.result.is_empty());
        assert_eq!((&*answer.error, &*answer.session_id), (expected, "s1"));
    }
    let endless = tool.call(&"x".repeat(1 << 20), &[]).await;
    assert!(endless.error.len() < 300, "{} bytes", endless.error.len());
    tool.running.drain().await;
}

#[tokio::test]
async fn a_status_of_the_tool_reaches_its_caller() {
    let tool = tool().await;
    let off = tool.try_call("", "off", &[]).await.unwrap_err();
    assert_eq!(
        (off.code(), off.message()),
        (Code::PermissionDenied, "set probe=on")
    );
    let broken = tool.try_call("", "broken", &[]).await.unwrap_err();
    assert_eq!(broken.code(), Code::Internal);
    tool.running.drain().await;
}

#[tokio::test]
async fn it_lists_its_operations_and_parameters_and_registers_nobody() {
    let tool = tool().await;
    let info = tool.info().await;
    assert_eq!(info.tool_id, "probe-tool");
    assert_eq!(
        info.detailed_description,
        "Operations: say: repeats `text`; hang: never answers."
    );
    let rows = info.parameters.iter();
    let rows: Vec<_> = rows.map(|p| (&*p.name, &*p.r#type, p.required)).collect();
    assert_eq!(
        rows,
        [("text", "string", true), ("times", "integer", false)]
    );
    // An operation that names no parameters of its own takes those of the tool, and declares nothing more.
    assert_eq!(info.operations.len(), 2);
    assert_eq!(info.operations[1].name, "hang");
    assert_eq!(info.operations[1].parameters, info.parameters);
    assert_eq!(info.operations[1].read_only, None);
    let status = tool.client.clone().register_tool(ToolInfo::default()).await;
    assert_eq!(reason(&status.unwrap_err()).1, "REGISTER_WITH_CONSUL");
    tool.running.drain().await;
}
