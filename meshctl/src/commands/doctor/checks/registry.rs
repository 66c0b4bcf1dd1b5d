//! No program has trouble with its registry, and every entry can be called.

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "registry",
    about: "no program has trouble with its registry, every entry can be called",
    run: |scene| Box::pin(async { look(scene) }),
};

fn look(scene: &Scene) -> Finding {
    let (mut troubles, mut left_out, mut told) = (Vec::new(), Vec::new(), 0);
    for program in &scene.programs {
        let Ok(config) = &program.config else {
            continue;
        };
        told += 1;
        let registry = &config["registry"];
        if let Some(trouble) = registry["trouble"].as_str() {
            troubles.push(format!("{}: {trouble}", program.name()));
        }
        for entry in registry["left_out"].as_array().into_iter().flatten() {
            let text = |field: &str| entry[field].as_str().unwrap_or_default();
            let (service, id, reason) = (text("service"), text("instance"), text("reason"));
            left_out.push(format!("{service} {id}: {reason}"));
        }
    }
    left_out.sort();
    left_out.dedup();
    if !troubles.is_empty() {
        return Finding::wrong(
            some(&troubles),
            "make the registry answer these programs: what they know goes out of date",
        );
    }
    if !left_out.is_empty() {
        let entries = some(&left_out);
        return Finding::warning(
            format!("entries that cannot be called: {entries}"),
            "correct or remove these registrations",
        );
    }
    if told == 0 {
        return scene.nothing_told("/config");
    }
    Finding::well(format!("{told} programs have a registry that answers"))
}
