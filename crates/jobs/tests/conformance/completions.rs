//! Ids that the submitter chooses, completions, back-off per job, and what is done in batches.

use std::{collections::BTreeMap, time::Duration};

use backoff::Backoff;
use mesh_jobs::{
    Completion, Error, JobId, JobOutcome, JobStatus, Jobs, MAX_COMPLETION_RESULT, NewJob, Payload,
    QueueOptions,
};

use crate::{
    NOW, counts, done, failed,
    support::{call, claim_one, options, recovered, stores},
};

const SOON: Duration = Duration::from_secs(5);

fn seeded(seed: &str) -> NewJob {
    NewJob {
        seed: Some(seed.to_owned()),
        ..call(seed)
    }
}

fn tagged(seed: &str, tag: &str) -> NewJob {
    NewJob {
        completion: Some(tag.to_owned()),
        ..seeded(seed)
    }
}

fn after(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    let tags = tags.iter();
    tags.map(|(tag, cursor)| ((*tag).to_owned(), (*cursor).to_owned()))
        .collect()
}

async fn read(jobs: &Jobs, tags: &[(&str, &str)]) -> Vec<Completion> {
    jobs.completions("default", &after(tags), 100, NOW)
        .await
        .unwrap()
}

fn keys(completions: &[Completion]) -> Vec<&str> {
    let keys = completions.iter().map(|it| it.key.as_deref().unwrap());
    keys.collect()
}

async fn acknowledge(jobs: &Jobs, completions: &[Completion]) {
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for completion in completions {
        let cursors = tags.entry(completion.tag.clone()).or_default();
        cursors.push(completion.cursor.clone());
    }
    let tags: Vec<_> = tags.into_iter().collect();
    jobs.acknowledge("default", &tags).await.unwrap();
}

async fn settle(jobs: &Jobs, outcome: JobOutcome) -> JobId {
    let claimed = claim_one(jobs, "default").await;
    let id = claimed.job.id.clone();
    jobs.settle(&[(claimed, outcome)]).await.remove(0).unwrap();
    id
}

#[tokio::test]
async fn a_job_with_a_seed_is_taken_in_once_as_long_as_it_is_kept() {
    for store in stores().await {
        let jobs = store.jobs_with(QueueOptions {
            result_ttl: Duration::from_millis(100),
            ..options()
        });
        let id = jobs.chosen_id("default", "run.a.0.1").unwrap();
        let first = jobs.submit(seeded("run.a.0.1")).await.unwrap();
        assert_eq!((&first.id, first.existing), (&id, false));
        let before = jobs.get(&id).await.unwrap().header.enqueued_at;
        assert!(before > 1_700_000_000_000, "its time is not in its id");
        // Queued, running and ended; another payload changes nothing.
        let again = async |status| {
            let other = NewJob {
                payload: Payload::Json("0".into()),
                priority: 1,
                delay: Duration::from_secs(9),
                ..seeded("run.a.0.1")
            };
            for new in [seeded("run.a.0.1"), other] {
                let again = jobs.submit(new).await.unwrap();
                assert_eq!(again.id, id, "{}", store.scheme);
                assert_eq!((again.existing, again.status), (true, Some(status)));
            }
        };
        again(JobStatus::Queued).await;
        let claimed = claim_one(&jobs, "default").await;
        assert_eq!(claimed.job.payload, Payload::Json("\"run.a.0.1\"".into()));
        assert_eq!(claimed.job.header.seed.as_deref(), Some("run.a.0.1"));
        again(JobStatus::Running).await;
        jobs.settle(&[(claimed, done())]).await.remove(0).unwrap();
        again(JobStatus::Succeeded).await;
        assert_eq!(counts(&jobs).await, [0, 0, 0, 0, 0, 1, 0]);
        // Once it is forgotten it is new.
        tokio::time::sleep(Duration::from_millis(200)).await;
        jobs.recover("default").await.unwrap();
        let new = jobs.submit(seeded("run.a.0.1")).await.unwrap();
        assert_eq!((new.id, new.existing), (id, false));
    }
}

