//! Runs the checks that are registered, and takes out services that have been critical for too long.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    definition::{CheckDefinition, Probe, Status},
    state::Shared,
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
        let running = &mut self.running;
        let begun: Vec<(u64, CheckDefinition)> = self.shared.read(|state| {
            running.retain(|id, (round, task)| {
                let stays = state.checks.get(id).is_some_and(|it| it.round == *round);
                if !stays {
                    task.abort();
                }
                stays
            });
            let checks = state.checks.values().filter(|check| !check.maintenance);
            checks
                .filter(|check| !running.contains_key(&check.definition.id))
                .map(|check| (check.round, check.definition.clone()))
                .collect()
        });
        for (round, definition) in begun {
            let id = definition.id.clone();
            let one = Runner {
                shared: Arc::clone(&self.shared),
                http: self.http.clone(),
                round,
                definition,
            };
            let task = self.tasks.spawn(one.run());
            self.running.insert(id, (round, task));
        }
    }

    fn reap(&mut self) {
        let now = Instant::now();
        let critical: HashMap<String, (String, Duration)> = self.shared.read(|state| {
            let checks = state.checks.values();
            checks
                .filter(|check| check.status == Status::Critical && !check.service_id.is_empty())
                .filter_map(|check| {
                    let after = check.definition.deregister_after?;
                    Some((
                        check.definition.id.clone(),
                        (check.service_id.clone(), after),
                    ))
                })
                .collect()
        });
        self.critical.retain(|id, _| critical.contains_key(id));
        for (check, (service, after)) in critical {
            let since = *self.critical.entry(check).or_insert(now);
            if now.duration_since(since) >= after {
                tracing::info!(service, "critical for too long: deregistered");
                self.shared.change(|state| state.deregister(&service));
            }
        }
    }
}

/// Runs one check until it is registered anew or taken out.
struct Runner {
    shared: Arc<Shared>,
    http: reqwest::Client,
    round: u64,
    definition: CheckDefinition,
}

impl Runner {
    async fn run(self) {
        let check = &self.definition;
        if let Probe::Ttl(ttl) = check.probe {
            return self.expire(ttl).await;
        }
        // Checks that were registered together need not run together.
        sleep(check.interval.mul_f64(rand::random_range(0.1..1.0))).await;
        // How often in a row it came to its last result.
        let (mut last, mut times) = (None, 0_u64);
        loop {
            let probed = timeout(check.timeout, probe(&self.http, check)).await;
            let (status, output) = probed.unwrap_or_else(|_| {
                let words = format!("no answer in {:?}", check.timeout);
                (Status::Critical, words)
            });
            let well = status != Status::Critical;
            times = if last == Some(well) {
                times.saturating_add(1)
            } else {
                1
            };
            last = Some(well);
            let before = if well {
                check.successes
            } else {
                check.failures
            };
            // Once more than so many, as Consul counts.
            if times > before {
                self.report(status, output);
            }
            sleep(check.interval).await;
        }
    }

    fn report(&self, status: Status, mut output: String) {
        let mut end = OUTPUT.min(output.len());
        while !output.is_char_boundary(end) {
            end -= 1;
        }
        output.truncate(end);
        let id = &self.definition.id;
        self.shared
            .change(|state| state.outcome(id, self.round, status, &output));
    }

    /// Makes the check critical when nobody has reported for so long.
    async fn expire(&self, ttl: Duration) {
        loop {
            let reported = self.shared.read(|state| {
                let check = state.checks.get(&self.definition.id);
                check.map(|check| check.reported)
            });
            let Some(due) = reported.and_then(|reported| reported.checked_add(ttl)) else {
                return;
            };
            if due <= Instant::now() {
                self.report(Status::Critical, "TTL expired".to_owned());
                // Who reports after this has at least so long again.
                sleep(ttl).await;
            } else {
                sleep_until(due).await;
            }
        }
    }
}

async fn probe(http: &reqwest::Client, definition: &CheckDefinition) -> (Status, String) {
    match &definition.probe {
        Probe::Grpc { target, service } => grpc(target, service).await,
        Probe::Http(asked) => match asked.send(http).await {
            Ok(answer) => {
                let code = answer.status();
                let status = match code.as_u16() {
                    200..=299 => Status::Passing,
                    429 => Status::Warning,
                    _ => Status::Critical,
                };
                (status, format!("{asked}: {code}"))
            }
            Err(error) => (Status::Critical, format!("{asked}: {error}")),
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
