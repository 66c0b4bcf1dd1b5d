//! The description of the echo agent.

use agentkit::About;

pub(crate) const ABOUT: About = About {
    name: "Echo Agent",
    description: "Repeats the text it is given, with the parameters of the task",
    details: "Answers every task with its own input, so that a caller sees what arrived: the text, \
        the parameters, the session. Each answer names the instance that gave it and counts that \
        instance's tasks, which shows how calls are balanced.",
    how_it_works: "ExecuteTask answers once. StreamTask sends the input back a word at a time and \
        ends with the chunk [COMPLETE]. Nothing is kept between calls.",
    return_format: "output: `Echo Agent Response: <input>`, followed by \
        ` | Parameters: k=v, k=v` sorted by key when there are any; metadata: agent_id, \
        processed_at (Unix seconds), task_number, and session_id when given",
    use_cases: &[
        "Check that a call reaches an agent through HAProxy and a router",
        "See how calls and sessions are spread over instances",
        "Measure what the mesh itself costs",
    ],
    ..About::EMPTY
};