#[tokio::test]
async fn one_batch_takes_a_seed_in_once_and_the_others_are_what_they_were() {
    for store in stores().await {
        let jobs = store.jobs();
        let known = jobs.submit(seeded("known")).await.unwrap().id;
        let late = NewJob {
            delay: Duration::from_secs(60),
            priority: 1,
            ..seeded("late")
        };
        let keyed = NewJob {
            idempotency_key: Some("k".to_owned()),
            ..call("keyed")
        };
        let batch = || {
            vec![
                call("plain"),
                seeded("new"),
                late.clone(),
                seeded("known"),
                keyed.clone(),
                NewJob {
                    priority: 5,
                    ..seeded("new")
                },
                call("plain"),
            ]
        };
        let existing = async || -> Vec<bool> {
            let answers = jobs.submit_all(batch()).await.unwrap();
            let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
            assert_eq!(answers[3].id, known);
            assert_eq!(answers[1].id, answers[5].id);
            answers.iter().map(|answer| answer.existing).collect()
        };
        let first = [false, false, false, true, false, true, false];
        assert_eq!(existing().await, first, "{}", store.scheme);
        let second = [false, true, true, true, true, true, false];
        assert_eq!(existing().await, second, "{}", store.scheme);
        assert_eq!(counts(&jobs).await, [7, 1, 0, 0, 0, 0, 0]);
    }
}

