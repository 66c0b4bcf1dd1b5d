//! All clocks agree.

use std::time::{Duration, SystemTime};

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};
use crate::admin::Answer;

pub(super) const CHECK: Check = Check {
    code: "clocks",
    about: "the clocks of Consul, the programs and Redis are within 1 s of this one",
    run: |scene| Box::pin(look(scene)),
};

/// How far a clock may be away, in seconds.
const FAR: f64 = 1.0;
/// A date over HTTP is cut to the second.
const CUT: f64 = 0.5;

/// How far another clock is ahead of ours, in seconds, and how exactly that is known.
#[derive(Clone, Copy, Debug)]
struct Offset {
    ahead: f64,
    within: f64,
}

async fn look(scene: &Scene) -> Finding {
    let mut clocks = Vec::new();
    if scene.without_consul.is_none()
        && let Some(offset) = scene.consul.leader_answer.as_ref().and_then(of_date)
    {
        clocks.push(("Consul".to_owned(), offset));
    }
    for program in &scene.programs {
        if let Some(offset) = program.readyz.as_ref().ok().and_then(of_date) {
            clocks.push((program.name().to_owned(), offset));
        }
    }
    if let Ok(probe) = super::redis::probe(scene).await
        && let Some((theirs, ours)) = probe.time
    {
        let ahead = ahead(theirs, ours);
        let within = probe.took.as_secs_f64() / 2.0;
        clocks.push((format!("Redis {}", probe.address), Offset { ahead, within }));
    }
    if clocks.is_empty() {
        return Finding::cannot_tell(
            "nobody tells the time",
            "see the checks `consul` and `ready`",
        );
    }
    let far = clocks
        .iter()
        .filter(|(_, it)| it.ahead.abs() - it.within > FAR);
    let told: Vec<String> = far.map(|(name, it)| words(name, it.ahead)).collect();
    if told.is_empty() {
        return Finding::well(format!(
            "{} clocks are within {FAR} s of this one",
            clocks.len()
        ));
    }
    let seen = match told.len() == clocks.len() && told.len() > 1 {
        true => format!(
            "this machine's clock differs from all others: {}",
            some(&told)
        ),
        false => some(&told),
    };
    Finding::wrong(
        seen,
        "let NTP set these clocks: deadlines, timers and leases are counted by them",
    )
}

fn of_date(answer: &Answer) -> Option<Offset> {
    let middle = answer.date? + Duration::from_secs_f64(CUT);
    Some(Offset {
        ahead: ahead(middle, answer.at),
        within: CUT + answer.took.as_secs_f64() / 2.0,
    })
}

fn ahead(theirs: SystemTime, ours: SystemTime) -> f64 {
    match theirs.duration_since(ours) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
    }
}

fn words(name: &str, ahead: f64) -> String {
    let side = if ahead > 0.0 { "ahead" } else { "behind" };
    format!("{name} is {:.1} s {side}", ahead.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_that_is_cut_to_the_second_is_no_difference() {
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for (ours, far) in [
            (1000.0, false),
            (1000.999, false),
            (1002.6, true),
            (998.0, true),
        ] {
            let answer = Answer {
                status: 200,
                text: String::new(),
                date: Some(second),
                at: SystemTime::UNIX_EPOCH + Duration::from_secs_f64(ours),
                took: Duration::from_millis(10),
            };
            let offset = of_date(&answer).unwrap();
            assert_eq!(
                offset.ahead.abs() - offset.within > FAR,
                far,
                "{ours} {offset:?}"
            );
        }
    }
}
