//! What policies do about load and latency.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Calls, member, rng, sessions, set, set_with, share};
use mesh_balance::{
    BalanceOptions, LoadReport, POLICIES, PickArgs, PreviousPick, Set, TurnCounter, find_policy,
    hash,
};
use rand::RngExt;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

#[test]
fn nine_idle_calls_to_three_members_go_three_each() {
    let set = set(find_policy("least_request").unwrap(), &[1, 1, 1]);
    for _ in 0..9 {
        assert_eq!(Calls::idle(&set, 9), [3, 3, 3]);
    }
}

#[test]
fn a_member_that_is_stuck_gets_few_calls_from_least_request() {
    let set = set(find_policy("least_request").unwrap(), &[1; 3]);
    (0..50).for_each(|_| set.members()[0].load.begin(Duration::ZERO));
    let picks = Calls::busy(&set, 3000, 6);
    assert!(picks[0] < 30, "{picks:?}");
}

#[test]
fn a_member_that_is_stuck_gets_its_calls_from_those_that_do_not_look() {
    for name in ["round_robin", "weighted", "random"] {
        let set = set(find_policy(name).unwrap(), &[1; 3]);
        (0..50).for_each(|_| set.members()[0].load.begin(Duration::ZERO));
        assert!(Calls::idle(&set, 3000)[0] > 900, "{name}");
    }
}

#[test]
fn calls_that_never_end_pile_up_evenly_under_least_request() {
    let set = set(find_policy("least_request").unwrap(), &[1; 100]);
    Calls::busy(&set, 10_000, usize::MAX);
    let most = set
        .members()
        .iter()
        .map(|member| member.load.in_flight())
        .max();
    assert!(most <= Some(104), "{most:?} where 100 are fair");
}

#[test]
fn the_slow_member_gets_few_calls_from_peak_ewma() {
    let set = set(find_policy("peak_ewma").unwrap(), &[1; 3]);
    let mut picks = [0; 3];
    let mut rng = rng();
    for call in 0..3000 {
        let now = call * MS;
        let index = set
            .pick(&PickArgs { session: None, now }, &mut rng, &[])
            .unwrap();
        picks[index] += 1;
        let slow = if index == 0 { 200 } else { 10 };
        set.members()[index].load.observe(slow * MS, false, now);
    }
    assert!((2..20).contains(&picks[0]), "{picks:?}");
    // Being probed, it comes back when it has become faster.
    let mut later = [0; 3];
    for call in 0..9000 {
        let now = 60 * S + call * MS;
        let index = set
            .pick(&PickArgs { session: None, now }, &mut rng, &[])
            .unwrap();
        set.members()[index].load.observe(10 * MS, false, now);
        later[index] += 1;
    }
    assert!(later[0] > 500, "{later:?}");
}

#[test]
fn peak_ewma_tries_a_newcomer_though_it_is_assumed_slower() {
    let set = set(find_policy("peak_ewma").unwrap(), &[1; 3]);
    for member in &set.members()[..2] {
        member.load.observe(MS, false, S);
    }
    let picks = Calls::idle_at(&set, 6, S);
    assert_eq!(picks[2], 2, "{picks:?}");
    // One call at a time, until it has answered.
    set.members()[2].load.begin(Duration::ZERO);
    assert_eq!(Calls::idle_at(&set, 60, S)[2], 0);
}

#[test]
fn a_member_that_was_quiet_for_long_is_not_sent_everything_by_peak_ewma() {
    let set = set(find_policy("peak_ewma").unwrap(), &[1; 2]);
    set.members()[0].load.observe(10 * MS, false, S);
    set.members()[1].load.observe(MS, false, 9999 * S);
    for _ in 0..1000 {
        let request = PickArgs {
            session: None,
            now: 9999 * S,
        };
        let index = set.pick(&request, &mut rng(), &[]).unwrap();
        set.members()[index].load.begin(Duration::ZERO);
    }
    assert!(set.members()[1].load.in_flight() > 50);
}

#[test]
fn a_member_whose_calls_have_no_answer_gets_no_more_from_peak_ewma() {
    let set = set(find_policy("peak_ewma").unwrap(), &[1; 2]);
    for member in set.members() {
        member.load.observe(5 * MS, false, S);
    }
    set.members()[0].load.begin(S);
    // A call on the other one that has just begun is no reason to wait for the first.
    (0..20).for_each(|_| set.members()[1].load.begin(S + 40 * MS));
    assert_eq!(Calls::idle_at(&set, 50, S + 50 * MS), [0, 50]);
}

