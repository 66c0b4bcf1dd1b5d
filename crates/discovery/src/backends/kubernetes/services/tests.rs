use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::*;

fn service(json: Value) -> Result<MeshService, LeftOut> {
    MeshService::read(Service::deserialize(json).expect("a Service"))
}

fn agent() -> MeshService {
    service(json!({
        "metadata": {
            "name": "agent-echo",
            "labels": { "mesh/kind": "agent", "app.kubernetes.io/version": "1.2.3" },
            "annotations": { "mesh/lb_policy": "p2c", "mesh/kind": "tool", "other/key": "x" },
        },
        "spec": { "ipFamilies": ["IPv4", "IPv6"] },
    }))
    .unwrap()
}

fn slice(name: &str, family: &str, endpoints: &Value) -> EndpointSlice {
    EndpointSlice::deserialize(json!({
        "metadata": { "name": name },
        "addressType": family,
        "ports": [{ "name": "grpc", "port": 50052 }, { "name": "admin", "port": 9090 }],
        "endpoints": endpoints,
    }))
    .expect("an EndpointSlice")
}

fn pod(name: &str, address: &str, conditions: &Value) -> Value {
    json!({
        "addresses": [address],
        "conditions": conditions,
        "nodeName": "node-1",
        "targetRef": { "kind": "Pod", "name": name },
    })
}

/// ID, authority and health of all that is found.
fn found(slices: &[EndpointSlice]) -> Vec<(String, String, Health)> {
    let found = agent().instances(slices.iter());
    assert_eq!(found.left_out, []);
    let instances = found.instances.into_values().map(|state| state.instance);
    instances
        .map(|it| (it.key.id.to_string(), it.authority(), it.health))
        .collect()
}

#[test]
fn annotations_are_meta_and_the_label_is_the_kind() {
    let slices = [slice(
        "a",
        "IPv4",
        &json!([pod("echo-0", "10.0.0.1", &json!({}))]),
    )];
    let found = agent().instances(slices.iter());
    let instance = &found.instances.values().next().unwrap().instance;
    assert_eq!(instance.kind(), ServiceKind::Agent);
    assert_eq!(instance.tags, ["agent"]);
    assert_eq!(instance.version(), "1.2.3");
    assert_eq!(instance.meta["lb_policy"], "p2c");
    assert_eq!(instance.meta["admin_port"], "9090");
    assert_eq!(instance.meta.len(), 4, "{:?}", instance.meta);
    assert_eq!(&*instance.key.node, "node-1");
    assert_eq!(
        instance.health,
        Health::Passing,
        "what is not said is ready"
    );
}

#[test]
fn a_kind_that_is_none_is_left_out_with_the_words_to_write() {
    for kind in [json!("agnet"), json!("")] {
        let json = json!({ "metadata": { "name": "x", "labels": { "mesh/kind": kind } } });
        let left_out = service(json).expect_err("no kind").to_string();
        assert!(
            left_out.contains("agent, tool, worker, service, router or gateway"),
            "{left_out}"
        );
    }
    let router = json!({ "metadata": { "name": "x", "labels": { "mesh/kind": "router" } } });
    assert_eq!(service(router).unwrap().tags, ["router"]);
    let plain = json!({ "metadata": { "name": "x", "labels": { "mesh/kind": "service" } } });
    assert_eq!(service(plain).unwrap().tags, ["grpc"]);
}

#[test]
fn gateways_find_one_another_by_their_http_port_and_are_not_routed_to() {
    let gateways = service(json!({
        "metadata": { "name": "mesh-gateway", "labels": { "mesh/kind": "gateway" } },
    }))
    .unwrap();
    let slice = EndpointSlice::deserialize(json!({
        "metadata": { "name": "a" },
        "addressType": "IPv4",
        "ports": [
            { "name": "tasks", "port": 8001 },
            { "name": "http", "port": 8080 },
            { "name": "admin", "port": 9090 },
        ],
        "endpoints": [pod("mesh-gateway-0", "10.0.0.1", &json!({}))],
    }))
    .expect("an EndpointSlice");
    let found = gateways.instances([&slice].into_iter());
    assert_eq!(found.left_out, []);
    let instance = &found.instances.values().next().unwrap().instance;
    assert_eq!(instance.authority(), "10.0.0.1:8080");
    assert_eq!(&*instance.key.id, "mesh-gateway-0");
    assert!(!crate::Catalog::belongs(&gateways.tags));
    assert!(crate::Catalog::is_program(&gateways.tags));
}