#[tokio::test]
async fn jobs_with_seeds_are_listed_in_the_order_in_which_they_came() {
    for store in stores().await {
        let jobs = store.jobs();
        let mut ids = Vec::new();
        for number in 0..12 {
            let new = match number % 2 {
                0 => call("x"),
                _ => seeded(&format!("{number}")),
            };
            ids.insert(0, jobs.submit(new).await.unwrap().id);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        settle(&jobs, done()).await;
        let (mut listed, mut cursor) = (Vec::new(), None);
        loop {
            let page = jobs
                .list(&mesh_jobs::JobFilter::default(), 5, cursor.as_deref())
                .await
                .unwrap();
            listed.extend(page.jobs.into_iter().map(|record| record.id));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(listed, ids, "{}", store.scheme);
    }
}

#[tokio::test]
async fn the_end_of_a_job_that_asked_for_it_is_there_until_it_is_acknowledged() {
    for store in stores().await {
        let jobs = store.jobs();
        for new in [
            tagged("good", "wf1"),
            tagged("bad", "wf1"),
            tagged("other", "wf2"),
            call("silent"),
        ] {
            jobs.submit(new).await.unwrap();
        }
        let good = settle(&jobs, done()).await;
        settle(&jobs, failed(false)).await;
        settle(&jobs, done()).await;
        settle(&jobs, done()).await;
        let called_off = jobs.submit(tagged("off", "wf1")).await.unwrap().id;
        jobs.cancel(&called_off).await.unwrap();

        let all = read(&jobs, &[("wf1", ""), ("wf2", "")]).await;
        let of = |tag| -> Vec<Completion> {
            let of = all.iter().filter(|it| it.tag == tag);
            of.cloned().collect()
        };
        let ours = of("wf1");
        assert_eq!(keys(&ours), ["good", "bad", "off"], "{}", store.scheme);
        assert_eq!(keys(&of("wf2")), ["other"]);
        let [first, second, third] = ours.as_slice() else {
            panic!("three")
        };
        assert_eq!((&first.id, first.status), (&good, JobStatus::Succeeded));
        assert_eq!(first.result, Some(Payload::Json("7".into())));
        assert_eq!((first.attempt, &first.metrics), (1, &Some(1.into())));
        assert!(!first.left_out && first.ended_at >= first.started_at);
        assert!(first.started_at.is_some());
        assert_eq!(second.status, JobStatus::Dead);
        assert_eq!(second.error.as_deref(), Some("it broke"));
        assert_eq!((&second.result, second.left_out), (&None, false));
        assert!(!second.retryable, "it said that it would not pass");
        assert_eq!(
            (&third.id, third.status),
            (&called_off, JobStatus::Cancelled)
        );
        assert_eq!(third.result, None);

        // Each cursor leads to what comes after it; without one, everything comes again.
        for (number, completion) in ours.iter().enumerate() {
            let rest = read(&jobs, &[("wf1", &completion.cursor)]).await;
            assert_eq!(keys(&rest), keys(&ours[number + 1..]));
        }
        assert_eq!(read(&jobs, &[("wf1", "")]).await.len(), 3);
        acknowledge(&jobs, std::slice::from_ref(second)).await;
        assert_eq!(keys(&read(&jobs, &[("wf1", "")]).await), ["good", "off"]);
        let rest = read(&jobs, &[("wf1", &second.cursor)]).await;
        assert_eq!(keys(&rest), ["off"], "the cursor of one that is gone");
        // Twice is once.
        acknowledge(&jobs, &all).await;
        acknowledge(&jobs, &all).await;
        assert!(read(&jobs, &[("wf1", ""), ("wf2", "")]).await.is_empty());
    }
}

#[tokio::test]
async fn every_way_to_the_end_leaves_one_completion_and_no_other_move_does() {
    for store in stores().await {
        let jobs = store.jobs();
        let new = NewJob {
            max_attempts: 2,
            ..tagged("twice", "t")
        };
        let id = jobs.submit(new).await.unwrap().id;
        settle(&jobs, JobOutcome::Released).await;
        let postponed = JobOutcome::Postponed {
            delay: Duration::from_millis(1),
        };
        settle(&jobs, postponed).await;
        settle(&jobs, failed(true)).await;
        assert!(read(&jobs, &[("t", "")]).await.is_empty());
        // Its second worker is lost.
        claim_one(&jobs, "default").await;
        assert_eq!(recovered(&jobs).await, 1);
        let lost = read(&jobs, &[("t", "")]).await;
        assert_eq!((lost.len(), lost[0].status), (1, JobStatus::Dead));
        assert!(lost[0].error.as_ref().unwrap().contains("lease"));
        assert_eq!((lost[0].attempt, lost[0].retryable), (2, true));
        // A dead letter that a person retries ends once more.
        jobs.retry(&id).await.unwrap();
        settle(&jobs, done()).await;
        let again = read(&jobs, &[("t", &lost[0].cursor)]).await;
        assert_eq!((again.len(), again[0].status), (1, JobStatus::Succeeded));
        assert_eq!(read(&jobs, &[("t", "")]).await[0].status, JobStatus::Dead);
        assert!(!again[0].retryable);
        acknowledge(&jobs, &lost).await;
        acknowledge(&jobs, &again).await;
        // One that is cancelled while it runs ends as its worker says so.
        let runs = jobs.submit(tagged("runs", "t")).await.unwrap().id;
        let claimed = claim_one(&jobs, "default").await;
        jobs.cancel(&runs).await.unwrap();
        assert!(read(&jobs, &[("t", "")]).await.is_empty());
        // It failed before it heard of that.
        let ended = [(claimed, failed(true))];
        jobs.settle(&ended).await.remove(0).unwrap();
        let ended = read(&jobs, &[("t", "")]).await;
        assert_eq!(ended.len(), 1, "{}", store.scheme);
        assert_eq!(ended[0].status, JobStatus::Cancelled);
    }
}

#[tokio::test]
async fn a_late_settlement_leaves_no_completion() {
    for store in stores().await {
        let jobs = store.jobs();
        jobs.submit(tagged("slow", "t")).await.unwrap();
        let late = claim_one(&jobs, "default").await;
        assert_eq!(recovered(&jobs).await, 1);
        let settled = jobs.settle(&[(late, done())]).await.remove(0);
        assert!(matches!(settled, Err(Error::Stale { .. })));
        assert!(read(&jobs, &[("t", "")]).await.is_empty());
        settle(&jobs, done()).await;
        assert_eq!(read(&jobs, &[("t", "")]).await.len(), 1, "{}", store.scheme);
    }
}

#[tokio::test]
async fn a_result_up_to_64_kib_is_carried_and_a_larger_one_is_with_its_job() {
    for store in stores().await {
        let jobs = store.jobs();
        let result = |size: usize| JobOutcome::Succeeded {
            result: Some(Payload::Binary(vec![b'l'; size].into())),
            metrics: None,
        };
        for (seed, size) in [
            ("fits", MAX_COMPLETION_RESULT),
            ("large", MAX_COMPLETION_RESULT + 1),
        ] {
            jobs.submit(tagged(seed, "t")).await.unwrap();
            settle(&jobs, result(size)).await;
        }
        // Its bytes look like those of one that was left out.
        jobs.submit(tagged("odd", "t")).await.unwrap();
        let odd = Payload::Binary(b"x\nl".as_slice().into());
        let outcome = JobOutcome::Succeeded {
            result: Some(odd.clone()),
            metrics: None,
        };
        settle(&jobs, outcome).await;
        let ended = read(&jobs, &[("t", "")]).await;
        assert_eq!(keys(&ended), ["fits", "large", "odd"], "{}", store.scheme);
        let size = |result: &Option<Payload>| result.as_ref().map(|it| it.bytes().len());
        assert_eq!(size(&ended[0].result), Some(MAX_COMPLETION_RESULT));
        assert!(!ended[0].left_out);
        assert_eq!((&ended[1].result, ended[1].left_out), (&None, true));
        let record = jobs.get(&ended[1].id).await.unwrap();
        assert_eq!(size(&record.result), Some(MAX_COMPLETION_RESULT + 1));
        assert_eq!((&ended[2].result, ended[2].left_out), (&Some(odd), false));
    }
}

#[tokio::test]
async fn who_waits_hears_of_a_completion_when_it_comes() {
    for store in stores().await {
        let jobs = store.jobs();
        jobs.submit(tagged("first", "wf7")).await.unwrap();
        settle(&jobs, done()).await;
        let first = read(&jobs, &[("wf7", "")]).await;
        acknowledge(&jobs, &first).await;
        let tags = after(&[("wf1", ""), ("wf7", &first[0].cursor)]);
        jobs.submit(tagged("second", "wf7")).await.unwrap();
        jobs.submit(tagged("unheard", "wf9")).await.unwrap();
        let work = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            settle(&jobs, done()).await;
            tokio::time::Instant::now()
        };
        let wait = async {
            let heard = jobs.completions("default", &tags, 100, SOON).await;
            (heard.unwrap(), tokio::time::Instant::now())
        };
        let ((heard, at), since) = tokio::join!(wait, work);
        assert_eq!(keys(&heard), ["second"], "{}", store.scheme);
        let late = at.saturating_duration_since(since);
        assert!(late < Duration::from_secs(1), "{late:?}");
        // And who waits for nothing waits as long as it said.
        let since = tokio::time::Instant::now();
        let tags = after(&[("wf7", &heard[0].cursor)]);
        let wait = Duration::from_millis(200);
        let heard = jobs.completions("default", &tags, 100, wait).await.unwrap();
        assert!(heard.is_empty());
        let waited = since.elapsed();
        assert!(waited >= wait && waited < SOON, "{waited:?}");
    }
}

#[tokio::test]
async fn completions_are_read_over_partitions_each_once() {
    for store in stores().await {
        let jobs = store.jobs_with(QueueOptions {
            partitions: BTreeMap::from([("default".to_owned(), 3)]),
            ..options()
        });
        let mut seeds = Vec::new();
        for number in 0..20 {
            let seed = format!("job{number:02}");
            jobs.submit(tagged(&seed, "t")).await.unwrap();
            settle(&jobs, done()).await;
            seeds.push(seed);
        }
        let (mut cursor, mut heard) = (String::new(), Vec::new());
        loop {
            let tags = after(&[("t", &cursor)]);
            let page = jobs.completions("default", &tags, 3, SOON / 10).await;
            let page = page.unwrap();
            let Some(last) = page.last() else { break };
            cursor = last.cursor.clone();
            heard.extend(page);
        }
        let mut known = keys(&heard);
        known.sort_unstable();
        assert_eq!(known, seeds, "{}: each once", store.scheme);
        acknowledge(&jobs, &heard[5..]).await;
        assert_eq!(read(&jobs, &[("t", "")]).await.len(), 5);
        acknowledge(&jobs, &heard[..5]).await;
        assert!(read(&jobs, &[("t", "")]).await.is_empty());
    }
}

#[tokio::test]
async fn bad_tags_cursors_and_seeds_are_refused_by_name() {
    for store in stores().await {
        let jobs = store.jobs();
        let refused = |answer: Result<_, Error>, field: &str| {
            let error = answer.err().unwrap().to_string();
            assert!(error.contains(field), "{field}: {error}");
        };
        for tag in ["", "Wf", "a:b", "a b", &"x".repeat(33)] {
            let new = tagged("s", tag);
            refused(jobs.submit(new).await.map(drop), "completion");
            let tags = after(&[(tag, "")]);
            let read = jobs.completions("default", &tags, 1, NOW).await;
            refused(read.map(drop), "completion");
            let entry = [(tag.to_owned(), vec!["0=1-1".to_owned()])];
            refused(jobs.acknowledge("default", &entry).await, "completion");
        }
        for cursor in ["x", "0=", "0=x", "x=1-1", "0=1-1,", "0=*"] {
            let tags = after(&[("t", cursor)]);
            let read = jobs.completions("default", &tags, 1, NOW).await;
            refused(read.map(drop), "cursor");
            let entry = [("t".to_owned(), vec![cursor.to_owned()])];
            refused(jobs.acknowledge("default", &entry).await, "cursor");
        }
        refused(jobs.submit(seeded("")).await.map(drop), "seed");
        refused(
            jobs.submit(seeded(&"x".repeat(257))).await.map(drop),
            "seed",
        );
        let both = NewJob {
            idempotency_key: Some("k".to_owned()),
            ..seeded("s")
        };
        refused(jobs.submit(both).await.map(drop), "seed");
        let long = Duration::from_secs(400 * 86_400);
        let slow = NewJob {
            backoff: Some(Backoff::new(long, long, 0.0)),
            ..call("x")
        };
        refused(jobs.submit(slow).await.map(drop), "backoff");
    }
}

#[tokio::test]
async fn a_job_with_a_back_off_of_its_own_waits_by_it() {
    for store in stores().await {
        let jobs = store.jobs();
        let pause = Duration::from_secs(40);
        let slow = NewJob {
            backoff: Some(Backoff::new(pause, pause * 3, 0.0)),
            ..call("slow")
        };
        let slow = jobs.submit(slow).await.unwrap().id;
        let usual = jobs.submit(call("usual")).await.unwrap().id;
        let mut waits = BTreeMap::new();
        for _ in 0..2 {
            let id = settle(&jobs, failed(true)).await;
            let record = jobs.get(&id).await.unwrap();
            let started = record.header.started_at.unwrap();
            waits.insert(id, record.due_at.unwrap().saturating_sub(started));
        }
        let (slow_wait, usual_wait) = (waits[&slow], waits[&usual]);
        assert!(
            (40_000..45_000).contains(&slow_wait),
            "{}: {waits:?}",
            store.scheme
        );
        assert!(usual_wait < 5_000, "{}: {waits:?}", store.scheme);
        let header = jobs.get(&slow).await.unwrap().header;
        assert_eq!(
            header.backoff.map(Backoff::from),
            Some(Backoff::new(pause, pause * 3, 0.0))
        );
    }
}

#[tokio::test]
async fn many_jobs_are_looked_up_and_cancelled_at_once() {
    for store in stores().await {
        let jobs = store.jobs();
        let batch: Vec<NewJob> = (0..600)
            .map(|number| tagged(&number.to_string(), "t"))
            .collect();
        let submitted = jobs.submit_all(batch).await.unwrap();
        let mut ids: Vec<JobId> = submitted.into_iter().map(|it| it.unwrap().id).collect();
        settle(&jobs, done()).await;
        let running = claim_one(&jobs, "default").await;
        let later = NewJob {
            delay: Duration::from_secs(60),
            ..tagged("later", "t")
        };
        let later = jobs.submit(later).await.unwrap().id;
        let unknown = jobs.chosen_id("default", "unknown").unwrap();
        ids.push(unknown.clone());
        ids.push(later.clone());
        let found = jobs.find_many(&ids).await.unwrap();
        assert_eq!(found.len(), ids.len());
        for (id, record) in ids.iter().zip(&found) {
            assert_eq!(record.is_none(), *id == unknown, "{}", store.scheme);
            assert!(record.as_ref().is_none_or(|record| record.id == *id));
        }
        let status = |id: &JobId| {
            let at = ids.iter().position(|known| known == id).unwrap();
            found[at].as_ref().map(|record| record.status)
        };
        assert_eq!(status(&running.job.id), Some(JobStatus::Running));
        assert_eq!(status(&later), Some(JobStatus::Scheduled));

        // One of them twice.
        ids.push(later);
        let mut count = BTreeMap::new();
        for status in jobs.cancel_many(&ids).await.unwrap() {
            let word = status.map_or("unknown", JobStatus::as_str);
            *count.entry(word).or_insert(0) += 1;
        }
        let expected = [
            ("cancelled", 600),
            ("running", 1),
            ("succeeded", 1),
            ("unknown", 1),
        ];
        assert_eq!(count, BTreeMap::from(expected), "{}", store.scheme);
        let told = jobs.cancel_requests("default").await.unwrap();
        assert_eq!(told, std::slice::from_ref(&running.job.id));
        let ended = JobOutcome::Cancelled;
        jobs.settle(&[(running, ended)]).await.remove(0).unwrap();
        assert_eq!(counts(&jobs).await, [0, 0, 0, 0, 0, 1, 600]);
        // All of them said so.
        let (mut cursor, mut heard) = (String::new(), 0);
        loop {
            let tags = after(&[("t", &cursor)]);
            let page = jobs.completions("default", &tags, 256, NOW).await.unwrap();
            let Some(last) = page.last() else { break };
            cursor = last.cursor.clone();
            heard += page.len();
        }
        assert_eq!(heard, 601, "{}", store.scheme);
    }
}
