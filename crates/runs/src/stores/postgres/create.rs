//! New runs: those that come at a time share a transaction.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Row;

use super::{
    call::{Call, Trouble, column, int, number, text},
    commit::AGAIN,
    listener, notify,
    pool::{Lent, Pool},
};
use crate::{
    Changes, CreateOutcome, Error, NewRun, clock, content,
    hub::Hub,
    shard_of,
    stores::admission::{full, other_request},
};

/// How many share a transaction.
const BATCH: usize = 256;

/// A run that somebody wants to create.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) run: NewRun,
    pub(super) max_queued: u64,
    pub(super) asker: oneshot::Sender<Result<CreateOutcome, Error>>,
}

/// Creates what comes, for as long as the store is open.
pub(super) async fn serve(
    pool: Arc<Pool>,
    hub: Arc<Hub>,
    own: u64,
    mut requests: mpsc::Receiver<Request>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while requests.recv_many(&mut batch, BATCH).await > 0 {
        let runs: Vec<_> = batch
            .iter()
            .map(|request| (&request.run, request.max_queued))
            .collect();
        let outcomes = create(&pool, own, &runs).await;
        let outcomes = match outcomes {
            Ok((outcomes, changes)) => {
                hub.publish(changes);
                outcomes
            }
            Err(error) => runs.iter().map(|_| Err(error.clone())).collect(),
        };
        for (request, outcome) in batch.drain(..).zip(outcomes) {
            // Nobody may be waiting any more.
            request.asker.send(outcome).ok();
        }
    }
}

type Outcomes = Vec<Result<CreateOutcome, Error>>;

async fn create(
    pool: &Arc<Pool>,
    own: u64,
    runs: &[(&NewRun, u64)],
) -> Result<(Outcomes, Changes), Error> {
    let mut tried = 0;
    loop {
        tried += 1;
        match try_create(pool, own, runs).await {
            Err(Trouble::Again(_)) if tried < AGAIN => {}
            outcomes => return Ok(outcomes?),
        }
    }
}

async fn try_create(
    pool: &Arc<Pool>,
    own: u64,
    runs: &[(&NewRun, u64)],
) -> Result<(Outcomes, Changes), Trouble> {
    let mut session = pool.session().await?;
    let most = runs.iter().map(|(_, max)| *max).max().unwrap_or(0);
    let keyed: BTreeMap<(&str, &str), (&str, &str)> = runs
        .iter()
        .filter_map(|(run, _)| {
            let (key, fingerprint) = run.idempotency.as_ref()?;
            Some(((&*run.owner, &**key), (&**fingerprint, &*run.run_id)))
        })
        .rev()
        .collect();
    let mut outcomes: Vec<Option<Result<CreateOutcome, Error>>> = vec![None; runs.len()];
    let mut opened = false;
    if most > 0 || !keyed.is_empty() {
        opened = true;
        let known = claim_keys(&mut session, &keyed).await?;
        for ((run, _), outcome) in runs.iter().zip(&mut outcomes) {
            *outcome = known_key(run, &known);
        }
        let sql =
            "SELECT count(*) FROM (SELECT 1 FROM run WHERE status = 'QUEUED' LIMIT $1) AS queued";
        let queued = session.first(Call::new(sql).with(int(most.max(1)))).await?;
        let mut queued = queued.map_or(Ok(0), |row| number(&row, 0))?;
        for ((_, max), outcome) in runs.iter().zip(&mut outcomes) {
            if outcome.is_none() && *max > 0 && queued >= *max {
                *outcome = Some(Err(full(*max)));
            }
            queued += u64::from(outcome.is_none());
        }
    }
    let wanted: Vec<&NewRun> = runs
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.is_none())
        .map(|((run, _), _)| *run)
        .collect();
    let refused: Vec<&str> = runs
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| matches!(outcome, Some(Err(Error::Full { .. }))))
        .map(|((run, _), _)| run.run_id.as_str())
        .collect();
    let mut changes = Changes::default();
    let mut calls = Vec::new();
    let mut first = 0;
    insert(&mut calls, &wanted, clock::now(), &mut changes);
    let at_once = !opened && calls.iter().skip(1).all(|call| call.beside);
    if at_once {
        let rows = session.run(&[joined(calls, changes, own)]).await?;
        return Ok((outcomes_of(runs, outcomes, rows.first())?, changes));
    }
    if !opened {
        calls.insert(0, Call::plain("BEGIN"));
        first = 1;
    }
    if !refused.is_empty() {
        let sql = "DELETE FROM idempotency WHERE run_id = ANY($1)";
        calls.push(Call::new(sql).with(refused));
    }
    calls.extend(notify(changes, own));
    calls.push(Call::plain("COMMIT"));
    let rows = session.run(&calls).await?;
    let rows = rows.get(first).filter(|_| !wanted.is_empty());
    Ok((outcomes_of(runs, outcomes, rows)?, changes))
}

