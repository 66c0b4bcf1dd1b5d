//! What changes, and what it wakes.

use serde_json::{Value, json};

use super::*;

fn register(state: &mut State, body: Value) {
    let definition = ServiceDefinition::read(body).unwrap();
    state.register(definition, false).unwrap();
}

fn ttl(status: &str) -> Value {
    json!({ "TTL": "30s", "Status": status })
}

fn status(state: &State, id: &str) -> Status {
    state.checks[id].status
}

#[test]
fn the_same_registration_again_changes_nothing() {
    let mut state = State::new();
    let body = json!({ "Name": "a", "Port": 1, "Check": { "TCP": "h:1", "Interval": "1s" } });
    register(&mut state, body.clone());
    let (index, round) = (state.index(), state.checks["service:a"].round);
    register(&mut state, body);
    assert_eq!(state.index(), index);
    assert_eq!(state.checks["service:a"].round, round, "its check runs on");
}

#[test]
fn a_change_wakes_who_watches_the_name_and_nobody_else() {
    let mut state = State::new();
    register(&mut state, json!({ "Name": "a", "Check": ttl("passing") }));
    register(&mut state, json!({ "Name": "b" }));
    let (b, checks) = (state.changed("b"), state.checks_index);
    for body in [
        json!({ "Name": "a", "Port": 2 }),
        json!({ "Name": "a", "Port": 2, "Weights": { "Passing": 5, "Warning": 1 } }),
    ] {
        let (a, services) = (state.changed("a"), state.services_index);
        register(&mut state, body);
        assert!(state.changed("a") > a && state.services_index > services);
        assert_eq!((state.changed("b"), state.checks_index), (b, checks));
    }
    let (a, services) = (state.changed("a"), state.services_index);
    assert!(state.report("service:a", Status::Warning, ""));
    assert!(state.changed("a") > a && state.checks_index > checks);
    assert_eq!(state.services_index, services);
    let index = state.index();
    assert!(state.report("service:a", Status::Warning, "other words"));
    assert_eq!(state.index(), index);
}

#[test]
fn a_check_that_is_registered_again_keeps_its_status_and_begins_anew() {
    let mut state = State::new();
    register(&mut state, json!({ "Name": "a", "Check": ttl("passing") }));
    state.report("service:a", Status::Critical, "bad");
    let round = state.checks["service:a"].round;
    register(&mut state, json!({ "Name": "a", "Check": ttl("passing") }));
    let check = &state.checks["service:a"];
    assert_eq!(
        (check.status, check.output.as_str()),
        (Status::Critical, "bad")
    );
    let current = check.round;
    assert!(current > round);
    // The result of the former registration is too late.
    state.outcome("service:a", round, Status::Passing, "");
    assert_eq!(status(&state, "service:a"), Status::Critical);
    state.outcome("service:a", current, Status::Passing, "");
    assert_eq!(status(&state, "service:a"), Status::Passing);
}

#[test]
fn checks_stay_until_they_are_replaced() {
    let mut state = State::new();
    register(
        &mut state,
        json!({ "Name": "a", "Checks": [ttl("passing"), ttl("passing")] }),
    );
    register(&mut state, json!({ "Name": "a", "Port": 2 }));
    assert!(state.maintain("a", true, ""));
    let ids = |state: &State| state.checks.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        ids(&state),
        ["_service_maintenance:a", "service:a:1", "service:a:2"]
    );
    let body = json!({ "Name": "a", "Check": ttl("passing") });
    let definition = ServiceDefinition::read(body).unwrap();
    state.register(definition, true).unwrap();
    assert_eq!(ids(&state), ["_service_maintenance:a", "service:a"]);
    assert!(state.deregister("a"));
    assert_eq!(ids(&state), [""; 0]);
}

#[test]
fn a_renamed_instance_leaves_its_former_name() {
    let mut state = State::new();
    register(
        &mut state,
        json!({ "Name": "a", "ID": "1", "Check": ttl("passing") }),
    );
    let a = state.changed("a");
    register(&mut state, json!({ "Name": "b", "ID": "1" }));
    assert!(state.changed("a") > a && state.changed("b") > a);
    assert_eq!(state.instances("a").count(), 0);
    assert_eq!(state.checks["service:1"].service_name, "b");
}

#[test]
fn names_that_come_and_go_are_not_kept() {
    let mut state = State::new();
    let mut last = 0;
    for n in 0..1000 {
        let name = format!("name-{n}");
        register(&mut state, json!({ "Name": name, "Check": ttl("passing") }));
        let there = state.changed(&name);
        assert!(state.deregister(&name));
        let gone = state.changed(&name);
        assert!(there > last && gone > there, "{last} {there} {gone}");
        last = gone;
    }
    assert!(state.changed.is_empty() && state.checks.is_empty());
}

#[test]
fn maintenance_is_over_when_it_is_said_and_takes_no_reports() {
    let mut state = State::new();
    register(&mut state, json!({ "Name": "a" }));
    assert!(!state.maintain("b", true, ""));
    assert!(state.maintain("a", true, "why") && state.maintain("a", true, "again"));
    assert_eq!(
        state.checks["_service_maintenance:a"].definition.notes,
        "why"
    );
    assert!(!state.report("_service_maintenance:a", Status::Passing, ""));
    assert_eq!(state.status_of("a"), Status::Critical);
    assert!(state.maintain("a", false, "") && state.maintain("a", false, ""));
    assert_eq!(state.status_of("a"), Status::Passing);
}

#[test]
fn an_entry_is_written_and_removed_only_as_it_was_last_seen() {
    let mut state = State::new();
    let mut put = |cas| state.put("k", "v".into(), 0, cas).unwrap();
    assert!(!put(Some(9)));
    assert!(put(Some(0)));
    assert!(!put(Some(0)));
    let index = state.entries.changed("k");
    assert!(!state.delete("k", Some(index + 1)));
    assert!(state.delete("k", Some(index)));
    assert!(state.entries.changed("k") > index);
    assert!(state.entries.get("k").is_none());
}

#[test]
fn an_entry_is_no_news_of_another() {
    let mut state = State::new();
    for key in ["m/a", "m/b", "n"] {
        state.put(key, "1".into(), 0, None).unwrap();
    }
    let seen = |state: &State| {
        (
            state.entries.changed("m/a"),
            state.entries.changed_beneath("m/"),
        )
    };
    let before = seen(&state);
    state.put("n", "2".into(), 0, None).unwrap();
    assert_eq!(seen(&state), before);
    state.put("m/b", "2".into(), 0, None).unwrap();
    let after = seen(&state);
    assert!(after.0 == before.0 && after.1 > before.1);
    state.delete_beneath("m/");
    assert!(seen(&state).0 > after.0 && seen(&state).1 > after.1);
}
