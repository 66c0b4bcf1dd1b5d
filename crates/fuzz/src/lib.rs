//! Everything that parses bytes from outside, as functions of bytes that panic when something is
//! wrong. Two drive them: [`mutate`], on a stable compiler in every test run, and cargo-fuzz, with
//! the programs in `fuzz/fuzz_targets`, where there is a nightly one.
//!
//! Two more that need whole worlds are property tests of their crates: the engine under random
//! events of both sides, whose output `h2` has to take (`crates/relay/tests/chaos.rs`), and frames
//! under any split (`crates/relay/src/parser/tests.rs`).

#![expect(
    clippy::missing_panics_doc,
    reason = "a target panics when it has found something, which is what it is for"
)]

mod engine;
mod hpack;
mod mcp;
pub mod mutate;
mod scanner;
mod text;
mod workflows;

#[path = "../../relay/tests/support/mod.rs"]
mod support;

/// One thing to try.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, as of its program for cargo-fuzz.
    pub name: &'static str,
    /// What must hold.
    pub about: &'static str,
    /// Tries these bytes.
    pub run: fn(&[u8]),
    /// Bytes to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "hpack",
        about: "header blocks mean to us what they mean to h2",
        run: hpack::run,
        seeds: hpack::seeds,
    },
    Target {
        name: "engine",
        about: "bytes of clients and instances leave no call, no connection and no memory behind",
        run: engine::run,
        seeds: engine::seeds,
    },
    Target {
        name: "scanner",
        about: "the id in a message is the same however its bytes are split",
        run: scanner::run,
        seeds: scanner::seeds,
    },
    Target {
        name: "timeout",
        about: "a grpc-timeout that is read is written as one no shorter",
        run: text::timeout,
        seeds: text::timeouts,
    },
    Target {
        name: "job_id",
        about: "a job's id that is read is written as it was",
        run: text::job_id,
        seeds: text::job_ids,
    },
    Target {
        name: "workflow",
        about: "a workflow is refused, or a run of it ends and comes back from its records",
        run: workflows::workflow,
        seeds: workflows::workflows,
    },
    Target {
        name: "patch",
        about: "a patch is refused and changes nothing, or the patched run comes back from its records",
        run: workflows::patch,
        seeds: workflows::patches,
    },
    Target {
        name: "expression",
        about: "an expression is refused, or has a value or none, in bounded time",
        run: workflows::expression,
        seeds: workflows::expressions,
    },
    Target {
        name: "mcp_message",
        about: "a message of JSON-RPC is refused, or all of its parts can be asked for",
        run: mcp::messages,
        seeds: mcp::message_seeds,
    },
    Target {
        name: "mcp_arguments",
        about: "arguments are refused, or their JSON is taken again as the same message",
        run: mcp::arguments,
        seeds: mcp::argument_seeds,
    },
    Target {
        name: "mcp_result",
        about: "whatever a service answers becomes JSON within its limit",
        run: mcp::result,
        seeds: mcp::result_seeds,
    },
    Target {
        name: "mcp_schema",
        about: "descriptors are refused, or have schemas within their size",
        run: mcp::schemas,
        seeds: mcp::descriptor_seeds,
    },
];

/// A target by its name.
#[must_use]
pub fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name}"))
}