/// The statements of new runs as one, which also tells others.
fn joined(mut calls: Vec<Call<'_>>, changes: Changes, own: u64) -> Call<'_> {
    let end = Call::new("SELECT run_id, (SELECT pg_notify($1, $2)) FROM created");
    let end = end
        .with(listener::CHANNEL)
        .with(listener::text(changes, own));
    let created = calls.remove(0).named("created");
    created.joined(calls, end)
}

/// What became of each: what is not known yet was created, if its id is in these rows.
fn outcomes_of(
    runs: &[(&NewRun, u64)],
    known: Vec<Option<Result<CreateOutcome, Error>>>,
    rows: Option<&Vec<Row>>,
) -> Result<Outcomes, Error> {
    let mut created = BTreeSet::new();
    for row in rows.into_iter().flatten() {
        created.insert(column::<String>(row, 0)?);
    }
    let outcomes = runs.iter().zip(known).map(|((run, _), outcome)| {
        outcome.unwrap_or_else(|| {
            Ok(match created.remove(&run.run_id) {
                true => CreateOutcome::Created,
                false => CreateOutcome::Existing(run.run_id.clone()),
            })
        })
    });
    Ok(outcomes.collect())
}

/// What is known of keys: the fingerprint and the run.
type Known = HashMap<(String, String), (String, String)>;

/// Begins a transaction, takes the keys that are free, and says what all of them stand for.
async fn claim_keys(
    session: &mut Lent,
    keyed: &BTreeMap<(&str, &str), (&str, &str)>,
) -> Result<Known, Trouble> {
    if keyed.is_empty() {
        session.run(&[Call::plain("BEGIN")]).await?;
        return Ok(Known::new());
    }
    let (owners, keys): (Vec<_>, Vec<_>) = keyed
        .keys()
        .map(|(owner, key)| (text(owner), text(key)))
        .unzip();
    let (fingerprints, ids): (Vec<_>, Vec<_>) = keyed
        .values()
        .map(|(fingerprint, id)| (text(fingerprint), *id))
        .unzip();
    let claim = "INSERT INTO idempotency (owner, key, fingerprint, run_id)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING";
    let claim = Call::new(claim)
        .with(owners.clone())
        .with(keys.clone())
        .with(fingerprints)
        .with(ids);
    let read = "SELECT i.owner, i.key, i.fingerprint, i.run_id
        FROM unnest($1::text[], $2::text[]) AS w(owner, key) JOIN idempotency i USING (owner, key)";
    let read = Call::new(read).with(owners).with(keys);
    let rows = session.run(&[Call::plain("BEGIN"), claim, read]).await?;
    let mut known = Known::new();
    for row in rows.get(2).into_iter().flatten() {
        known.insert(
            (column(row, 0)?, column(row, 1)?),
            (column(row, 2)?, column(row, 3)?),
        );
    }
    Ok(known)
}

/// The outcome of a run whose key stands for another one.
fn known_key(run: &NewRun, known: &Known) -> Option<Result<CreateOutcome, Error>> {
    let (key, fingerprint) = run.idempotency.as_ref()?;
    let place = (text(&run.owner).into_owned(), text(key).into_owned());
    let (before, run_id) = known.get(&place)?;
    if *before != text(fingerprint) {
        return Some(Err(other_request(key)));
    }
    (*run_id != run.run_id).then(|| Ok(CreateOutcome::Existing(run_id.clone())))
}

/// Adds the statements that store runs that are not known; the first gives the ids of those.
pub(super) fn insert<'a>(
    calls: &mut Vec<Call<'a>>,
    runs: &[&'a NewRun],
    now: u64,
    changes: &mut Changes,
) {
    if runs.is_empty() {
        return;
    }
    calls.push(insert_runs(runs, now));
    let mut labels: [Vec<_>; 3] = Default::default();
    let mut records = Records::default();
    for run in runs {
        changes.in_queue(shard_of(&run.run_id));
        for (key, value) in &run.labels {
            for (column, value) in labels.iter_mut().zip([&run.run_id, key, value]) {
                column.push(text(value));
            }
        }
        records.name(&run.run_id, run.workflow.clone());
        records.names(&run.run_id, &run.start);
        if let Some((header, nodes)) = &run.forked {
            records.put(&run.run_id, "", header, Some("[]".to_owned()));
            for (key, record) in nodes {
                records.put(&run.run_id, key, record, None);
            }
        }
    }
    let [ids, keys, values] = labels;
    if !ids.is_empty() {
        let sql = "INSERT INTO run_label (key, value, submitted_at, run_id)
            SELECT l.key, l.value, r.submitted_at, l.run_id
            FROM unnest($1::text[], $2::text[], $3::text[]) AS l(run_id, key, value)
            JOIN run r ON r.run_id = l.run_id ON CONFLICT DO NOTHING";
        calls.push(Call::new(sql).with(ids).with(keys).with(values));
    }
    records.new_ones(calls);
}

fn insert_runs<'a>(runs: &[&'a NewRun], now: u64) -> Call<'a> {
    let shards: Vec<i16> = runs
        .iter()
        .map(|run| shard_of(&run.run_id).cast_signed())
        .collect();
    let texts = |of: fn(&NewRun) -> &str| runs.iter().map(|run| text(of(run))).collect::<Vec<_>>();
    let maybe = |of: fn(&NewRun) -> Option<&str>| {
        runs.iter().map(|run| of(run).map(text)).collect::<Vec<_>>()
    };
    let snapshots: Vec<String> = runs
        .iter()
        .map(|run| run.tags_snapshot.to_string())
        .collect();
    let labels = runs
        .iter()
        .map(|run| serde_json::to_string(&run.labels).unwrap_or_default());
    let starts: Vec<&[u8]> = runs.iter().map(|run| &*run.start).collect();
    let ranks: Vec<i16> = runs.iter().map(|run| rank(run.priority)).collect();
    let keep: Vec<i64> = runs.iter().map(|run| int(run.keep_ms)).collect();
    let last: Vec<i64> = runs.iter().map(|run| i64::from(run.keep_last)).collect();
    let sql = "
        INSERT INTO run (run_id, shard, owner, submitted_by, tag, base_kind, base_ref, tags_snapshot, labels,
            workflow, start, rank, parent_run, parent_key, keep_ms, keep_last, status, submitted_at, idle)
        SELECT n.*, 'QUEUED', $17, false
        FROM unnest($1::text[], $2::int2[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::text[], $10::text[], $11::bytea[], $12::int2[], $13::text[], $14::text[],
            $15::int8[], $16::int8[]) AS n
        ON CONFLICT DO NOTHING RETURNING run_id";
    Call::new(sql)
        .with(texts(|run| &run.run_id))
        .with(shards)
        .with(texts(|run| &run.owner))
        .with(texts(|run| &run.submitted_by))
        .with(maybe(|run| run.tag.as_deref()))
        .with(texts(|run| &run.base.0))
        .with(texts(|run| &run.base.1))
        .with(snapshots)
        .with(labels.collect::<Vec<_>>())
        .with(texts(|run| &run.workflow))
        .with(starts)
        .with(ranks)
        .with(maybe(|run| Some(&*run.parent.as_ref()?.0)))
        .with(maybe(|run| Some(&*run.parent.as_ref()?.1)))
        .with(keep)
        .with(last)
        .with(int(now))
}

