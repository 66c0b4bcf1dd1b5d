//! The runner's own configuration keys, with those of the queue and of requests to the outside.

use service::{Key, Type};

const OWN: &[Key] = &[
    Key::new(
        "workers",
        Type::Integer(1, 10_000),
        "4",
        "jobs of each queue that are done at once",
    ),
    Key::list(
        "queues",
        "",
        "queues whose jobs are done; queue_name's when empty",
    ),
    Key::text(
        "mcp_router_addr",
        "",
        "router that calls go through; straight to the instances when empty",
    ),
    Key::duration(
        "task_look",
        "5s",
        "longest time until a task is looked at again while its parts are done",
    ),
    Key::text(
        "task_agent",
        "research-agent",
        "agent for the parts of a task that suit no agent's capabilities",
    ),
    work::QUEUE_SAMPLE,
];

/// All of them.
pub(crate) const KEYS: &[Key] = &Key::join::<
    { OWN.len() + service::WEB_KEYS.len() + work::KEYS.len() + fetch::KEYS.len() },
>(&[OWN, service::WEB_KEYS, work::KEYS, fetch::KEYS]);
