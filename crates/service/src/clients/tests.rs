//! Who counts as one client, and where each limit ends.

use super::*;
use crate::{keys::ChassisKeys, limits::Limits, tests::SPEC};

fn clients(set: &[(&str, &str)]) -> Arc<Clients> {
    let loader = SPEC.loader();
    let loader = set.iter().fold(loader, |loader, (k, v)| loader.set(k, *v));
    let limits = Limits::new(&ChassisKeys::from_config(&loader.load().unwrap()));
    Clients::new(limits.client, &MetricsRegistry::new())
}

fn at(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), 1)
}

fn none() -> std::iter::Empty<&'static str> {
    std::iter::empty()
}

#[test]
fn calls_are_counted_where_they_are_limited() {
    let counts = |set: &[(&str, &str)]| clients(set).connect(at("1.1.1.1")).unwrap().counts_calls();
    assert!(!counts(&[]));
    assert!(!counts(&[("trusted_proxies", "10.0.0.0/8")]));
    assert!(counts(&[("client_rate", "0.5")]));
    assert!(counts(&[("client_max_calls", "1")]));
}

#[test]
fn connections_are_limited_unless_that_is_switched_off_and_each_port_counts_its_own() {
    let default = clients(&[]);
    let held: Vec<_> = (0..1000)
        .map(|_| default.connect(at("1.1.1.1")).unwrap())
        .collect();
    let refused = default.connect(at("1.1.1.1")).unwrap_err();
    assert_eq!(refused, LimitExceeded("client_max_connections"));
    default.for_other_port().connect(at("1.1.1.1")).unwrap();
    drop(held);
    default.connect(at("1.1.1.1")).unwrap();
    let off = clients(&[
        ("client_max_connections", "0"),
        ("port_max_connections", "0"),
    ]);
    let held: Vec<_> = (0..11_000).map(|_| off.connect(at("1.1.1.1"))).collect();
    assert!(held.iter().all(Result::is_ok));
}

#[test]
fn a_client_gets_so_many_calls_at_once_over_all_its_connections() {
    let clients = clients(&[("client_max_calls", "2")]);
    let (a, b) = (
        clients.connect(at("1.1.1.1")),
        clients.connect(at("1.1.1.1")),
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    let address = a.address(none());
    let held = [a.call(address).unwrap(), b.call(address).unwrap()];
    assert_eq!(
        a.call(address).unwrap_err(),
        LimitExceeded("client_max_calls")
    );
    let other = clients.connect(at("1.1.1.2")).unwrap();
    other.call(other.address(none())).unwrap();
    drop(held);
    a.call(address).unwrap();
}

#[test]
fn connections_are_limited_for_the_port_and_for_each_client() {
    let limits = [
        ("port_max_connections", "3"),
        ("client_max_connections", "2"),
    ];
    let clients = clients(&limits);
    let one = |ip| clients.connect(at(ip));
    let held = [one("1.1.1.1").unwrap(), one("1.1.1.1").unwrap()];
    assert_eq!(
        one("1.1.1.1").unwrap_err(),
        LimitExceeded("client_max_connections")
    );
    let _other = one("1.1.1.2").unwrap();
    assert_eq!(
        one("1.1.1.3").unwrap_err(),
        LimitExceeded("port_max_connections")
    );
    drop(held);
    one("1.1.1.1").unwrap();
}

#[test]
fn behind_a_trusted_proxy_the_last_untrusted_address_is_the_client() {
    let limits = [("trusted_proxies", "10.0.0.0/8"), ("client_max_calls", "1")];
    let clients = clients(&limits);
    let proxy = clients.connect(at("10.0.0.1")).unwrap();
    assert!(proxy.is_proxy());
    for (forwarded, client) in [
        (vec!["1.1.1.1"], "1.1.1.1"),
        // What the client itself wrote stands first, and is not believed.
        (vec!["9.9.9.9, 1.1.1.1"], "1.1.1.1"),
        (vec!["9.9.9.9", "1.1.1.1, 10.0.0.9"], "1.1.1.1"),
        (vec!["9.9.9.9, what?, 10.0.0.9"], "10.0.0.1"),
        (vec![], "10.0.0.1"),
    ] {
        let address = proxy.address(forwarded.iter().copied());
        assert_eq!(address.to_string(), client, "{forwarded:?}");
    }
    let untrusted = clients.connect(at("1.1.1.1")).unwrap();
    let address = untrusted.address(["2.2.2.2"].into_iter());
    assert_eq!(
        address.to_string(),
        "1.1.1.1",
        "the header of an untrusted peer is ignored"
    );
    let _held = untrusted.call(address).unwrap();
    assert!(
        proxy.call(address).is_err(),
        "the same client by another way"
    );
    proxy.call("1.1.1.2".parse().unwrap()).unwrap();
}

#[test]
fn a_rate_is_kept_though_a_client_connects_again_and_again() {
    let clients = clients(&[("client_rate", "2")]);
    let mut taken = 0;
    for _ in 0..20 {
        let connection = clients.connect(at("1.1.1.1")).unwrap();
        taken += usize::from(connection.call(connection.address(none())).is_ok());
    }
    assert!((2..=4).contains(&taken), "{taken}");
}

#[test]
fn addresses_of_one_ipv6_network_are_one_client() {
    let clients = clients(&[("client_max_connections", "1")]);
    let _held = clients.connect(at("2001:db8::1")).unwrap();
    assert!(clients.connect(at("2001:db8::2")).is_err());
    assert!(clients.connect(at("2001:db8:0:1::1")).is_ok());
}

#[test]
fn clients_that_left_are_forgotten() {
    let clients = clients(&[("client_max_calls", "1")]);
    for number in 0..3 * u32::try_from(MIN_REMEMBERED).unwrap() {
        let address = SocketAddr::new(std::net::Ipv4Addr::from_bits(number).into(), 1);
        clients.connect(address).unwrap();
    }
    assert!(clients.known.lock().clients.len() <= MIN_REMEMBERED + 1);
}
