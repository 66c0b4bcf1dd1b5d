//! Without a model: what is written stands in the documents.

use proto::agentplatform::{
    ListAgentsRequest, TaskRequest, agent_service_client::AgentServiceClient,
};

use crate::world::{GOAL, World};

#[tokio::test]
async fn without_a_model_the_files_quote_the_documents_and_say_so() {
    let world = World::new("").await;
    let report = world.run().await;
    let (notes, design, review) = (
        world.file("notes.md"),
        world.file("mcp.md"),
        world.file("review.md"),
    );
    for text in [&notes, &design, &review] {
        assert!(text.contains("extractive, no model configured"), "{text}");
    }
    assert!(
        notes.contains("> A router that is stopped finishes its calls. It must leave"),
        "{notes}"
    );
    assert!(notes.contains("guide/running.md:5-6"), "{notes}");
    assert!(notes.contains("no document mentions: zeppelin"), "{notes}");
    assert!(
        notes.contains("web search is off: set web_search_url"),
        "{notes}"
    );
    assert!(!notes.contains("Nothing of interest"), "{notes}");
    assert!(
        design.contains("> It must leave the registry first, and never cuts"),
        "{design}"
    );
    assert!(
        design.contains("```\ndrain_timeout = \"15s\"\n```"),
        "{design}"
    );
    assert!(design.contains("no source speaks of: zeppelin"), "{design}");
    assert!(review.contains("0 errors"), "{review}");
    assert!(review.contains("zeppelin"), "{review}");
    assert_eq!(
        (&*report.metrics.mode, &*report.metrics.llm_model),
        ("extractive", "none")
    );
    assert_eq!(report.metrics.tokens_used, 0);
    assert!(report.metrics.tool_calls >= 6, "{:?}", report.metrics);
    world.end().await;
}

#[tokio::test]
async fn each_agent_lists_itself_and_streams_its_output() {
    let world = World::new("").await;
    let mesh = world.mesh();
    for (service, id) in [
        ("agent-research", "research-agent"),
        ("agent-code", "code-agent"),
        ("agent-review", "review-agent"),
    ] {
        let mut client = AgentServiceClient::new(mesh.channel(service));
        let listed = client
            .list_agents(ListAgentsRequest::default())
            .await
            .unwrap();
        let agents = listed.into_inner().agents;
        assert_eq!(agents[0].agent_id, id);
        assert!(!agents[0].capabilities.is_empty());
    }
    let whole = world.ask("agent-research", &[]).await.output;
    let mut client = AgentServiceClient::new(mesh.channel("agent-research"));
    let task = TaskRequest {
        input: GOAL.to_owned(),
        ..TaskRequest::default()
    };
    let mut stream = client.stream_task(task).await.unwrap().into_inner();
    let (mut text, mut last) = (String::new(), None);
    while let Some(chunk) = stream.message().await.unwrap() {
        if !chunk.is_final {
            text.push_str(&chunk.content);
        }
        last = Some(chunk);
    }
    assert_eq!(text, whole);
    let last = last.unwrap();
    assert!(last.is_final && last.content == "[COMPLETE]");
    world.end().await;
}
