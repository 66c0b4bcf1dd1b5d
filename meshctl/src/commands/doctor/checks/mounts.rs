//! Every mounted MCP server is connected.

use super::super::{
    check::Check,
    finding::{Finding, some},
    program::Program,
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "mounts",
    about: "every mounted MCP server is connected",
    run: |scene| Box::pin(async { look(scene) }),
};

fn look(scene: &Scene) -> Finding {
    let mounts = values(scene, "mesh_mount_up");
    let down = mounts.iter().filter(|(_, up)| *up == 0.0);
    // The ID of an instance does not say which server it mounts.
    let named = |mount: &Program| format!("{} ({})", mount.member.service, mount.name());
    let down: Vec<String> = down.map(|(mount, _)| named(mount)).collect();
    match (mounts.len(), down.as_slice()) {
        (0, _) => Finding::not_used("no mounted server is known"),
        (count, []) => Finding::well(format!("{count} mounts have their servers")),
        (_, down) => Finding::wrong(
            format!("the server does not run or does not answer: {}", some(down)),
            "the log of the mount has what its server said: correct MOUNT_COMMAND or MOUNT_URL",
        ),
    }
}

/// The programs that have a metric, and its value.
pub(super) fn values<'a>(scene: &'a Scene, metric: &str) -> Vec<(&'a Program, f64)> {
    let programs = scene.programs.iter();
    let value = |program: &'a Program| {
        let samples = program.metrics.as_ref().ok()?;
        Some((program, samples.sum(metric)?))
    };
    programs.filter_map(value).collect()
}
