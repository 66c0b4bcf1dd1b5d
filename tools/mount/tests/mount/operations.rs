//! Callers of gRPC: an operation is a tool of the server.

use proto::agentplatform::{ListToolsRequest, tool_service_client::ToolServiceClient};

use crate::kit::Small;

#[tokio::test]
async fn a_tool_is_called_by_texts_or_by_json_in_both_eras() {
    for era in ["legacy", "modern"] {
        let small = Small::start(era, &[]).await;
        assert_eq!(small.text("echo", &[("text", "5")]).await, "5");
        let json = ("arguments", r#"{"text":"by json","count":2}"#);
        assert_eq!(small.text("echo", &[json]).await, "by json");
        let refused = small.call("sleep", &[("count", "many")]).await;
        assert!(
            refused.error.contains("give JSON of the type integer"),
            "{refused:?}"
        );
        let unknown = small.call("nothing", &[]).await;
        assert!(
            unknown.error.contains("give one of ask, big,"),
            "{unknown:?}"
        );
        // Nobody is here whom the server could ask.
        let asked = small.call("ask", &[]).await;
        assert!(!asked.success && !asked.error.is_empty(), "{asked:?}");
    }
}

#[tokio::test]
async fn the_server_gets_the_variables_of_its_key_and_no_others() {
    let small = Small::start("legacy", &[("mount_env", r"GIVEN=yes\,no, CARGO_PKG_NAME")]).await;
    assert_eq!(small.text("env", &[("text", "GIVEN")]).await, "yes,no");
    assert_ne!(small.text("env", &[("text", "PATH")]).await, "none");
    assert_eq!(
        small.text("env", &[("text", "CARGO_MANIFEST_DIR")]).await,
        "none"
    );
}

#[tokio::test]
async fn roots_outside_a_call_are_those_of_the_key() {
    let small = Small::start("legacy", &[("mount_roots", "/tmp, file:///srv")]).await;
    // A caller of gRPC has none, and nobody else is asked.
    let roots = small.text("roots", &[]).await;
    assert!(
        roots.contains("file:///tmp") && roots.contains("file:///srv"),
        "{roots}"
    );
}

#[tokio::test]
async fn no_more_tools_are_taken_than_the_key_says() {
    let small = Small::start("legacy", &[("mount_max_tools", "2")]).await;
    let mut client = ToolServiceClient::new(testkit::local::connect(&small.running).await);
    let listed = client
        .list_tools(ListToolsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let details = &listed.tools[0].detailed_description;
    assert_eq!(details, "Operations: echo: says what it is told; env: env");
    let [echo, env] = &listed.tools[0].operations[..] else {
        panic!("{listed:?}")
    };
    assert_eq!((echo.read_only, env.read_only), (Some(true), Some(false)));
    let parameters = echo
        .parameters
        .iter()
        .map(|it| (it.name.as_str(), it.r#type.as_str()));
    assert_eq!(
        parameters.collect::<Vec<_>>(),
        [("count", "integer"), ("text", "string")]
    );
}
