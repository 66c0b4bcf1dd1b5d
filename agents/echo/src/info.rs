//! What the echo agent answers when it is asked what it is.

use proto::agentplatform::AgentInfo;
use service::Context;

pub(crate) fn info(context: &Context) -> AgentInfo {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    AgentInfo {
        agent_id: context.public_id(),
        name: "Echo Agent".to_owned(),
        description: "Repeats the text it is given, with the parameters of the task".to_owned(),
        capabilities: list(&["echo", "text-processing"]),
        endpoint: context.endpoint.clone(),
        detailed_description: "Answers every task with its own input, so that a caller sees what \
            arrived: the text, the parameters, the session. Each answer names the instance that \
            gave it and counts that instance's tasks, which shows how calls are balanced."
            .to_owned(),
        how_it_works: "ExecuteTask answers once. StreamTask sends the input back a word at a \
            time and ends with the chunk [COMPLETE]. Nothing is kept between calls."
            .to_owned(),
        return_format: "output: `Echo Agent Response: <input>`, followed by \
            ` | Parameters: k=v, k=v` sorted by key when there are any; metadata: agent_id, \
            processed_at (Unix seconds), task_number, and session_id when given"
            .to_owned(),
        use_cases: list(&[
            "Check that a call reaches an agent through HAProxy and a router",
            "See how calls and sessions are spread over instances",
            "Measure what the mesh itself costs",
        ]),
        version: context.spec.version.to_owned(),
    }
}
