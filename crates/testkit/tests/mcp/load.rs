//! Many calls at once, and gateways that end in the midst of them.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{World, call};

/// Calls at once.
const CALLS: usize = 1_000;
/// For all of them, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_each_get_their_own_answer() {
    let world = World::start(1, &[]).await;
    let url = world.mcp();
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let url = url.clone();
        calls.spawn(async move {
            let input = format!("call {number}");
            let result = call(&url, "echo-agent", json!({ "input": input })).await;
            let text = result["content"][0]["text"].as_str().unwrap_or_default();
            assert!(text.contains(&input), "{result}");
            number
        });
    }
    let all = tokio::time::timeout(LIMIT, calls.join_all()).await;
    let answered: BTreeSet<_> = all.expect("all are answered").into_iter().collect();
    assert_eq!(answered.len(), CALLS);
}
