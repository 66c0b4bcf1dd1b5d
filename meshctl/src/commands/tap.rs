//! `meshctl tap`: calls as they end, as the routers see them.

mod merge;
mod stream;

use std::{collections::HashMap, process::ExitCode, time::Duration};

use anyhow::bail;
use clap::Args;
use service::call_log::TapQuery;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    admin::AdminClient,
    instances,
    member::Member,
    output::{Output, plain},
    router::RouterArgs,
};
use merge::Merge;
use stream::follow;

/// How often it is looked for routers that are new, or are there again.
const LOOK: Duration = Duration::from_secs(2);
/// Lines that may wait to be printed.
const WAITING: usize = 1000;

/// Show calls as they end, a line of JSON each, at most 100 a second.
///
/// Every router of the mesh is asked. A line has the fields of the access log, the names of the
/// request's metadata, and in `skipped` how many calls were not shown since the line before.
/// ADMIN_TOKEN lets it ask routers of other machines.
#[derive(Args, Debug)]
pub(crate) struct Tap {
    /// Only calls to this service, by its Consul name
    #[arg(long, value_name = "NAME", value_parser = checked("service"))]
    service: Option<String>,

    /// Only calls of this method: pkg.Service/Method, pkg.Service or Method
    #[arg(long, value_name = "NAME", value_parser = checked("method"))]
    method: Option<String>,

    /// Only calls that this instance had last
    #[arg(long, value_name = "ID", value_parser = checked("instance"))]
    instance: Option<String>,

    /// Only calls that ended so: names or numbers with commas, or errors
    #[arg(long, value_name = "CODE", value_parser = checked("status"))]
    status: Option<String>,

    /// Only a part of the calls, such as 0.01
    #[arg(long, value_name = "PART", value_parser = checked("sample"))]
    sample: Option<String>,

    /// Show the value of this metadata, too; may be given again
    #[arg(long, value_name = "NAME", value_parser = checked("header"))]
    header: Vec<String>,

    /// Ask this admin listener in place of the routers'; may be given again
    #[arg(long, value_name = "ADDR")]
    admin: Vec<String>,

    #[command(flatten)]
    router: RouterArgs,
}

/// Reads a parameter as `/tap` does.
fn checked(key: &'static str) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |value| {
        let set = TapQuery::default().set(key, value);
        set.map(|()| value.to_owned())
            .map_err(|error| format!("expected {}", error.expected()))
    }
}

/// What a task that follows a tap says.
enum Said {
    /// A line, of the router of this name.
    Line(String, String),
    /// Why there is none, or no more.
    Ended(String, String),
}

impl Tap {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let admin = AdminClient::new(&service::config::environment())?;
        let path = self.path();
        let (lines, mut said) = mpsc::channel(WAITING);
        let mut taps = JoinSet::new();
        // The routers that are followed, and what was said of the others.
        let mut followed: HashMap<String, String> = HashMap::new();
        let mut trouble: HashMap<String, String> = HashMap::new();
        let mut merge = Merge::default();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut worked = false;
        loop {
            tokio::select! {
                _ = look.tick() => {
                    let there = match self.listeners().await {
                        Err(error) if followed.is_empty() => return Err(error),
                        there => there.unwrap_or_default(),
                    };
                    for (name, address) in there {
                        if followed.contains_key(&name) {
                            continue;
                        }
                        followed.insert(name.clone(), address.clone());
                        taps.spawn(follow(admin.clone(), name, address, path.clone(), lines.clone()));
                    }
                }
                Some(said) = said.recv() => match said {
                    Said::Line(name, line) => {
                        worked = true;
                        trouble.remove(&name);
                        if let Some(line) = merge.line(&line, &name, Instant::now())
                            && out.line(&line).is_err()
                        {
                            // Nobody reads on.
                            return Ok(ExitCode::SUCCESS);
                        }
                    }
                    Said::Ended(name, reason) => {
                        let address = followed.remove(&name).unwrap_or_default();
                        let text = plain(&format!("{name} at {address}: {reason}"));
                        if !worked && followed.is_empty() {
                            bail!(text);
                        }
                        if trouble.get(&name) != Some(&text) {
                            out.remark(&text);
                            trouble.insert(name, text);
                        }
                    }
                },
            }
        }
    }

    /// The listeners to ask, by the names of their programs.
    async fn listeners(&self) -> anyhow::Result<Vec<(String, String)>> {
        if !self.admin.is_empty() {
            return Ok(self
                .admin
                .iter()
                .map(|it| (it.clone(), it.clone()))
                .collect());
        }
        let known = instances::all(&self.router.connect().await?).await?;
        let routers = known.routers.into_iter().map(Member::of);
        let listeners: Vec<_> = routers
            .filter_map(|router| Some((router.id, router.admin?)))
            .collect();
        if listeners.is_empty() {
            bail!(
                "the router tells of no admin listener: name one with --admin, as the first line \
                 of its log has it"
            );
        }
        Ok(listeners)
    }

    fn path(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let given = [
            ("service", &self.service),
            ("method", &self.method),
            ("instance", &self.instance),
            ("status", &self.status),
            ("sample", &self.sample),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                query.append_pair(key, value);
            }
        }
        for name in &self.header {
            query.append_pair("header", name);
        }
        format!("/tap?{}", query.finish())
    }
}