#[test]
fn load_aware_goes_by_what_members_report() {
    let set = set(find_policy("load_aware").unwrap(), &[1; 3]);
    let report = |index: usize, utilization, now| {
        let report = LoadReport {
            utilization,
            calls: 100.0,
            errors: 0.0,
        };
        set.members()[index].load.report(&report, now);
    };
    report(0, 0.9, S);
    report(1, 0.3, S);
    assert_eq!(Calls::idle_at(&set, 9, 2 * S), [3, 3, 3], "it is too early");
    // The third has told nothing, and counts as the mean: 111, 333 and 222 calls per second.
    let picks = Calls::idle_at(&set, 6000, 12 * S);
    assert!(share(&picks, &[1.0, 3.0, 2.0], 0.02), "{picks:?}");
    report(0, 0.3, 13 * S);
    let picks = Calls::idle_at(&set, 6000, 14 * S);
    assert!(share(&picks, &[1.0; 3], 0.02), "{picks:?}");
    assert_eq!(
        Calls::idle_at(&set, 9, 300 * S),
        [3, 3, 3],
        "it is too late"
    );
    report(1, 0.3, 300 * S);
    (0..9).for_each(|_| set.members()[1].load.begin(S));
    assert_eq!(Calls::idle_at(&set, 90, 301 * S)[1], 0, "it is busy");
}

#[test]
fn a_member_that_fails_fast_is_not_the_favourite_of_peak_ewma() {
    let set = set(find_policy("peak_ewma").unwrap(), &[1; 2]);
    set.members()[0].load.observe(MS, true, S);
    set.members()[1].load.observe(500 * MS, false, S);
    assert_eq!(Calls::idle_at(&set, 50, S), [0, 50]);
}

#[test]
fn a_session_stays_where_it_is_whatever_the_load() {
    let set = set(find_policy("session").unwrap(), &[1; 5]);
    for request in sessions(100) {
        let home = set.pick(&request, &mut rng(), &[]);
        (0..50).for_each(|_| set.members()[home.unwrap()].load.begin(Duration::ZERO));
        assert_eq!(set.pick(&request, &mut rng(), &[]), home);
    }
}

#[test]
fn calls_without_a_session_are_least_request() {
    let set = set(find_policy("session").unwrap(), &[1, 1, 1]);
    assert_eq!(Calls::idle(&set, 9), [3, 3, 3]);
}

#[test]
fn with_a_bound_no_member_has_much_more_than_the_mean() {
    let options = BalanceOptions {
        session_bound: Some(1.25),
        ..BalanceOptions::default()
    };
    for count in [3, 10, 64] {
        let set = set_with(find_policy("session").unwrap(), &vec![1; count], &options);
        let calls = count * 40;
        // One session that makes half of the calls is what the bound is for.
        for (number, request) in sessions(calls).enumerate() {
            let hot = PickArgs {
                session: Some(hash("hot")),
                ..request
            };
            let request = if number % 2 == 0 { hot } else { request };
            let index = set.pick(&request, &mut rng(), &[]).unwrap();
            set.members()[index].load.begin(Duration::ZERO);
        }
        let most = set
            .members()
            .iter()
            .map(|member| member.load.in_flight())
            .max();
        assert!(
            most <= Some(50),
            "{most:?} of {count} members where 40 are the mean"
        );
    }
}

#[test]
fn a_bound_holds_about_where_the_mean_is_sampled() {
    let options = BalanceOptions {
        session_bound: Some(1.25),
        ..BalanceOptions::default()
    };
    let set = set_with(find_policy("session").unwrap(), &[1; 300], &options);
    let mut rng = rng();
    for request in sessions(300 * 40) {
        let index = set.pick(&request, &mut rng, &[]).unwrap();
        set.members()[index].load.begin(Duration::ZERO);
    }
    let most = set
        .members()
        .iter()
        .map(|member| member.load.in_flight())
        .max();
    assert!(most <= Some(55), "{most:?} where 40 are the mean");
}

#[test]
fn a_session_under_the_bound_stays_at_home() {
    let options = BalanceOptions {
        session_bound: Some(1.25),
        ..BalanceOptions::default()
    };
    let bounded = set_with(find_policy("session").unwrap(), &[1; 5], &options);
    let free = set(find_policy("session").unwrap(), &[1; 5]);
    for request in sessions(100) {
        assert_eq!(
            bounded.pick(&request, &mut rng(), &[]),
            free.pick(&request, &mut rng(), &[]),
        );
    }
}

