//! Every program may open enough files.

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "file-limits",
    about: "every program may open enough files, each connection being one",
    run: |scene| Box::pin(async { look(scene) }),
};

/// The share of its limit that a program should not pass.
const NEAR: f64 = 0.8;
/// The least limit that a program can work with.
const LEAST: f64 = 1024.0;

fn look(scene: &Scene) -> Finding {
    let (mut near, mut low, mut told) = (Vec::new(), Vec::new(), 0);
    for program in &scene.programs {
        let Ok(metrics) = &program.metrics else {
            continue;
        };
        let Some(limit) = metrics.sum("process_max_fds").filter(|limit| *limit > 0.0) else {
            continue;
        };
        told += 1;
        let open = metrics.sum("process_open_fds").unwrap_or(0.0);
        if open > limit * NEAR {
            near.push(format!(
                "{} has {open} of {limit} files open",
                program.name()
            ));
        } else if limit < LEAST {
            low.push(format!("{} may open {limit} files", program.name()));
        }
    }
    let todo = "raise `ulimit -n` (LimitNOFILE of systemd, ulimits of compose) and start it again";
    match (near.as_slice(), low.as_slice(), told) {
        ([], [], 0) => Finding::cannot_tell(
            "no program tells how many files it may open",
            "see that /metrics is served and has process_max_fds, which Linux tells",
        ),
        ([], [], count) => Finding::well(format!("{count} programs are far from their limit")),
        ([], low, _) => Finding::warning(some(low), todo),
        (near, _, _) => Finding::wrong(some(near), todo),
    }
}
