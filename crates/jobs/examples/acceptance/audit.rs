//! What became of all jobs, read from the records, the events and the counters: three things that
//! have to agree.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt as _, stream};
use mesh_jobs::{JobId, JobStatus, Jobs};

use crate::BAD;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct AuditReport {
    pub(crate) known: u64,
    pub(crate) succeeded: u64,
    pub(crate) dead: u64,
    pub(crate) once: u64,
    pub(crate) more: u64,
    pub(crate) counted: (u64, u64),
}

pub(crate) async fn audit(jobs: &Jobs, count: u64) -> AuditReport {
    let mut found = AuditReport::default();
    let (mut endings, mut cursor) = (HashMap::<JobId, u64>::new(), String::new());
    loop {
        let page = jobs.events("default", &cursor, 1_000, Duration::ZERO);
        let page = page.await.unwrap();
        for event in &page.events {
            let ended = JobStatus::parse(&event.name).is_some_and(JobStatus::is_terminal);
            *endings.entry(event.id.clone()).or_default() += u64::from(ended);
        }
        cursor = page.cursor;
        if page.events.is_empty() {
            break;
        }
    }
    found.known = endings.len() as u64;
    found.once = endings.values().filter(|times| **times == 1).count() as u64;
    found.more = endings.values().filter(|times| **times > 1).count() as u64;
    let records = stream::iter(endings.keys()).map(|id| jobs.get(id));
    let mut records = records.buffer_unordered(256);
    let mut numbers = std::collections::HashSet::new();
    while let Some(record) = records.next().await {
        let record = record.unwrap();
        let key = record.header.idempotency_key.unwrap();
        let number: u64 = key.strip_prefix("n-").unwrap().parse().unwrap();
        assert!(numbers.insert(number), "job {number} is there twice");
        match record.status {
            JobStatus::Succeeded => {
                let result = record.result.unwrap();
                assert_eq!(result.bytes().as_ref(), number.to_string().as_bytes());
                found.succeeded += 1;
            }
            JobStatus::Dead => {
                assert_eq!(record.header.error.as_deref(), Some("it is a bad one"));
                assert!(number.is_multiple_of(BAD));
                found.dead += 1;
            }
            other => panic!("job {number} is {other}"),
        }
    }
    assert!((0..count).all(|number| numbers.contains(&number)), "lost");
    let counts = &jobs.queues().await.unwrap()[0].counts;
    found.counted = (counts.succeeded, counts.dead);
    found
}
