//! What every policy of the table keeps to.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Calls, rng, set, share};
use mesh_balance::{
    BalanceOptions, DEFAULT, Load, Member, POLICIES, PickArgs, PolicyRow, Set, TurnCounter,
    find_policy, hash,
};

const S: Duration = Duration::from_secs(1);

fn each(test: impl Fn(&'static PolicyRow)) {
    for row in POLICIES {
        test(row);
    }
}

#[test]
fn an_empty_set_has_nobody_to_pick() {
    each(|row| {
        let set = set(row, &[]);
        let session = PickArgs {
            session: Some(7),
            ..PickArgs::default()
        };
        assert_eq!(
            set.pick(&PickArgs::default(), &mut rng(), &[]),
            None,
            "{}",
            row.name
        );
        assert_eq!(set.pick(&session, &mut rng(), &[]), None, "{}", row.name);
    });
}

#[test]
fn a_single_member_is_picked_whatever_its_weight_and_load() {
    each(|row| {
        for weight in [0, 1, u32::MAX] {
            let set = set(row, &[weight]);
            for session in [None, Some(7)] {
                let request = PickArgs {
                    session,
                    ..PickArgs::default()
                };
                assert_eq!(set.pick(&request, &mut rng(), &[]), Some(0), "{}", row.name);
                set.members()[0].load.begin(Duration::ZERO);
            }
        }
    });
}

#[test]
fn members_that_all_weigh_nothing_are_equal() {
    each(|row| {
        let picks = Calls::idle(&set(row, &[0; 4]), 8000);
        assert!(share(&picks, &[1.0; 4], 0.1), "{}: {picks:?}", row.name);
    });
}

#[test]
fn a_member_that_weighs_nothing_gets_nothing() {
    each(|row| {
        let set = set(row, &[1, 0, 1]);
        let picks = Calls::idle(&set, 500);
        assert_eq!(picks[1], 0, "{}", row.name);
        let picks = Calls::sessions(&set, 500);
        assert_eq!(picks[1], 0, "{}", row.name);
        assert_eq!(
            set.pick(&PickArgs::default(), &mut rng(), &[0, 2]),
            None,
            "{}",
            row.name
        );
    });
}

#[test]
fn idle_members_share_calls_by_weight() {
    each(|row| {
        let weights = [1, 2, 3, 10];
        let picks = Calls::idle(&set(row, &weights), 16_000);
        assert!(
            share(&picks, &weights.map(f64::from), 0.1),
            "{}: {picks:?}",
            row.name
        );
    });
}

#[test]
fn busy_members_share_calls_by_weight() {
    each(|row| {
        let weights = [1, 2, 3, 10];
        let picks = Calls::busy(&set(row, &weights), 16_000, 64);
        assert!(
            share(&picks, &weights.map(f64::from), 0.15),
            "{}: {picks:?}",
            row.name
        );
    });
}

#[test]
fn sessions_share_members_by_weight() {
    each(|row| {
        let weights = [10, 20, 30, 40];
        let picks = Calls::sessions(&set(row, &weights), 16_000);
        assert!(
            share(&picks, &weights.map(f64::from), 0.3),
            "{}: {picks:?}",
            row.name
        );
    });
}

#[test]
fn an_excluded_member_is_not_picked_while_another_is_there() {
    each(|row| {
        let set = set(row, &[1, 1000, 1]);
        for session in (0..200).map(Some).chain([None; 200]) {
            let request = PickArgs {
                session,
                ..PickArgs::default()
            };
            let first = set.pick(&request, &mut rng(), &[]).unwrap();
            let second = set.pick(&request, &mut rng(), &[first]).unwrap();
            let third = set.pick(&request, &mut rng(), &[first, second]).unwrap();
            let mut all = [first, second, third];
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2], "{}", row.name);
            assert_eq!(set.pick(&request, &mut rng(), &all), None, "{}", row.name);
        }
    });
}

#[test]
fn indices_to_exclude_that_do_not_exist_change_nothing() {
    each(|row| {
        let picked = set(row, &[1]).pick(&PickArgs::default(), &mut rng(), &[1, 9, usize::MAX]);
        assert_eq!(picked, Some(0), "{}", row.name);
    });
}

