use std::{collections::BTreeMap, time::Duration};

use mesh_runs::{Error, NewRun, RunChange, RunFilter, RunStore};

use crate::support::{commit, create, ended, lease, lease_of, new_run, stores, take_all};

async fn ids(store: &dyn RunStore, filter: &RunFilter) -> Vec<String> {
    let page = store.runs(filter).await.unwrap();
    page.runs.into_iter().map(|run| run.run_id).collect()
}

fn filter() -> RunFilter {
    RunFilter {
        limit: 100,
        ..RunFilter::default()
    }
}

#[tokio::test]
async fn runs_are_found_by_everything_that_a_filter_names() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let mut runs = Vec::new();
        for at in 0..6 {
            let run = NewRun {
                tag: (at % 3 > 0).then(|| format!("Tag-{}", at % 3)),
                labels: BTreeMap::from([
                    ("team".to_owned(), format!("t{}", at % 2)),
                    ("all".to_owned(), "yes".to_owned()),
                ]),
                ..new_run(if at < 4 { "ann" } else { "ben" })
            };
            create(store, &run).await;
            runs.push(run.run_id);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let leases = lease(store, "r").await;
        take_all(store, &leases).await;
        let failed = RunChange {
            status: "FAILED".to_owned(),
            error: Some("the Wind broke it".to_owned()),
            ..ended(&runs[2], 9)
        };
        commit(store, &lease_of(&leases, &runs[2]), failed).await;
        let of = |at: &[usize]| at.iter().map(|at| runs[*at].clone()).collect::<Vec<_>>();
        let some = |text: &str| Some(text.to_owned());
        let submitted = async |at: usize| store.run(&runs[at]).await.unwrap().summary.submitted_at;
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let table = [
            (filter(), of(&[5, 4, 3, 2, 1, 0])),
            (
                RunFilter {
                    status: some("failed"),
                    ..filter()
                },
                of(&[2]),
            ),
            (
                RunFilter {
                    status: some("RUNNING"),
                    owner: some("ben"),
                    ..filter()
                },
                of(&[5, 4]),
            ),
            (
                RunFilter {
                    tag: some("Tag-1"),
                    ..filter()
                },
                of(&[4, 1]),
            ),
            (
                RunFilter {
                    owner: some("ann"),
                    ..filter()
                },
                of(&[3, 2, 1, 0]),
            ),
            (
                RunFilter {
                    since: Some(submitted(4).await),
                    ..filter()
                },
                of(&[5, 4]),
            ),
            (
                RunFilter {
                    until: Some(submitted(1).await),
                    ..filter()
                },
                of(&[0]),
            ),
            (
                RunFilter {
                    labels: [label("team", "t1")].into(),
                    ..filter()
                },
                of(&[5, 3, 1]),
            ),
            (
                RunFilter {
                    labels: [label("team", "t1"), label("all", "yes")].into(),
                    owner: some("ann"),
                    ..filter()
                },
                of(&[3, 1]),
            ),
            (
                RunFilter {
                    labels: [label("team", "t2")].into(),
                    ..filter()
                },
                of(&[]),
            ),
            (
                RunFilter {
                    q: some("wind BROKE"),
                    ..filter()
                },
                of(&[2]),
            ),
            (
                RunFilter {
                    q: some("tag-2"),
                    ..filter()
                },
                of(&[5, 2]),
            ),
            (
                RunFilter {
                    q: Some(runs[3][9..].to_owned()),
                    ..filter()
                },
                of(&[3]),
            ),
            (
                RunFilter {
                    q: some("100%"),
                    ..filter()
                },
                of(&[]),
            ),
        ];
        for (filter, expected) in table {
            assert_eq!(
                ids(store, &filter).await,
                expected,
                "{} {filter:?}",
                fixture.scheme
            );
            // A count knows no page and no part of a text.
            if filter.q.is_none() && filter.cursor.is_none() {
                let of_one = RunFilter {
                    limit: 1,
                    ..filter.clone()
                };
                let count = store.count(&of_one).await.unwrap();
                assert_eq!(
                    count,
                    expected.len() as u64,
                    "{} {filter:?}",
                    fixture.scheme
                );
            }
        }
        // A run's own view is the same as the list's.
        let page = store
            .runs(&RunFilter {
                q: some("wind"),
                ..filter()
            })
            .await
            .unwrap();
        assert_eq!(page.runs[0], store.run(&runs[2]).await.unwrap().summary);
        assert_eq!(page.next, None);
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps_while_runs_are_added() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let mut expected = Vec::new();
        for _ in 0..25 {
            expected.push(create(store, &new_run("ann")).await);
        }
        let whole = ids(store, &filter()).await;
        assert_eq!(whole.len(), 25);
        for labels in [
            BTreeMap::new(),
            BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        ] {
            let mut seen = Vec::new();
            let mut page = RunFilter {
                limit: 4,
                labels,
                ..filter()
            };
            let end = store.run(&whole[0]).await.unwrap().summary.submitted_at + 1;
            page.until = Some(end);
            loop {
                let found = store.runs(&page).await.unwrap();
                seen.extend(found.runs.into_iter().map(|run| run.run_id));
                tokio::time::sleep(Duration::from_millis(1)).await;
                create(store, &new_run("ann")).await;
                match found.next {
                    Some(next) => page.cursor = Some(next),
                    None => break,
                }
            }
            seen.retain(|id| whole.contains(id));
            assert_eq!(seen, whole, "{}", fixture.scheme);
        }
        let wrong = RunFilter {
            cursor: Some("what".to_owned()),
            ..filter()
        };
        let wrong = store.runs(&wrong).await;
        assert!(matches!(wrong, Err(Error::Invalid(_))), "{wrong:?}");
    }
}