#[test]
fn an_endpoint_that_terminates_or_is_not_ready_gets_no_new_calls() {
    let cases = [
        (
            json!({ "ready": true, "serving": true, "terminating": false }),
            Health::Passing,
        ),
        (
            json!({ "ready": null, "terminating": null }),
            Health::Passing,
        ),
        (
            json!({ "ready": false, "serving": false, "terminating": false }),
            Health::Critical,
        ),
        (
            json!({ "ready": false, "serving": true, "terminating": true }),
            Health::Critical,
        ),
        // As publishNotReadyAddresses has it.
        (
            json!({ "ready": true, "serving": true, "terminating": true }),
            Health::Critical,
        ),
    ];
    for (conditions, health) in cases {
        let slices = [slice(
            "a",
            "IPv4",
            &json!([pod("echo-0", "10.0.0.1", &conditions)]),
        )];
        assert_eq!(found(&slices)[0].2, health, "{conditions}");
    }
}

#[test]
fn a_pod_in_several_slices_is_one_instance() {
    let (ready, not) = (json!({ "ready": true }), json!({ "ready": false }));
    let leaving = json!({ "ready": false, "serving": true, "terminating": true });
    // While slices are rebalanced.
    let both = |a: &Value, b: &Value| {
        found(&[
            slice("a", "IPv4", &json!([pod("echo-0", "10.0.0.1", a)])),
            slice("b", "IPv4", &json!([pod("echo-0", "10.0.0.1", b)])),
        ])
    };
    let one = |health| vec![("echo-0".to_owned(), "10.0.0.1:50052".to_owned(), health)];
    assert_eq!(both(&not, &ready), one(Health::Passing));
    assert_eq!(both(&ready, &not), one(Health::Passing));
    assert_eq!(both(&ready, &leaving), one(Health::Critical));
    // With two families of addresses, the Service's first is called.
    let families = [
        slice("a", "IPv6", &json!([pod("echo-0", "fd00::1", &ready)])),
        slice("b", "IPv4", &json!([pod("echo-0", "10.0.0.1", &ready)])),
    ];
    assert_eq!(found(&families), one(Health::Passing));
    // A service whose slices are all of the other family is called there.
    assert_eq!(found(&families[..1])[0].1, "[fd00::1]:50052");
}

#[test]
fn endpoints_that_share_a_name_are_told_apart_by_their_addresses() {
    let ready = json!({});
    let slices = [slice(
        "a",
        "IPv4",
        &json!([
            pod("echo-0", "10.0.0.1", &ready),
            pod("echo-0", "10.0.0.2", &ready)
        ]),
    )];
    let ids: Vec<_> = found(&slices).into_iter().map(|it| it.0).collect();
    assert_eq!(ids, ["echo-0@10.0.0.1:50052", "echo-0@10.0.0.2:50052"]);
    // An endpoint without a pod is its address.
    let bare = json!([{ "addresses": ["10.0.0.3"] }]);
    assert_eq!(found(&[slice("a", "IPv4", &bare)])[0].0, "10.0.0.3:50052");
}