#[test]
fn a_newcomer_gets_a_tenth_of_its_share_at_first_and_all_of_it_later() {
    each(|row| {
        let loads = [
            Load::new(),
            Load::new(),
            Load::new(),
            Load::joined_at(100 * S),
        ];
        let set = of_loads(row, loads);
        for (age, factor) in [(0, 0.1), (5, 0.55), (10, 1.0), (60, 1.0)] {
            let picks = Calls::idle_at(&set, 20_000, (100 + age) * S);
            let all = picks.iter().sum::<usize>() as f64;
            let newcomer = picks[3] as f64 / (all / (3.0 + factor));
            assert!(
                (newcomer - factor).abs() < 0.1,
                "{} at {age} s: {newcomer}",
                row.name
            );
        }
    });
}

#[test]
fn a_set_of_newcomers_starts_at_full_share() {
    each(|row| {
        let set = of_loads(row, [Load::joined_at(100 * S), Load::joined_at(104 * S)]);
        let picks = Calls::idle_at(&set, 4000, 105 * S);
        assert!(share(&picks, &[1.0; 2], 0.1), "{}: {picks:?}", row.name);
    });
}

#[test]
fn newcomers_are_called_when_the_warm_ones_are_excluded() {
    each(|row| {
        let options = BalanceOptions {
            slow_start_from: 0.0,
            ..BalanceOptions::default()
        };
        let loads = [Load::new(), Load::joined_at(100 * S)].map(Arc::new);
        let members = loads.map(|load| Member {
            hash: 1,
            weight: 1,
            load,
        });
        let set = Set::new(members.into(), row, &options, Arc::new(TurnCounter::new()));
        let request = PickArgs {
            now: 100 * S,
            ..PickArgs::default()
        };
        assert_eq!(
            set.pick(&request, &mut rng(), &[0]),
            Some(1),
            "{}",
            row.name
        );
    });
}

#[test]
fn turns_go_on_when_a_set_is_rebuilt() {
    for name in ["round_robin", "weighted", "least_request", "peak_ewma"] {
        let turn = Arc::new(TurnCounter::new());
        let members: Vec<_> = (0..3).map(|n| common::member(n, 1)).collect();
        let picks: Vec<_> = (0..6)
            .map(|_| {
                let options = BalanceOptions::default();
                let set = Set::new(
                    members.clone(),
                    find_policy(name).unwrap(),
                    &options,
                    turn.clone(),
                );
                set.pick(&PickArgs::default(), &mut rng(), &[]).unwrap()
            })
            .collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2], "{name}");
    }
}

#[test]
fn names_and_aliases_are_found_in_any_case_and_are_nobody_elses() {
    let mut seen = std::collections::HashSet::new();
    each(|policy| {
        for name in policy.aliases.iter().chain([&policy.name]) {
            assert_eq!(find_policy(name).unwrap().name, policy.name);
            assert_eq!(find_policy(&name.to_uppercase()).unwrap().name, policy.name);
        }
        assert!(!policy.about.is_empty());
    });
    for name in POLICIES
        .iter()
        .flat_map(|row| row.aliases.iter().chain([&row.name]))
    {
        assert!(seen.insert(name), "{name} is there twice");
    }
    assert!(find_policy("").is_none());
    assert!(find_policy("fastest").is_none());
    assert_eq!(DEFAULT.name, "least_request");
}

#[test]
fn the_names_of_haproxy_envoy_and_grpc_are_known() {
    for (theirs, ours) in [
        ("roundrobin", "round_robin"),
        ("static-rr", "weighted"),
        ("leastconn", "least_request"),
        ("LEAST_REQUEST", "least_request"),
        ("ROUND_ROBIN", "round_robin"),
        ("RANDOM", "random"),
        ("RING_HASH", "session"),
        ("ring_hash_experimental", "session"),
    ] {
        assert_eq!(
            find_policy(theirs).map(|row| row.name),
            Some(ours),
            "{theirs}"
        );
    }
}

fn of_loads<const N: usize>(row: &PolicyRow, loads: [Load; N]) -> Set {
    let members = loads.map(|load| Member {
        hash: hash("any"),
        weight: 1,
        load: Arc::new(load),
    });
    Set::new(
        members.into(),
        row,
        &BalanceOptions::default(),
        Arc::new(TurnCounter::new()),
    )
}
