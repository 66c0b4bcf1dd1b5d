//! A password in a URL is a mistake that people make; no program repeats it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use mesh_testkit::{Process, http_client, tools};
use serde_json::Value;
use tokio::task::JoinSet;

/// How long a program is watched after it serves: longer than it takes to find nobody.
const WATCHED: Duration = Duration::from_millis(1500);
/// How long it may take to serve, or to refuse its configuration.
const START: Duration = Duration::from_secs(60);

/// How many are watched at once.
const AT_ONCE: usize = 8;

/// Variables that name servers, and some that do not; those of every program at one of them.
const PROGRAMS: [(&str, &[&str]); 7] = [
    (
        "mesh-gateway",
        &[
            "CONSUL_HTTP_ADDR",
            "CONSUL_HOST",
            "FIXED_INSTANCES",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "SERVICE_HOST",
            "LISTEN_ADDRESS",
            "LOG_LEVEL",
            "REDIS_URL",
            "REDIS_HOST",
            "MCP_ROUTER_ADDR",
            "ALLOWED_HOSTS",
            "ALLOWED_ORIGINS",
        ],
    ),
    (
        "job-runner",
        &[
            "REDIS_URL",
            "REDIS_HOST",
            "MCP_ROUTER_ADDR",
            "EXTERNAL_ALLOW_HOSTS",
        ],
    ),
    ("mesh-scheduler", &["REDIS_URL", "SCHEDULE_FILE"]),
    ("workflow-runner", &["REDIS_URL", "DATABASE_URL"]),
    ("research-agent", &["MODEL_URL"]),
    ("web-tool", &["WEB_SEARCH_URL"]),
    ("weather-tool", &["FORECAST_URL", "GEOCODING_URL"]),
];

/// Everything that a program says when a variable has a value: its log, and what it answers.
async fn said(program: &str, variable: &str, value: &str) -> String {
    let mut command = Command::new(tools::program(program));
    let ports = [
        "GATEWAY_PORT",
        "RUNNER_PORT",
        "SCHEDULER_PORT",
        "WORKFLOW_RUNNER_PORT",
        "AGENT_PORT",
        "TOOL_PORT",
    ];
    command
        .envs(ports.map(|port| (port, "0")))
        .env("ADMIN_ADDRESS", "127.0.0.1")
        .env("LISTEN_ADDRESS", "127.0.0.1")
        .env("CONSUL_HTTP_ADDR", "127.0.0.1:1")
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .env("ALLOW_EXTERNAL_REQUESTS", "yes")
        .env("LOG_LEVEL", "debug")
        .env("LOG_FORMAT", "json")
        .env_remove(variable);
    if variable == "REDIS_HOST" {
        command.env_remove("REDIS_URL");
    }
    command.env(variable, value);
    let mut process = Process::start(program, command);
    let begun = Instant::now();
    let serving = loop {
        let log = process.log();
        let line = log.lines().find_map(serving);
        if line.is_some() || process.exit_status().is_some() {
            break line;
        }
        assert!(
            begun.elapsed() < START,
            "{program} neither serves nor ends: {log}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut all = String::new();
    if let Some(line) = serving {
        let (admin, port) = (
            line["admin"].as_str().unwrap(),
            line["grpc"].as_str().unwrap(),
        );
        tokio::time::sleep(WATCHED).await;
        let paths = ["/config", "/readyz", "/metrics"].map(|path| format!("http://{admin}{path}"));
        let urls = ["/health", "/api/v1/queues", "/api/v1/services"];
        let urls = urls.map(|path| format!("http://{port}{path}"));
        for url in paths.iter().chain(&urls) {
            let answer = http_client::get(url).await;
            all += &answer.map(|(_, text)| text).unwrap_or_default();
        }
    }
    all += &process.log();
    all
}

fn serving(line: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "serving" && !line["grpc"].is_null()).then_some(line)
}

#[tokio::test]
async fn a_password_in_a_url_is_printed_by_no_program() {
    let values = [
        "http://me:hunter2@127.0.0.1:1/x",
        "redis://:hunter2@127.0.0.1:1",
        "me:hunter2@127.0.0.1:1",
        "https://me:hun/hunter2@no where",
    ];
    let all = PROGRAMS.iter().flat_map(|(program, variables)| {
        let pairs = variables
            .iter()
            .flat_map(|variable| values.map(|value| (*variable, value)));
        pairs.map(|(variable, value)| (*program, variable, value))
    });
    let mut asked = JoinSet::new();
    for (program, variable, value) in all {
        if asked.len() == AT_ONCE {
            asked.join_next().await.unwrap().unwrap();
        }
        asked.spawn(async move {
            let said = said(program, variable, value).await;
            assert!(
                !said.is_empty(),
                "{program} says nothing of {variable}={value}"
            );
            let line = said.lines().find(|line| line.contains("hunter2"));
            assert_eq!(line, None, "{program} with {variable}={value}");
        });
    }
    while let Some(ended) = asked.join_next().await {
        ended.unwrap();
    }
}