#[test]
fn the_port_is_the_one_named_grpc_or_the_only_one() {
    let ports = |json: Value| {
        let ports: Vec<Port> = serde_json::from_value(json).expect("ports");
        CalledPorts::of(&ports, GRPC_PORT).map(|ports| ports.called)
    };
    assert_eq!(ports(json!([{ "port": 1 }])), Ok(1));
    assert_eq!(
        ports(json!([{ "name": "x", "port": 1 }, { "name": "admin", "port": 2 }])),
        Ok(1)
    );
    assert_eq!(
        ports(json!([{ "name": "x", "port": 1 }, { "name": "grpc", "port": 2 }])),
        Ok(2)
    );
    assert_eq!(
        ports(
            json!([{ "name": "u", "port": 1, "protocol": "UDP" }, { "name": "x", "port": 2, "protocol": "TCP" }])
        ),
        Ok(2)
    );
    for none in [
        json!([]),
        json!([{ "name": "admin", "port": 1 }]),
        json!([{ "name": "grpc", "port": null }]),
    ] {
        assert!(ports(none.clone()).is_err(), "{none}");
    }
    let several = ports(json!([{ "name": "a", "port": 1 }, { "name": "b", "port": 2 }]));
    assert!(several.expect_err("two").contains("grpc"));
}

#[test]
fn one_endpoint_that_cannot_be_called_leaves_the_others_alone() {
    let ready = json!({});
    let slices = [slice(
        "a",
        "IPv4",
        &json!([
            pod("bad", "0.0.0.0", &ready),
            pod("no\nname", "10.0.0.2", &ready),
            { "addresses": [] },
            pod("good", "10.0.0.1", &ready),
        ]),
    )];
    let found = agent().instances(slices.iter());
    assert_eq!((found.instances.len(), found.left_out.len()), (1, 3));
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,20}",
        "[a-z0-9.:%-]{0,20}",
        Just("10.0.0.1".to_owned()),
        Just("\0\r\n\u{202e}".to_owned()),
        "x{250,600}",
    ]
}

fn endpoint() -> impl Strategy<Value = Value> {
    let flag = || prop::option::of(any::<bool>());
    (text(), text(), text(), flag(), flag()).prop_map(|(pod, address, node, ready, terminating)| {
        json!({
            "addresses": [address],
            "nodeName": node,
            "targetRef": { "kind": "Pod", "name": pod },
            "conditions": { "ready": ready, "terminating": terminating },
        })
    })
}

proptest! {
    /// Whatever others write into the API server: each instance can be called, and a good one is
    /// there beside them.
    #[test]
    fn hostile_objects_yield_only_instances_that_can_be_called(
        name in text(),
        annotations in prop::collection::btree_map(text(), text(), 0..6),
        families in prop::collection::vec(text(), 0..3),
        endpoints in prop::collection::vec(endpoint(), 0..6),
        port in prop_oneof![Just(50052_i64), any::<i64>(), -2..70_000_i64],
    ) {
        let of_mesh: BTreeMap<String, String> = annotations
            .into_iter()
            .map(|(key, value)| (format!("mesh/{key}"), value))
            .collect();
        let read = service(json!({
            "metadata": {
                "name": name,
                "labels": { "mesh/kind": "agent" },
                "annotations": of_mesh,
            },
            "spec": { "ipFamilies": families },
        }));
        let good = validate::name(&name).is_ok();
        prop_assert_eq!(read.is_ok(), good);
        let service = read.unwrap_or_else(|_| agent());
        let mut hostile = slice("a", "IPv4", &json!(endpoints));
        hostile.ports = Some(vec![Port { port: Some(port), ..Port::default() }]);
        let decent = slice("b", "IPv4", &json!([pod("decent", "192.168.7.7", &json!({}))]));
        let found = service.instances([&hostile, &decent].into_iter());
        for (key, state) in &found.instances {
            let it = &state.instance;
            prop_assert_eq!(key, &it.key);
            prop_assert!(validate::host(&it.host).is_ok() && it.port > 0);
            prop_assert!(validate::id(&it.key.id).is_ok());
            prop_assert_eq!(it.kind(), ServiceKind::Agent);
            prop_assert!(!it.version().chars().any(char::is_control));
            prop_assert!(it.public_id().bytes().all(|byte| byte.is_ascii_graphic()));
        }
        let decent = found.instances.values().any(|it| it.instance.host == "192.168.7.7");
        prop_assert!(decent);
    }
}
