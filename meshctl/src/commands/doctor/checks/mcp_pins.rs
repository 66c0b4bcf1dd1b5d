//! No tool waits for approval.

use super::{
    super::{
        check::Check,
        finding::{Finding, some},
        scene::Scene,
    },
    mounts::values,
};

pub(super) const CHECK: Check = Check {
    code: "mcp-pins",
    about: "no tool of a mounted server changed and waits for approval",
    run: |scene| Box::pin(async { look(scene) }),
};

fn look(scene: &Scene) -> Finding {
    let mounts = values(scene, "mesh_mount_blocked_tools");
    let waiting = mounts.iter().filter(|(_, tools)| *tools > 0.0);
    let waiting: Vec<String> = waiting
        .map(|(mount, tools)| format!("{tools} of {}", mount.name()))
        .collect();
    match (mounts.len(), waiting.as_slice()) {
        (0, _) => Finding::not_used("no mounted server is known"),
        (count, []) => Finding::well(format!(
            "the tools of {count} mounts are as they were approved"
        )),
        (_, waiting) => Finding::warning(
            format!("tools changed and are not used: {}", some(waiting)),
            "`meshctl mcp approve TOOL` shows the difference and approves",
        ),
    }
}
