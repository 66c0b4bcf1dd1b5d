//! Addresses that may not be asked, however they are spelled and wherever they come from.

use mesh_fetch::{EgressPolicy, Error, FetchLimits, HttpClient, Request};

use crate::support::{Internet, PUBLIC, Server, answer, client};

async fn inside() -> Server {
    Server::start(|_| answer(200, &[], "secret")).await
}

async fn ask(client: &HttpClient, url: &str) -> Result<String, Error> {
    let answer = client.send(Request::get(url.parse().unwrap())).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

/// Asks for each URL, and expects that nobody was connected to.
async fn all_refused(urls: &[&str], names: &[(&str, &[&str])]) {
    let server = inside().await;
    let internet = Internet::new(server.address, names);
    let client = client(&internet, &[], FetchLimits::default());
    for url in urls {
        let asked = ask(&client, url).await;
        assert!(
            matches!(asked, Err(Error::Forbidden { .. })),
            "{url}: {asked:?}"
        );
    }
    assert_eq!(*internet.connected.lock(), []);
}

#[tokio::test]
async fn nothing_is_asked_while_external_requests_are_switched_off() {
    let server = inside().await;
    let port = server.address.port();
    let listed = [format!("127.0.0.1:{port}")];
    let client =
        HttpClient::new(EgressPolicy::new(false, &listed), FetchLimits::default()).unwrap();
    let error = ask(&client, &format!("http://127.0.0.1:{port}/"))
        .await
        .unwrap_err();
    assert_eq!(error, Error::Disabled);
    assert!(error.to_string().contains("ALLOW_EXTERNAL_REQUESTS=yes"));
}

#[tokio::test]
async fn private_addresses_are_refused() {
    all_refused(
        &[
            "http://10.0.0.1/",
            "http://172.16.5.4/",
            "http://192.168.0.1:8080/",
            "http://[fd00::1]/",
            "http://100.64.0.1/",
        ],
        &[],
    )
    .await;
}

#[tokio::test]
async fn loopback_is_refused() {
    all_refused(
        &[
            "http://127.0.0.1/",
            "http://127.9.9.9/",
            "http://[::1]/",
            "http://localhost/",
            "http://localhost./",
            "http://0.0.0.0/",
            "http://[::]/",
        ],
        &[("localhost", &["127.0.0.1"]), ("localhost.", &["::1"])],
    )
    .await;
}

#[tokio::test]
async fn link_local_and_metadata_addresses_are_refused() {
    all_refused(
        &[
            "http://169.254.169.254/latest/meta-data/",
            "http://169.254.1.1/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://100.100.100.200/",
            "http://168.63.129.16/",
            "http://metadata.google.internal/",
        ],
        &[("metadata.google.internal", &["169.254.169.254"])],
    )
    .await;
}

#[tokio::test]
async fn multicast_and_broadcast_are_refused() {
    all_refused(
        &[
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[ff02::1]/",
        ],
        &[],
    )
    .await;
}

#[tokio::test]
async fn ipv4_within_ipv6_is_refused() {
    all_refused(
        &[
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://mapped.example/",
        ],
        &[("mapped.example", &["::ffff:10.0.0.1"])],
    )
    .await;
}

#[tokio::test]
async fn decimal_octal_and_hexadecimal_forms_are_refused() {
    all_refused(
        &[
            "http://2130706433/",
            "http://017700000001/",
            "http://0177.0.0.1/",
            "http://0x7f.1/",
            "http://0x7f000001/",
            "http://127.1/",
            "http://%31%32%37.0.0.1/",
            "http://①②⑦.0.0.1/",
        ],
        &[],
    )
    .await;
}

#[tokio::test]
async fn a_listed_host_is_asked_inside_but_never_for_metadata() {
    let server = inside().await;
    let names: &[(&str, &[&str])] = &[("intra", &["10.1.2.3"]), ("sly", &["169.254.169.254"])];
    let internet = Internet::new(server.address, names);
    let client = client(
        &internet,
        &["Intra:80", "sly", "[::ffff:127.0.0.1]"],
        FetchLimits::default(),
    );
    assert_eq!(ask(&client, "http://intra/").await.unwrap(), "secret");
    for url in [
        "http://intra:81/",
        "http://10.1.2.3/",
        "http://sly/",
        "http://[::ffff:127.0.0.1]/",
    ] {
        let asked = ask(&client, url).await;
        assert!(
            matches!(asked, Err(Error::Forbidden { .. })),
            "{url}: {asked:?}"
        );
    }
    assert_eq!(*internet.connected.lock(), ["10.1.2.3:80".parse().unwrap()]);
}

#[tokio::test]
async fn a_name_that_answers_differently_the_second_time_is_asked_where_it_was_checked() {
    let server = inside().await;
    let names: &[(&str, &[&str])] = &[("rebind", &[PUBLIC]), ("rebind", &["127.0.0.1"])];
    let internet = Internet::new(server.address, names);
    let client = client(&internet, &[], FetchLimits::default());
    ask(&client, "http://rebind/").await.unwrap();
    assert_eq!(*internet.resolved.lock(), ["rebind"]);
    assert_eq!(
        *internet.connected.lock(),
        [format!("{PUBLIC}:80").parse().unwrap()]
    );
    // Asked again, it is looked up again, and refused.
    assert!(matches!(
        ask(&client, "http://rebind/").await,
        Err(Error::Forbidden { .. })
    ));
    assert_eq!(internet.connected.lock().len(), 1);
}

#[tokio::test]
async fn of_a_name_with_addresses_inside_and_outside_only_those_outside_are_asked() {
    let server = inside().await;
    let internet = Internet::new(server.address, &[("mixed", &["127.0.0.1", PUBLIC, "::1"])]);
    ask(
        &client(&internet, &[], FetchLimits::default()),
        "http://mixed/",
    )
    .await
    .unwrap();
    assert_eq!(
        *internet.connected.lock(),
        [format!("{PUBLIC}:80").parse().unwrap()]
    );
}

#[tokio::test]
async fn a_redirect_inside_is_refused() {
    for target in [
        "http://127.0.0.1/",
        "//inside.example/",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "gopher://x/",
    ] {
        let server = Server::start(move |_| answer(302, &[("location", target)], "")).await;
        let names: &[(&str, &[&str])] = &[
            ("out.example", &[PUBLIC]),
            ("inside.example", &["10.0.0.1"]),
        ];
        let internet = Internet::new(server.address, names);
        let asked = ask(
            &client(&internet, &[], FetchLimits::default()),
            "http://out.example/",
        )
        .await;
        let refused = matches!(asked, Err(Error::Forbidden { .. } | Error::BadUrl { .. }));
        assert!(refused, "{target}: {asked:?}");
        assert_eq!(internet.connected.lock().len(), 1, "{target}");
    }
}

#[tokio::test]
async fn a_redirect_back_to_the_same_name_is_checked_anew() {
    let server = Server::start(|_| answer(302, &[("location", "/again")], "")).await;
    let names: &[(&str, &[&str])] = &[("rebind", &[PUBLIC]), ("rebind", &["192.168.0.1"])];
    let internet = Internet::new(server.address, names);
    let asked = ask(
        &client(&internet, &[], FetchLimits::default()),
        "http://rebind/",
    )
    .await;
    assert!(matches!(asked, Err(Error::Forbidden { .. })), "{asked:?}");
    assert_eq!(
        *internet.connected.lock(),
        [format!("{PUBLIC}:80").parse().unwrap()]
    );
}

#[tokio::test]
async fn this_hosts_own_addresses_are_refused_though_they_are_public() {
    let server = inside().await;
    let names: &[(&str, &[&str])] = &[
        ("me.example", &[PUBLIC]),
        ("me6.example", &["2606:2800:21f::1"]),
        ("both.example", &[PUBLIC, "1.1.1.1"]),
    ];
    let internet = Internet::new(server.address, names);
    *internet.own.lock() = [PUBLIC, "2606:2800:21f::1"]
        .map(|ip| ip.parse().unwrap())
        .into();
    let other = client(&internet, &[], FetchLimits::default());
    for url in [
        format!("http://{PUBLIC}/"),
        format!("http://{PUBLIC}:6379/"),
        "http://[2606:2800:21f::1]/".to_owned(),
        "http://me.example/".to_owned(),
        "http://me6.example/".to_owned(),
    ] {
        let error = ask(&other, &url).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden { .. }), "{url}: {error:?}");
        let told = error.to_string();
        assert!(told.contains("this host's own"), "{told}");
        assert!(told.contains("external_allow_hosts"), "{told}");
    }
    ask(&other, "http://both.example/").await.unwrap();
    assert_eq!(*internet.connected.lock(), ["1.1.1.1:80".parse().unwrap()]);
    let listed = client(&internet, &["me.example"], FetchLimits::default());
    assert_eq!(ask(&listed, "http://me.example/").await.unwrap(), "secret");
}

#[tokio::test]
async fn a_password_in_a_url_is_not_repeated() {
    let server = Server::start(|request| {
        let target = match request.uri().path() {
            "/bad" => "http://me:hunter2@[::/",
            _ => "http://me:hunter2@out.example/",
        };
        answer(302, &[("location", target)], "")
    })
    .await;
    let internet = Internet::new(server.address, &[("out.example", &[PUBLIC])]);
    let client = client(&internet, &[], FetchLimits::default());
    for url in [
        "http://me:hunter2@out.example/",
        "ftp://me:hunter2@out.example/",
        "http://out.example/",
        "http://out.example/bad",
    ] {
        let error = ask(&client, url).await.unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
