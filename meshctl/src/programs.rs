//! The programs of the mesh. `meshctl` is each of them when it is started under its name.

use std::ffi::OsStr;

use service::{Context, Services, Spec};

/// Builds the services of one instance.
pub type Build = fn(&Context) -> anyhow::Result<Services>;

/// A program: its names, port and keys, and how its services are built.
pub type Program = (Spec, Build);

/// The programs that this one holds. An image has a link to `meshctl` under each name, except
/// that the router is a file of its own.
pub static PROGRAMS: [Program; 15] = [
    (router::SPEC, router::build),
    (echo_agent::SPEC, echo_agent::build),
    (gateway::SPEC, gateway::build),
    (job_runner::SPEC, job_runner::build),
    (mesh_scheduler::SPEC, mesh_scheduler::build),
    (workflow_runner::SPEC, workflow_runner::build),
    (weather_tool::SPEC, weather_tool::build),
    (itinerary_worker::SPEC, itinerary_worker::build),
    (research_agent::SPEC, research_agent::build),
    (code_agent::SPEC, code_agent::build),
    (review_agent::SPEC, review_agent::build),
    (fs_tool::SPEC, fs_tool::build),
    (docs_tool::SPEC, docs_tool::build),
    (web_tool::SPEC, web_tool::build),
    (mcp_mount::SPEC, mcp_mount::build),
];

/// The program of this name.
#[must_use]
pub fn named(name: &OsStr) -> Option<Program> {
    PROGRAMS
        .iter()
        .copied()
        .find(|(spec, _)| spec.program == name)
}
