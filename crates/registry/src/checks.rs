//! Runs the checks that are registered, and takes out services that have been critical for too long.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    definition::{CheckDefinition, Probe, Status},
    state::{Check, Shared},
};

/// The longest output of a check that is kept, bytes.
const OUTPUT: usize = 4096;
/// How often services that are critical are looked at.
const REAP: Duration = Duration::from_secs(1);

/// The checks.
#[derive(Debug)]
pub(crate) struct Checks {
    shared: Arc<Shared>,
    http: reqwest::Client,
    tasks: JoinSet<()>,
    /// By id; the number tells a check from another one that was registered under its id.
    running: HashMap<String, (u64, AbortHandle)>,
    /// Since when services with a limit to it have been critical, by check.
    critical: HashMap<String, Instant>,
}

impl Checks {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        Self {
            shared,
            // The builder fails for TLS settings, of which none is made here.
            http: builder.build().unwrap_or_default(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            critical: HashMap::new(),
        }
    }

    /// Follows what is registered, until it is stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut moves = self.shared.moves();
        loop {
            moves.borrow_and_update();
            self.follow();
            self.reap();
            tokio::select! {
                () = stop.cancelled() => return,
                moved = moves.changed() => if moved.is_err() { return },
                () = sleep(REAP) => {}
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn follow(&mut self) {
        let probed = |check: &&Check| !check.maintenance;
        let known: HashMap<String, (u64, CheckDefinition)> = self.shared.read(|state| {
            let checks = state.checks.values().filter(probed);
            let known = checks.map(|it| {
                (
                    it.definition.id.clone(),
                    (it.create_index, it.definition.clone()),
                )
            });
            known.collect()
        });
        self.running.retain(|id, (number, task)| {
            let stays = known.get(id).is_some_and(|(now, _)| now == number);
            if !stays {
                task.abort();
            }
            stays
        });
        for (id, (number, definition)) in known {
            if self.running.contains_key(&id) {
                continue;
            }
            // Somebody reports for it; the time runs from its last report.
            let (shared, http) = (Arc::clone(&self.shared), self.http.clone());
            let task = self.tasks.spawn(follow_one(shared, http, definition));
            self.running.insert(id, (number, task));
        }
    }

    fn reap(&mut self) {
        let now = Instant::now();
        let critical: Vec<(String, String, Duration)> = self.shared.read(|state| {
            let checks = state.checks.values();
            checks
                .filter(|check| check.status == Status::Critical && !check.service_id.is_empty())
                .filter_map(|check| {
                    let after = check.definition.deregister_after?;
                    Some((check.definition.id.clone(), check.service_id.clone(), after))
                })
                .collect()
        });
        self.critical
            .retain(|id, _| critical.iter().any(|(critical, ..)| critical == id));
        for (check, service, after) in critical {
            let since = *self.critical.entry(check).or_insert(now);
            if now.duration_since(since) >= after {
                tracing::info!(service, "critical for too long: deregistered");
                self.shared.change(|state| state.deregister(&service));
            }
        }
    }
}

async fn follow_one(shared: Arc<Shared>, http: reqwest::Client, definition: CheckDefinition) {
    if let Probe::Ttl(ttl) = definition.probe {
        return expire(&shared, &definition.id, ttl).await;
    }
    // Checks that were registered together need not run together.
    sleep(definition.interval.mul_f64(rand::random_range(0.1..1.0))).await;
    loop {
        let probed = timeout(definition.timeout, probe(&http, &definition)).await;
        let (status, output) = probed.unwrap_or_else(|_| {
            let words = format!("no answer in {:?}", definition.timeout);
            (Status::Critical, words)
        });
        report(&shared, &definition.id, status, output);
        sleep(definition.interval).await;
    }
}

fn report(shared: &Shared, id: &str, status: Status, mut output: String) {
    let mut end = OUTPUT.min(output.len());
    while !output.is_char_boundary(end) {
        end -= 1;
    }
    output.truncate(end);
    shared.change(|state| state.report(id, status, &output));
}

/// Makes a check critical when nobody has reported for so long.
async fn expire(shared: &Shared, id: &str, ttl: Duration) {
    let heard = || shared.read(|state| state.heard(id));
    let mut known = heard();
    loop {
        sleep(ttl).await;
        let now = heard();
        if now == known {
            report(shared, id, Status::Critical, "TTL expired".to_owned());
        }
        known = now;
    }
}

async fn probe(http: &reqwest::Client, definition: &CheckDefinition) -> (Status, String) {
    match &definition.probe {
        Probe::Grpc { target, service } => grpc(target, service).await,
        Probe::Http(url) => match http.get(url).send().await {
            Ok(answer) => {
                let code = answer.status();
                let status = match code.as_u16() {
                    200..=299 => Status::Passing,
                    429 => Status::Warning,
                    _ => Status::Critical,
                };
                (status, format!("HTTP GET {url}: {code}"))
            }
            Err(error) => (Status::Critical, format!("HTTP GET {url}: {error}")),
        },
        Probe::Tcp(target) => match TcpStream::connect(target).await {
            Ok(_) => (Status::Passing, format!("TCP connect {target}: Success")),
            Err(error) => (Status::Critical, format!("TCP connect {target}: {error}")),
        },
        // Followed by its time alone.
        Probe::Ttl(_) => (Status::Critical, String::new()),
    }
}

async fn grpc(target: &str, service: &str) -> (Status, String) {
    let failed =
        |error: &dyn std::fmt::Display| (Status::Critical, format!("gRPC check {target}: {error}"));
    let endpoint = match Endpoint::from_shared(format!("http://{target}")) {
        Ok(endpoint) => endpoint,
        Err(error) => return failed(&error),
    };
    let channel = match endpoint.connect().await {
        Ok(channel) => channel,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            return failed(&cause.unwrap_or_else(|| error.to_string()));
        }
    };
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    match HealthClient::new(channel).check(request).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => {
            (Status::Passing, format!("gRPC check {target}: success"))
        }
        Ok(answer) => failed(&answer.get_ref().status().as_str_name()),
        Err(status) => failed(&status.message()),
    }
}