#[test]
fn a_pick_from_ten_thousand_costs_about_what_one_from_ten_does() {
    for policy in POLICIES {
        let cost = |count: usize| {
            let mut rng = rng();
            let members = (0..count).map(|n| member(n, 1 + n as u32 % 3)).collect();
            let turn = Arc::new(TurnCounter::new());
            let set = Set::new(members, policy, &BalanceOptions::default(), turn);
            let started = std::time::Instant::now();
            for _ in 0..20_000 {
                let request = PickArgs {
                    session: Some(rng.random()),
                    now: S,
                };
                std::hint::black_box(set.pick(&request, &mut rng, &[]));
            }
            started.elapsed()
        };
        let (few, many) = (cost(10), cost(10_000));
        println!(
            "{}: {:?} and {:?} a pick",
            policy.name,
            few / 20_000,
            many / 20_000
        );
        // A scan would take hundreds of times as long; a busy machine may take several.
        assert!(
            many < few * 40 + 50 * MS,
            "{}: {few:?} and {many:?}",
            policy.name
        );
    }
}

/// Picks for calls that come together and all stay, after members had so many in flight.
fn burst(set: &Set, in_flight: [u32; 3], calls: usize, together: bool) -> Vec<usize> {
    for (member, calls) in set.members().iter().zip(in_flight) {
        (0..calls).for_each(|_| member.load.begin(Duration::ZERO));
    }
    let (mut rng, mut picks) = (rng(), Vec::new());
    while picks.len() < calls {
        let before = picks.last().map(|member| PreviousPick {
            member: *member,
            together,
        });
        let picked = set.pick_after(before, &PickArgs::default(), &mut rng, &[]);
        let index = picked.expect("somebody is there");
        set.members()[index].load.begin(Duration::ZERO);
        picks.push(index);
    }
    picks
}

#[test]
fn calls_that_come_together_are_even_over_idle_members() {
    let set = set(find_policy("least_request").unwrap(), &[1; 3]);
    let mut picks = burst(&set, [0; 3], 9, true);
    picks.sort_unstable();
    assert_eq!(picks, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
}

#[test]
fn calls_that_come_together_follow_each_other_among_busy_members() {
    let set = set(find_policy("least_request").unwrap(), &[1; 3]);
    let picks = burst(&set, [40; 3], 8, true);
    assert!(picks.iter().all(|index| *index == picks[0]), "{picks:?}");
}

#[test]
fn no_more_calls_follow_than_a_part_of_the_load_or_the_burst() {
    let cases = [
        (10, 8, true, 15),
        (1000, 30, true, 1016),
        (3, 3, false, 4),
        (40, 30, false, 50),
        (1000, 30, false, 1016),
    ];
    for (in_flight, calls, together, most) in cases {
        let set = set(find_policy("least_request").unwrap(), &[1; 3]);
        burst(&set, [in_flight; 3], calls, together);
        let loads = set.members().iter().map(|m| m.load.in_flight());
        assert!(loads.max() <= Some(most), "{set:?}");
    }
}

#[test]
fn calls_do_not_follow_to_a_member_that_is_stuck_or_without_a_burst() {
    let set = set(find_policy("least_request").unwrap(), &[1; 3]);
    (0..200).for_each(|_| set.members()[0].load.begin(Duration::ZERO));
    (1..3).for_each(|i| (0..20).for_each(|_| set.members()[i].load.begin(Duration::ZERO)));
    let before = Some(PreviousPick {
        member: 0,
        together: true,
    });
    let after_the_stuck = set.pick_after(before, &PickArgs::default(), &mut rng(), &[]);
    assert_ne!(after_the_stuck, Some(0));
    let options = BalanceOptions {
        affinity_slack: 0,
        ..BalanceOptions::default()
    };
    let set = set_with(find_policy("least_request").unwrap(), &[1; 3], &options);
    let picks = burst(&set, [40; 3], 9, true);
    assert!(
        (0..3).all(|index| picks.iter().filter(|p| **p == index).count() >= 2),
        "{picks:?}"
    );
}

#[test]
fn calls_do_not_follow_to_a_member_that_is_slower_than_the_one_picked() {
    let set = set(find_policy("least_request").unwrap(), &[1; 3]);
    for (member, ms) in set.members().iter().zip([50, 5, 5]) {
        (0..40).for_each(|_| member.load.begin(Duration::ZERO));
        let latency = Duration::from_millis(ms);
        member.load.observe(latency, false, Duration::ZERO);
    }
    // The others have hardly less to do.
    (1..3).for_each(|i| set.members()[i].load.end());
    for (before, follows) in [(0, false), (1, true), (2, true)] {
        let before = PreviousPick {
            member: before,
            together: true,
        };
        let picked = set.pick_after(Some(before), &PickArgs::default(), &mut rng(), &[]);
        assert_eq!(picked == Some(before.member), follows, "{before:?}");
    }
}

#[test]
fn only_least_request_lets_calls_follow_each_other() {
    for policy in POLICIES.iter().filter(|row| row.name == "round_robin") {
        let set = set(policy, &[1; 3]);
        let mut picks = burst(&set, [40; 3], 9, true);
        picks.sort_unstable();
        assert_eq!(picks, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    }
}