/// The place of a priority: 5 is taken first.
pub(super) fn rank(priority: u8) -> i16 {
    i16::from(5_u8.saturating_sub(priority))
}

/// A record, and of a header the active nodes.
type Record<'a> = (&'a [u8], Option<String>);

/// Node records to be written, and the content that they name.
#[derive(Debug, Default)]
pub(super) struct Records<'a> {
    /// By run and key.
    records: BTreeMap<(&'a str, &'a str), Record<'a>>,
    named: BTreeSet<(&'a str, String)>,
}

impl<'a> Records<'a> {
    /// A record; the header has the empty key.
    pub(super) fn put(
        &mut self,
        run: &'a str,
        key: &'a str,
        record: &'a [u8],
        active: Option<String>,
    ) {
        self.names(run, record);
        self.records.insert((run, key), (record, active));
    }

    /// The content that a record names.
    pub(super) fn names(&mut self, run: &'a str, record: &[u8]) {
        for id in content::named(record) {
            self.name(run, id);
        }
    }

    /// Content that a run names.
    pub(super) fn name(&mut self, run: &'a str, id: String) {
        self.named.insert((run, id));
    }

    /// Adds the statements.
    pub(super) fn calls(self, calls: &mut Vec<Call<'a>>) {
        let sql = "INSERT INTO node (run_id, key, record, active)
            SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[])
            ON CONFLICT (run_id, key) DO UPDATE SET record = excluded.record, active = excluded.active";
        self.write(calls, sql);
    }

    /// Adds the statements for runs that are new: those that were there stay as they are.
    fn new_ones(self, calls: &mut Vec<Call<'a>>) {
        let sql = "INSERT INTO node (run_id, key, record, active)
            SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) ON CONFLICT DO NOTHING";
        self.write(calls, sql);
    }

    fn write(self, calls: &mut Vec<Call<'a>>, sql: &'static str) {
        if !self.records.is_empty() {
            let (keys, records): (Vec<_>, Vec<_>) = self.records.into_iter().unzip();
            let (runs, keys): (Vec<&str>, Vec<&str>) = keys.into_iter().unzip();
            let (records, active): (Vec<&[u8]>, Vec<Option<String>>) = records.into_iter().unzip();
            let call = Call::new(sql).with(runs).with(keys);
            calls.push(call.with(records).with(active).beside());
        }
        if !self.named.is_empty() {
            let (runs, ids): (Vec<&str>, Vec<String>) = self.named.into_iter().unzip();
            let sql =
                "INSERT INTO blob_use (run_id, blob) SELECT * FROM unnest($1::text[], $2::text[])
                ON CONFLICT DO NOTHING";
            calls.push(Call::new(sql).with(runs).with(ids).beside());
        }
    }
}
