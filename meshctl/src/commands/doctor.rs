//! `meshctl doctor`: looks for what is wrong with a mesh.

mod check;
mod checks;
mod consul_view;
mod finding;
mod pem;
mod program;
mod scene;

use std::{process::ExitCode, time::Duration};

use clap::{Args, builder::PossibleValuesParser};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    duration,
    output::{Output, Style, plain},
    router::RouterArgs,
};
use check::Check;
use checks::CHECKS;
use finding::{Finding, Verdict};
use scene::{Scene, SceneArgs};

/// How long one check may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The pause before it is all looked at again.
const PAUSE: Duration = Duration::from_secs(1);
/// The exit code where something cannot be told, and nothing is known to be wrong.
const CANNOT_TELL: u8 = 2;

/// Look for what is wrong with the mesh: a line for each check, with what to do.
///
/// Asks Consul, a router, the admin listeners of all programs, Redis, HAProxy and the collector, and
/// changes nothing. Addresses come from the environment, as the programs read it: CONSUL_HTTP_ADDR,
/// REDIS_URL, OTEL_EXPORTER_OTLP_ENDPOINT. ADMIN_TOKEN lets it read /config of other machines.
/// Exits with 0 when all is well, 1 when something is wrong, 2 when something cannot be told.
#[derive(Args, Debug)]
#[command(after_help = checks::help())]
pub(crate) struct Doctor {
    /// The checks to make; all without any
    #[arg(value_name = "CHECK", value_parser = PossibleValuesParser::new(checks::codes()), hide_possible_values = true)]
    checks: Vec<String>,

    /// Look again until all is well, for so long
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    wait: Option<Duration>,

    /// Exit with 1 for warnings too
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    router: RouterArgs,

    #[command(flatten)]
    scene: SceneArgs,
}

impl Doctor {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let until = Instant::now() + self.wait.unwrap_or_default();
        loop {
            let scene = Scene::look(&self.router, &self.scene).await?;
            let found = self.examine(&scene).await;
            let worst = worst(&found);
            let well = match worst {
                Verdict::Wrong | Verdict::CannotTell => false,
                Verdict::Warning => !self.strict,
                Verdict::Well | Verdict::NotUsed => true,
            };
            if well || Instant::now() + PAUSE > until {
                out.progress("");
                print(out, &found)?;
                return Ok(self.exit_code(worst));
            }
            out.progress(&waiting(&found));
            sleep(PAUSE).await;
        }
    }

    /// Every check that was asked for, all at once.
    async fn examine(&self, scene: &Scene) -> Vec<(&'static str, Finding)> {
        let wanted = |check: &&Check| {
            self.checks.is_empty() || self.checks.iter().any(|code| code == check.code)
        };
        let made = CHECKS.iter().filter(wanted).map(|check| async move {
            let found = timeout(LIMIT, (check.run)(scene)).await;
            let found = found.unwrap_or_else(|_| {
                Finding::cannot_tell(format!("the check took over {LIMIT:?}"), "look again")
            });
            (check.code, found)
        });
        join_all(made).await
    }

    fn exit_code(&self, worst: Verdict) -> ExitCode {
        match worst {
            Verdict::Wrong => ExitCode::FAILURE,
            Verdict::Warning if self.strict => ExitCode::FAILURE,
            Verdict::CannotTell => ExitCode::from(CANNOT_TELL),
            Verdict::Warning | Verdict::Well | Verdict::NotUsed => ExitCode::SUCCESS,
        }
    }
}

/// The verdict that decides: what is wrong before what cannot be told.
fn worst(found: &[(&'static str, Finding)]) -> Verdict {
    let verdicts = found.iter().map(|(_, finding)| finding.verdict);
    verdicts.max().unwrap_or(Verdict::Well)
}

/// What is waited for, in a line.
fn waiting(found: &[(&'static str, Finding)]) -> String {
    let ill = found
        .iter()
        .filter(|(_, it)| it.verdict >= Verdict::CannotTell);
    let codes: Vec<&str> = ill.map(|(code, _)| *code).collect();
    format!("waiting for {}", codes.join(", "))
}

fn print(out: &Output, found: &[(&'static str, Finding)]) -> anyhow::Result<()> {
    if out.json {
        let one = |(code, it): &(&str, Finding)| {
            json!({
                "code": code,
                "verdict": it.verdict.name(),
                "seen": it.seen,
                "todo": it.todo,
            })
        };
        let checks: Vec<Value> = found.iter().map(one).collect();
        let verdict = worst(found).name();
        return Ok(out.value(&json!({ "verdict": verdict, "checks": checks }))?);
    }
    let width = |texts: &mut dyn Iterator<Item = &str>| texts.map(str::len).max().unwrap_or(0);
    let codes = width(&mut found.iter().map(|(code, _)| *code));
    let verdicts = width(&mut found.iter().map(|(_, it)| it.verdict.name()));
    for (code, it) in found {
        let style = match it.verdict {
            Verdict::Well => Style::Good,
            Verdict::NotUsed => Style::Quiet,
            Verdict::Warning | Verdict::CannotTell => Style::Strong,
            Verdict::Wrong => Style::Bad,
        };
        let verdict = out.paint(style, &format!("{:<verdicts$}", it.verdict.name()));
        let seen = plain(&it.seen).replace('\n', "; ");
        let todo = match it.todo.as_str() {
            "" => String::new(),
            todo => format!(" → {}", plain(todo).replace('\n', "; ")),
        };
        out.line(&format!("{code:<codes$}  {verdict}  {seen}{todo}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_decides_before_what_cannot_be_told() {
        let of = |verdicts: &[Verdict]| {
            let found: Vec<_> = verdicts
                .iter()
                .map(|verdict| ("x", Finding::new(*verdict, "seen", "")))
                .collect();
            worst(&found)
        };
        assert_eq!(of(&[]), Verdict::Well);
        assert_eq!(of(&[Verdict::NotUsed, Verdict::Well]), Verdict::Well);
        assert_eq!(of(&[Verdict::Warning, Verdict::Well]), Verdict::Warning);
        assert_eq!(
            of(&[Verdict::CannotTell, Verdict::Warning]),
            Verdict::CannotTell
        );
        assert_eq!(of(&[Verdict::CannotTell, Verdict::Wrong]), Verdict::Wrong);
    }
}
