//! What values look like whose type does not tell. `DIR` stands for a folder of the trial's own.

/// Values by key.
const SAMPLES: &[(&str, &[&str])] = &[
    ("access_log", &["stdout", "stderr", "DIR/access.log"]),
    (
        "access_log_filter",
        &["all", "errors", "slow:1s", "sample:0.01"],
    ),
    ("admin_address", &["127.0.0.1", "0.0.0.0", "::1"]),
    ("admin_token", &["s3cret"]),
    ("allowed_hosts", &["gateway.example, *.example.com:8443"]),
    ("allowed_origins", &["https://console.example"]),
    ("approval_secret", &["s3cret"]),
    ("client_max_calls", &["1", "4294967295"]),
    ("consul_cacert", &[""]),
    ("consul_client_cert", &[""]),
    ("consul_client_key", &[""]),
    ("consul_host", &["localhost", "nowhere.invalid"]),
    ("consul_http_addr", &["127.0.0.1:1", "http://127.0.0.1:1"]),
    ("consul_http_token", &["s3cret"]),
    ("database_cacert", &[""]),
    ("database_url", &["postgres://127.0.0.1:1/x"]),
    ("default_owner", &["nobody"]),
    ("docs_dir", &["DIR", "DIR/none"]),
    ("external_allow_hosts", &["127.0.0.1, example.com:80"]),
    ("fixed_instances", &["agent-echo=127.0.0.1:1"]),
    ("forecast_url", &["http://127.0.0.1:1/forecast"]),
    ("geocoding_url", &["http://127.0.0.1:1/search"]),
    ("jobs_partitions", &["default=2, other=1024"]),
    ("jobs_path", &["DIR/jobs"]),
    ("jobs_prefix", &["other:jobs"]),
    ("jobs_sync", &["always", "never", "1s"]),
    ("kubernetes_api", &["127.0.0.1:1", "https://127.0.0.1:1"]),
    ("kubernetes_ca_file", &["DIR/ca.crt"]),
    ("kubernetes_namespace", &["mesh"]),
    ("kubernetes_service_host", &["127.0.0.1", "::1"]),
    ("kubernetes_token_file", &["DIR/token"]),
    ("listen_address", &["127.0.0.1", "0.0.0.0", "::1", "::"]),
    ("mcp_router_addr", &["127.0.0.1:1"]),
    ("model_api_key", &["s3cret"]),
    ("model_name", &["small"]),
    ("model_omit", &["stream_options, temperature"]),
    ("model_temperature", &["none", "2"]),
    ("model_url", &["http://127.0.0.1:1/v1"]),
    ("otel_service_name", &["other"]),
    ("otlp_endpoint", &["http://127.0.0.1:1"]),
    ("otlp_certificate", &[""]),
    ("otlp_headers", &["api-key=s3cret"]),
    ("out_dir", &["DIR/out"]),
    ("postgres_db", &["other"]),
    ("postgres_host", &["127.0.0.1"]),
    ("postgres_password", &["s3cret"]),
    ("postgres_user", &["other"]),
    ("pprof_address", &["127.0.0.1", "0.0.0.0", "::1"]),
    ("queue_name", &["other", "a"]),
    ("queues", &["default, other"]),
    ("redis_cacert", &[""]),
    ("redis_host", &["127.0.0.1"]),
    (
        "redis_url",
        &["redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1"],
    ),
    ("registration_networks", &["10.0.0.0/8, fd00::/8"]),
    ("registry_cache", &["DIR/registry.json"]),
    ("schedule_file", &["DIR/schedule.toml"]),
    ("schedule_kind", &["call", "http", "pipeline", "task"]),
    ("schedule_payload", &["{}"]),
    ("schedule_timezone", &["Europe/Berlin", "UTC"]),
    ("service_host", &["127.0.0.1", "echo-1"]),
    ("task_agent", &["echo-agent"]),
    ("trusted_proxies", &["10.0.0.0/8, fd00::/8"]),
    ("weather_service", &["tool-weather"]),
    ("web_search_key", &["s3cret"]),
    ("web_search_key_header", &["x-key"]),
    ("web_search_url", &["http://127.0.0.1:1/search"]),
    ("workflow_agent", &["echo-agent"]),
    ("workflows_path", &["DIR/workflows"]),
];

/// The values of a key that stand here.
pub(crate) fn of(name: &str) -> Option<&'static [&'static str]> {
    let row = SAMPLES.iter().find(|(key, _)| *key == name);
    row.map(|(_, values)| *values)
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SAMPLES.iter().map(|(name, _)| *name)
}
