//! The manifests of `deploy/kubernetes` say what the programs are. The schemas of Kubernetes are
//! checked by `make check`, and a real API server takes them in `make test-kubernetes`.

use std::fs;

use mesh_testkit::tools;
use programs::PROGRAMS;
use service::ServiceKind;

#[test]
fn each_program_has_its_manifest_with_its_names_port_kind_and_rights() {
    let folder = tools::root().join("deploy/kubernetes/base");
    let kustomization = fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
    // A mount is nothing without a server, which is the operator's.
    let mount = "mcp-mount";
    for (spec, _) in PROGRAMS.iter().filter(|(spec, _)| spec.program != mount) {
        let path = format!("programs/{}.yaml", spec.program);
        assert!(
            kustomization.contains(&path),
            "{path} is not in kustomization.yaml"
        );
        let text = fs::read_to_string(folder.join(&path)).expect(&path);
        let documents: Vec<&str> = text.split("\n---\n").collect();
        let [deployment, service, budget] = documents[..] else {
            panic!("{path}: a Deployment, a Service and a PodDisruptionBudget");
        };
        let has = |document: &str, line: &str| {
            assert!(document.contains(line), "{path} lacks: {line}");
        };
        has(deployment, "kind: Deployment");
        has(deployment, &format!("command: [{}]", spec.program));
        has(deployment, &format!("containerPort: {}", spec.default_port));
        let port = format!(
            "- name: {}\n              value: \"{}\"",
            spec.port_env, spec.default_port
        );
        has(deployment, &port);
        has(budget, "kind: PodDisruptionBudget");
        has(service, &format!("\n  name: {}\n", spec.service));
        has(service, "- name: admin\n");
        // The kinds that a router calls, and the router, which nobody calls by it.
        let label = format!("mesh/kind: {}\n", spec.kind.name());
        if spec.kind != ServiceKind::Service {
            has(service, &label);
            has(deployment, &label);
        }
        if spec.idempotent.is_empty() {
            assert!(!service.contains("mesh/idempotent"), "{path}");
        } else {
            let methods = spec.idempotent.join(",").replace('*', "\"*\"");
            has(service, &format!("mesh/idempotent: {methods}\n"));
        }
        // Who looks for others asks the API server, and nobody else may.
        let calls = spec
            .groups()
            .any(|group| service::CALLS.iter().any(|it| it.title == group.title));
        for mark in [
            "automountServiceAccountToken: true",
            "mesh/watches: \"true\"",
        ] {
            assert_eq!(deployment.contains(mark), calls, "{path}: {mark}");
        }
        let store = spec.all_keys().iter().any(|key| key.name == "redis_url");
        for mark in ["- name: REDIS_URL", "mesh/store: \"true\""] {
            assert_eq!(deployment.contains(mark), store, "{path}: {mark}");
        }
    }
}
