//! A Redis over TLS, whose authority only a file knows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use mesh_work as work;
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    hash::MessageDigest,
    pkey::PKey,
    rsa::Rsa,
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use service::{Config, Loader};
use testkit::{Redis, ports};

/// Writes a certificate of this host that is its own authority, and its key.
fn certificate(folder: &Path) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "test").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    let (today, tomorrow) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
    builder.set_not_before(&today.unwrap()).unwrap();
    builder.set_not_after(&tomorrow.unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    let ca = BasicConstraints::new().critical().ca().build().unwrap();
    builder.append_extension(ca).unwrap();
    let names = SubjectAlternativeName::new()
        .ip("127.0.0.1")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    fs::write(folder.join("cert.pem"), builder.build().to_pem().unwrap()).unwrap();
    fs::write(
        folder.join("key.pem"),
        key.private_key_to_pem_pkcs8().unwrap(),
    )
    .unwrap();
}

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
    certificate(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
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

    let nowhere = path("nowhere.pem");
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
