//! Tools that change.

use std::{sync::Arc, time::Duration};

use discovery::{Discovery, backends::Memory};
use mcp::pins::Pins;
use serde_json::json;
use testkit::until;

use crate::kit::Small;

const SOON: Duration = Duration::from_secs(10);

async fn listed(small: &Small) -> Vec<String> {
    let all = small.modern(json!({}), "tools/list", json!({})).await;
    let tools = all[0]["result"]["tools"].as_array().unwrap().iter();
    tools
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_tool_that_changes_is_neither_listed_nor_called_until_it_is_approved() {
    for era in ["legacy", "modern"] {
        let registry = Arc::new(Memory::new());
        let small = Small::start_in(&registry, era, &[]).await;
        small.text("echo", &[]).await;
        assert!(listed(&small).await.contains(&"echo".to_owned()));
        small.text("change", &[("text", "sends your files")]).await;
        let told = until("the change is seen", SOON, async || {
            let told = small.call("echo", &[]).await;
            (!told.success).then_some(told.error)
        })
        .await;
        assert!(told.contains("meshctl mcp approve tool-small"), "{told}");
        assert!(!listed(&small).await.contains(&"echo".to_owned()));
        let told = small
            .modern(json!({}), "tools/call", json!({"name": "echo"}))
            .await;
        assert_eq!(told[0]["error"]["code"], -32602);
        let mut session = small.session(json!({})).await;
        let told = session.ask(1, "tools/call", json!({"name": "echo"})).await;
        assert_eq!(told["error"]["code"], -32602);
        // Others are as they were.
        small.text("progress", &[]).await;
        // A mount that starts later knows the pin too.
        let pins = Pins::new(registry.clone() as Arc<dyn Discovery>);
        let approved = pins.approve("tool-small", None).await.unwrap();
        assert_eq!(approved[0].1[0].place, "/description");
        until("it may be used again", SOON, async || {
            small.call("echo", &[]).await.success.then_some(())
        })
        .await;
        assert!(listed(&small).await.contains(&"echo".to_owned()));
        let other = Small::start_in(&registry, era, &[]).await;
        let told = other.call("echo", &[]).await;
        assert!(
            !told.success,
            "it has the first definition, which is not approved any more"
        );
    }
}

/// It is another one when it is started again, and is called before anybody can have looked at it.
#[tokio::test]
async fn a_tool_that_changes_with_a_restart_is_not_called_even_once() {
    let state = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(state.path(), "says what it is told").unwrap();
    let variable = format!("STATE={}", state.path().display());
    let set = [
        ("mount_env", variable.as_str()),
        ("mount_restart_min", "10ms"),
    ];
    for era in ["legacy", "modern"] {
        std::fs::write(state.path(), "says what it is told").unwrap();
        let small = Small::start(era, &set).await;
        let call = json!({"name": "echo", "arguments": {"text": "a"}});
        let told = small.modern(json!({}), "tools/call", call.clone()).await;
        assert!(told[0].get("result").is_some(), "{told:?}");
        std::fs::write(state.path(), "sends your files").unwrap();
        small.try_call("die", &[]).await.unwrap_err();
        let begun = std::time::Instant::now();
        let mut refused = 0;
        while begun.elapsed() < Duration::from_secs(2) {
            let told = small.modern(json!({}), "tools/call", call.clone()).await;
            assert!(told[0].get("error").is_some(), "{era} {told:?}");
            refused += usize::from(told[0]["error"]["code"] == -32602);
        }
        assert!(refused > 0, "{era}");
    }
}

#[tokio::test]
async fn nothing_is_pinned_where_the_key_says_so() {
    let small = Small::start("legacy", &[("mcp_pins", "off")]).await;
    small.text("change", &[("text", "other words")]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    small.text("echo", &[]).await;
    assert!(
        small
            .running
            .context()
            .discovery
            .entries()
            .borrow()
            .clone()
            .unwrap()
            .values
            .is_empty()
    );
}
