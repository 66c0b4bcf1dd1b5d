//! No setting is refused.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "settings",
    about: "no live setting of a file, Consul's KV or Meta is refused",
    run: |scene| Box::pin(async { look(scene) }),
};

fn look(scene: &Scene) -> Finding {
    // The same key of the KV store is refused by every program: it is told once.
    let (mut refused, mut counted, mut told) = (BTreeMap::new(), Vec::new(), 0);
    for program in &scene.programs {
        if let Ok(config) = &program.config {
            told += 1;
            for entry in config["refused"].as_array().into_iter().flatten() {
                refused.entry(sentence(entry)).or_insert(program.name());
            }
        } else if let Ok(metrics) = &program.metrics {
            told += 1;
            if let Some(count) = metrics.sum("mesh_config_refused").filter(|it| *it > 0.0) {
                counted.push(format!("{} refuses {count}", program.name()));
            }
        }
    }
    let mut seen: Vec<String> = refused
        .iter()
        .map(|(sentence, program)| format!("{sentence} (by {program})"))
        .collect();
    seen.extend(counted);
    if !seen.is_empty() {
        return Finding::wrong(
            some(&seen),
            "correct the value where it comes from: the one before stays in force until then",
        );
    }
    match told {
        0 => scene.nothing_told("/config"),
        count => Finding::well(format!("{count} programs refuse none")),
    }
}

fn sentence(entry: &Value) -> String {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    let name = [text("service"), text("instance"), text("key")];
    let name: Vec<&str> = name.into_iter().filter(|it| !it.is_empty()).collect();
    let (value, source, reason) = (text("value"), text("source"), text("reason"));
    format!("{} = {value:?} from {source}: {reason}", name.join(" "))
}
