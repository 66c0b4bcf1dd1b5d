//! Every program is ready, and warns of nothing.

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "ready",
    about: "every program is ready and warns of nothing",
    run: |scene| Box::pin(async { look(scene) }),
};

fn look(scene: &Scene) -> Finding {
    let (mut unready, mut warned, mut silent, mut told) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for program in &scene.programs {
        let name = program.name();
        match &program.readyz {
            // The check `instances` tells of those that are gone.
            Err(_) if !program.member.healthy => {}
            Err(reason) => silent.push(format!("{name}: {reason}")),
            Ok(answer) => {
                told += 1;
                let mut lines = answer.text.trim().lines();
                let first = lines.next().unwrap_or_default();
                let rest = lines.collect::<Vec<_>>().join("; ");
                match answer.status {
                    200 if rest.is_empty() => {}
                    200 => warned.push(format!("{name}: {rest}")),
                    // One that drains leaves on purpose.
                    404 => warned.push(format!("{name}: {first}")),
                    status => unready.push(format!("{name}: {status} {first} {rest}")),
                }
            }
        }
    }
    if !unready.is_empty() {
        return Finding::wrong(some(&unready), "give these programs what they wait for");
    }
    if !silent.is_empty() {
        return Finding::cannot_tell(
            format!("admin listeners do not answer from here: {}", some(&silent)),
            "open ADMIN_ADDRESS to this machine, or run this where the programs run",
        );
    }
    if !warned.is_empty() {
        return Finding::warning(some(&warned), "see to it before it stops working");
    }
    match told {
        0 => scene.nothing_told("/readyz"),
        count => Finding::well(format!("{count} programs are ready")),
    }
}
