//! What a scrape of a router costs in a mesh of 200 services with 3 instances each, and what the calls
//! beside it notice of it. All is in this process: the router, three echo agents that stand for all
//! instances, the callers and the scraper.
//!
//! `cargo run --release -p mesh-testkit --example scrape -- --services 200 --instances 3 --seconds 20`

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use discovery::{Discovery as _, Registration, backends::Memory};
use mesh_testkit::{local, raw::RawConnection, until};
use programs::PROGRAMS;
use prost::Message as _;
use proto::agentplatform::TaskRequest;
use service::ServerHandle;
use tokio::{task::JoinSet, time::sleep};

const PATH: &str = "/agentplatform.AgentService/ExecuteTask";
/// Calls at once.
const CALLERS: usize = 4;
/// What a caller waits between two calls: the machine is busy, and not full.
const PAUSE: Duration = Duration::from_millis(1);
/// Between two scrapes.
const EVERY: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    let (services, instances, seconds) = arguments();
    let memory = Arc::new(Memory::new());
    let router = program("mcp-router", &memory).await;
    let mut echoes = Vec::new();
    for _ in 0..3 {
        echoes.push(program("echo-agent", &Arc::new(Memory::new())).await);
    }
    let names: Vec<String> = (0..services)
        .map(|it| format!("agent-scraped-{it:04}"))
        .collect();
    for name in &names {
        for number in 0..instances {
            let at = echoes[number % echoes.len()].grpc_addr;
            let id = format!("scraped-agent-{name}-{number}");
            let known = registration(&id, name, at);
            memory.register(&known).await.expect("memory takes it");
        }
    }
    let mut raw = RawConnection::connect(router.grpc_addr).await;
    for name in names.iter().rev() {
        // As often as it has instances, so that each has had a call.
        for _ in 0..instances {
            until("the router knows all services", SOON, async || {
                call(&mut raw, name).await.then_some(())
            })
            .await;
        }
    }
    let scraper = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("plain HTTP");
    let url = format!("http://{}/metrics", router.admin_addr);
    println!(
        "{services} services with {instances} instances each; {CALLERS} callers, a scrape each {EVERY:?}\n"
    );
    println!("| scrape | bytes | median ms | longest ms |");
    println!("|---|---|---|---|");
    for (what, accept, encoding) in FORMS {
        let (mut times, mut size) = (Vec::new(), 0);
        for _ in 0..20 {
            let began = Instant::now();
            size = scrape(&scraper, &url, accept, encoding).await;
            times.push(began.elapsed());
        }
        println!("| {what} | {size} | {} |", figures(&mut times, &[0.5, 1.0]));
    }
    println!("\n| calls beside it | calls | median ms | 99 % | 99.9 % | longest |");
    println!("|---|---|---|---|---|---|");
    let mut scrapes = Vec::new();
    // In turn, so that whatever else the machine does falls on both.
    let (mut quiet, mut scraped) = (Vec::new(), Vec::new());
    for round in 0..4 {
        let scraping = Arc::new(AtomicBool::new(true));
        let mut beside = JoinSet::new();
        if round % 2 == 1 {
            let (scraper, url, scraping) = (scraper.clone(), url.clone(), Arc::clone(&scraping));
            beside.spawn(async move {
                let mut times = Vec::new();
                while scraping.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    scrape(&scraper, &url, OPEN_METRICS, "gzip").await;
                    times.push(began.elapsed());
                    sleep(EVERY).await;
                }
                times
            });
        }
        let all = load(
            router.grpc_addr,
            &names,
            Duration::from_secs_f64(seconds / 4.0),
        )
        .await;
        scraping.store(false, Ordering::Relaxed);
        scrapes.extend(beside.join_all().await.into_iter().flatten());
        if round % 2 == 1 {
            &mut scraped
        } else {
            &mut quiet
        }
        .extend(all);
    }
    for (what, times) in [("none", &mut quiet), ("scrapes", &mut scraped)] {
        let count = times.len();
        let told = figures(times, &[0.5, 0.99, 0.999, 1.0]);
        println!("| {what} | {count} | {told} |");
    }
    let told = figures(&mut scrapes, &[0.5, 1.0]);
    println!("\nscrapes under load, median and longest ms: | {told} |");
    router.drain().await;
}

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";

const FORMS: [(&str, &str, &str); 3] = [
    ("text 0.0.4", "*/*", "identity"),
    ("OpenMetrics", OPEN_METRICS, "identity"),
    ("OpenMetrics, gzip", OPEN_METRICS, "gzip"),
];

fn arguments() -> (usize, usize, f64) {
    let mut found = (200, 3, 20.0);
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        match name.as_str() {
            "--services" => found.0 = value.parse().expect("a number of services"),
            "--instances" => found.1 = value.parse().expect("a number of instances"),
            "--seconds" => found.2 = value.parse().expect("a number of seconds"),
            _ => panic!("call it as: scrape --services 200 --instances 3 --seconds 20"),
        }
    }
    found
}

async fn program(name: &str, memory: &Arc<Memory>) -> ServerHandle {
    let row = PROGRAMS.iter().find(|(spec, _)| spec.program == name);
    let (spec, build) = row.expect("it is one of ours");
    local::start(spec, build, memory, &[]).await
}

fn registration(id: &str, service: &str, at: SocketAddr) -> Registration {
    let services = (
        "grpc_services".to_owned(),
        "agentplatform.AgentService".to_owned(),
    );
    Registration {
        tags: vec!["agent".to_owned()],
        meta: [services].into(),
        ..local::registration(id, service, at)
    }
}

/// Whether a call was answered well.
async fn call(raw: &mut RawConnection, service: &str) -> bool {
    let task = TaskRequest {
        input: "x".to_owned(),
        ..TaskRequest::default()
    };
    let metadata = [("x-mesh-service", service)];
    let answer = raw.call(PATH, &metadata, &task.encode_to_vec()).await;
    answer.status.code() == tonic::Code::Ok
}

/// The times of calls to all services in turn.
async fn load(router: SocketAddr, names: &[String], time: Duration) -> Vec<Duration> {
    let mut callers = JoinSet::new();
    let until = Instant::now() + time;
    for caller in 0..CALLERS {
        let names = names.to_vec();
        callers.spawn(async move {
            let mut raw = RawConnection::connect(router).await;
            let mut times = Vec::new();
            for name in names.iter().cycle().skip(caller * 7) {
                if Instant::now() > until {
                    break;
                }
                let began = Instant::now();
                assert!(call(&mut raw, name).await, "a call fails");
                times.push(began.elapsed());
                sleep(PAUSE).await;
            }
            times
        });
    }
    callers.join_all().await.into_iter().flatten().collect()
}

async fn scrape(client: &reqwest::Client, url: &str, accept: &str, encoding: &str) -> usize {
    let asked = client
        .get(url)
        .header("accept", accept)
        .header("accept-encoding", encoding);
    let answer = asked.send().await.expect("it answers");
    answer.bytes().await.expect("it answers whole").len()
}

/// Milliseconds at these shares of the sorted times.
fn figures(times: &mut [Duration], shares: &[f64]) -> String {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    let at = |share: &f64| times.get((last as f64 * share) as usize);
    let text = shares.iter().map(|share| {
        at(share).map_or("-".to_owned(), |time| {
            format!("{:.2}", time.as_secs_f64() * 1e3)
        })
    });
    text.collect::<Vec<_>>().join(" | ")
}
