//! A Redis over TLS, whose authority only a file knows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_work as work;
use service::{Config, Loader};
use testkit::{Certificate, Redis, ports};

fn config(set: &[(&str, &str)]) -> Config {
    let loader = Loader::new(work::QueueKeys::KEYS.to_vec());
    let set = set
        .iter()
        .fold(loader, |loader, (key, value)| loader.set(key, *value));
    set.load().unwrap()
}

#[tokio::test]
async fn a_redis_over_tls_is_trusted_by_a_file_of_authorities_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificate::for_host("127.0.0.1").write(folder.path(), "cert");
    let [cert, key] = files.map(|file| file.display().to_string());
    let [port] = ports::free().map(|port| port.to_string());
    let _redis = Redis::start(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &cert,
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let url = format!("rediss://127.0.0.1:{port}");
    let url = url.as_str();
    let jobs = work::open(&config(&[("redis_url", url), ("redis_cacert", &cert)])).unwrap();
    jobs.check().await.unwrap();
    let job = jobs::NewJob::new("call", jobs::Payload::Json("{}".into()));
    let id = jobs.submit(job).await.unwrap().id;
    assert_eq!(jobs.get(&id).await.unwrap().id, id);

    let stranger = work::open(&config(&[("redis_url", url)])).unwrap();
    let error = stranger.check().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");

    let nowhere = folder.path().join("nowhere.pem").display().to_string();
    let missing = config(&[("redis_url", url), ("redis_cacert", &nowhere)]);
    let error = format!("{:#}", work::open(&missing).unwrap_err());
    assert!(
        error.contains("redis_cacert") && error.contains("nowhere.pem"),
        "{error}"
    );
    // Without TLS nobody asks for the file.
    let plain = config(&[
        ("redis_url", "redis://127.0.0.1:1"),
        ("redis_cacert", &nowhere),
    ]);
    work::open(&plain).unwrap();
}

#[test]
fn a_url_that_leads_nowhere_is_told_with_the_form_that_would_do() {
    for (url, word) in [
        ("redis+sentinel://host:26379", "name"),
        ("redis+sentinel://host/name?password=x", "sentinel_password"),
        ("redis+unix://", "redis_url"),
        ("memcached://host", "redis_url"),
    ] {
        let loader = Loader::new(work::QueueKeys::KEYS.to_vec()).set("redis_url", url);
        let error = match loader.load() {
            Ok(config) => format!("{:#}", work::open(&config).unwrap_err()),
            Err(mistakes) => mistakes.to_string(),
        };
        assert!(error.contains(word), "{url}: {error}");
    }
    for url in [
        "unix:///run/redis.sock",
        "redis+unix:///run/redis.sock?db=1",
        "redis+sentinel://u:p@a,b:26380/name/2?sentinel_password=x",
        "rediss+sentinel://a/name",
    ] {
        work::open(&config(&[("redis_url", url)])).unwrap();
    }
}
