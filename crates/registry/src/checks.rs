//! Runs the registered checks, and deregisters services that have been critical for too long.

use std::{collections::HashMap, sync::Arc, time::Duration};

use proto::details::CheckedDetails;
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
    shared::Shared,
};

/// Longest output of a check that is kept, bytes.
const MAX_OUTPUT: usize = 4096;
/// How often critical services are looked for.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// The runners of the checks.
#[derive(Debug)]
pub(crate) struct Checks {
    shared: Arc<Shared>,
    http: reqwest::Client,
    tasks: JoinSet<()>,
    /// By ID, with the round of the check's registration.
    running: HashMap<String, (u64, AbortHandle)>,
    /// Since when checks that deregister their service have been critical.
    critical: HashMap<String, Instant>,
}

impl Checks {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        Self {
            shared,
            // The builder fails for TLS settings only, and there are none.
            http: builder.build().unwrap_or_default(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            critical: HashMap::new(),
        }
    }

    /// Starts and ends runners as checks are registered, until it is stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.shared.changes();
        loop {
            changes.borrow_and_update();
            self.follow();
            self.reap();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = sleep(REAP_INTERVAL) => {}
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
            let checks = state.checks.iter().filter(|(_, check)| {
                check.status == Status::Critical && !check.service_id.is_empty()
            });
            let limited = checks.filter_map(|(id, check)| {
                let after = check.definition.deregister_after?;
                Some((id.clone(), (check.service_id.clone(), after)))
            });
            limited.collect()
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

/// Runs one check until it is registered anew or removed.
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
        // How often in a row it had its last result.
        let (mut last, mut times) = (None, 0_u64);
        loop {
            let probed = timeout(check.timeout, probe(&self.http, check)).await;
            let (status, output) = probed.unwrap_or_else(|_| {
                let words = format!("no answer in {:?}", check.timeout);
                (Status::Critical, words)
            });
            let well = status != Status::Critical;
            times = match last == Some(well) {
                true => times.saturating_add(1),
                false => 1,
            };
            last = Some(well);
            let ignored = match well {
                true => check.successes,
                false => check.failures,
            };
            if times > ignored {
                self.report(status, output);
            }
            sleep(check.interval).await;
        }
    }

    fn report(&self, status: Status, mut output: String) {
        let mut end = MAX_OUTPUT.min(output.len());
        while !output.is_char_boundary(end) {
            end -= 1;
        }
        output.truncate(end);
        let id = &self.definition.id;
        self.shared
            .change(|state| state.outcome(id, self.round, status, &output));
    }

    /// Makes the check critical when no result was reported for its TTL.
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
                // A report after this is valid for at least the TTL.
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
        // Runs by `expire` alone.
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
    match HealthClient::new(CheckedDetails(channel))
        .check(request)
        .await
    {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => {
            (Status::Passing, format!("gRPC check {target}: success"))
        }
        Ok(answer) => failed(&answer.get_ref().status().as_str_name()),
        Err(status) => failed(&status.message()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{definition::ServiceDefinition, state::State};

    #[tokio::test(start_paused = true)]
    async fn a_check_stays_passing_as_long_as_somebody_reports_within_its_ttl() {
        let shared = Arc::new(Shared::new("test"));
        let body = json!({"Name": "a", "Check": {"TTL": "3s", "Status": "passing"}});
        let definition = ServiceDefinition::read(body).unwrap();
        let registered = shared.change(|state| state.register(definition, false));
        registered.unwrap();
        let checks = Checks::new(Arc::clone(&shared));
        let mut tasks = JoinSet::new();
        tasks.spawn(checks.run(CancellationToken::new()));
        let status = || shared.read(|state| state.checks["service:a"].status);
        for _ in 0..3 {
            sleep(Duration::from_millis(1500)).await;
            let report = |state: &mut State| state.report("service:a", Status::Passing, "");
            assert!(shared.change(report));
            sleep(Duration::from_millis(1499)).await;
            assert_eq!(status(), Status::Passing);
        }
        sleep(Duration::from_millis(1502)).await;
        assert_eq!(status(), Status::Critical);
    }
}
