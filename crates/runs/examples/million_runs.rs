//! How long a page of a search takes among many ended runs, on each store. Prints a table.
//!
//! `cargo run --release -p mesh-runs --example million_runs -- 1000000`

#![expect(clippy::unwrap_used, reason = "it measures, and fails by panicking")]
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mesh_runs::{RunFilter, RunStore, STORES, StoreOptions, open};
use testkit::Postgres;

/// How often each page is asked for.
const ROUNDS: usize = 50;

#[tokio::main]
async fn main() {
    let count: u64 = std::env::args()
        .nth(1)
        .map_or(1_000_000, |text| text.parse().unwrap());
    for row in STORES {
        match row.scheme {
            "postgres" => {
                let server = Postgres::start().await;
                let address = server.database().await;
                let store = open(&address, &options()).unwrap();
                store.check().await.unwrap();
                let (client, connection) = tokio_postgres::connect(&address, tokio_postgres::NoTls)
                    .await
                    .unwrap();
                let mut tasks = tokio::task::JoinSet::new();
                tasks.spawn(async move { connection.await.unwrap() });
                let numbers = format!("generate_series(0, {}) AS n", count - 1);
                let sql = fill(&numbers, "rank", "false", "md5(n::text)", "''::bytea");
                client.batch_execute(&sql).await.unwrap();
                measure(row.scheme, &*store, count).await;
            }
            "file" => {
                let folder = tempfile::tempdir().unwrap();
                let address = format!("file://{}", folder.path().display());
                let store = open(&address, &options()).unwrap();
                store.check().await.unwrap();
                let file = folder.path().join("workflows.sqlite3");
                let connection = rusqlite::Connection::open(file).unwrap();
                let numbers = format!(
                    "(WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {}) SELECT n FROM s)",
                    count - 1
                );
                let sql = fill(
                    &numbers,
                    "priority",
                    "0",
                    "printf('%08x', n * 2654435761 % 4294967296)",
                    "x''",
                );
                connection.execute_batch(&sql).unwrap();
                drop(connection);
                measure(row.scheme, &*store, count).await;
            }
            other => println!("{other}: no way to fill it"),
        }
    }
}

fn options() -> StoreOptions {
    StoreOptions {
        timeout: Duration::from_secs(60),
        ..StoreOptions::default()
    }
}

/// The statements that make ended runs: one in 1,000 failed, 100 owners, 50 tags, a label in 500 values.
fn fill(numbers: &str, rank: &str, no: &str, hash: &str, empty: &str) -> String {
    format!(
        "BEGIN;
        INSERT INTO run (run_id, shard, owner, submitted_by, tag, base_kind, base_ref, tags_snapshot, labels, workflow,
            start, {rank}, keep_ms, keep_last, status, error, submitted_at, started_at, ended_at, idle, delete_at)
        SELECT {hash} || '-' || n, n % 64, 'owner-' || (n % 100), 'owner', 'tag-' || (n % 50), 'tag', 'main', '{{}}',
            '{{}}', 'sha256:0', {empty}, 2, 1000, 0, CASE WHEN n % 1000 = 7 THEN 'FAILED' ELSE 'COMPLETED' END,
            CASE WHEN n % 1000 = 7 THEN 'node a' || (n % 77) || ' failed: it broke' END,
            1000 + n, 1001 + n, 1002 + n, {no}, 9000000000000 FROM {numbers};
        INSERT INTO run_label (key, value, submitted_at, run_id)
        SELECT 'team', 'team-' || (submitted_at % 500), submitted_at, run_id FROM run;
        COMMIT;"
    )
}

async fn measure(scheme: &str, store: &dyn RunStore, count: u64) {
    let some = |text: &str| Some(text.to_owned());
    let all = RunFilter {
        limit: 100,
        ..RunFilter::default()
    };
    let middle = store
        .runs(&RunFilter {
            until: Some(1000 + count / 2),
            ..all.clone()
        })
        .await
        .unwrap();
    let last = store
        .runs(&RunFilter {
            limit: 1,
            ..all.clone()
        })
        .await
        .unwrap();
    let table = [
        ("all", all.clone()),
        (
            "all, from the middle",
            RunFilter {
                cursor: middle.next,
                ..all.clone()
            },
        ),
        (
            "1,000 of all",
            RunFilter {
                limit: 1000,
                ..all.clone()
            },
        ),
        (
            "failed ones",
            RunFilter {
                status: some("FAILED"),
                ..all.clone()
            },
        ),
        (
            "running ones",
            RunFilter {
                status: some("RUNNING"),
                ..all.clone()
            },
        ),
        (
            "an owner's",
            RunFilter {
                owner: some("owner-7"),
                ..all.clone()
            },
        ),
        (
            "a tag's",
            RunFilter {
                tag: some("tag-7"),
                ..all.clone()
            },
        ),
        (
            "an owner's failed",
            RunFilter {
                owner: some("owner-7"),
                status: some("FAILED"),
                ..all.clone()
            },
        ),
        (
            "an owner's failed, none",
            RunFilter {
                owner: some("owner-8"),
                status: some("FAILED"),
                ..all.clone()
            },
        ),
        (
            "a tag's of an owner, none",
            RunFilter {
                owner: some("owner-8"),
                tag: some("tag-7"),
                ..all.clone()
            },
        ),
        (
            "a tag's completed",
            RunFilter {
                tag: some("tag-7"),
                status: some("COMPLETED"),
                ..all.clone()
            },
        ),
        (
            "a label's",
            RunFilter {
                labels: BTreeMap::from([("team".into(), "team-7".into())]),
                ..all.clone()
            },
        ),
        (
            "a label's failed",
            RunFilter {
                labels: BTreeMap::from([("team".into(), "team-7".into())]),
                status: some("FAILED"),
                ..all.clone()
            },
        ),
        (
            "a second's",
            RunFilter {
                since: Some(1000 + count / 3),
                until: Some(2000 + count / 3),
                ..all.clone()
            },
        ),
        (
            "q: of an error",
            RunFilter {
                q: some("a7 failed"),
                ..all.clone()
            },
        ),
        (
            "q: of an id",
            RunFilter {
                q: Some(last.runs[0].run_id[..8].to_owned()),
                ..all.clone()
            },
        ),
        (
            "q: of a tag",
            RunFilter {
                q: some("ag-49"),
                ..all.clone()
            },
        ),
        (
            "q: of nothing",
            RunFilter {
                q: some("no such text"),
                ..all.clone()
            },
        ),
        (
            "q: of an error, of an owner",
            RunFilter {
                q: some("broke"),
                owner: some("owner-7"),
                ..all.clone()
            },
        ),
    ];
    println!("\n{scheme}, {count} ended runs, a page of 100\n");
    println!("| page | runs | p50 ms | slowest of {ROUNDS} ms |\n|---|---|---|---|");
    for (name, filter) in table {
        let mut times = Vec::new();
        let mut found = 0;
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            found = store.runs(&filter).await.unwrap().runs.len();
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            if times.iter().sum::<f64>() > 5000.0 {
                break;
            }
        }
        times.sort_by(f64::total_cmp);
        let (p50, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("| {name} | {found} | {p50:.1} | {slowest:.1} |");
    }
}
