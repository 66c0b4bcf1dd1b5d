//! What is kept of a run, and how it comes back.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;

use super::{
    Refusal, Run, RunRecords,
    key::RecordKey,
    state::{Decision, Head, ItemState, ItemStatus, Items, Left, Patch, Signal, State, Undo, Wait},
};
use crate::{
    NodeStatus, Output, Start, patch,
    workflow::{Limits, Workflow},
};

/// The header: what holds for the run as a whole, and its edges, a letter each.
#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(flatten)]
    head: Head,
    edges: String,
}

/// A value that is kept: `{"value": …}`, or `{"blob": "sha256:…"}`.
enum Kept {
    Blob(String),
    Inline(Arc<Value>),
}

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Blob(id) => map.serialize_entry("blob", id)?,
            Self::Inline(value) => map.serialize_entry("value", &**value)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(default)]
            blob: Option<String>,
            #[serde(default)]
            value: Value,
        }
        let raw = Raw::deserialize(deserializer)?;
        Ok(match raw.blob {
            Some(id) => Self::Blob(id),
            None => Self::Inline(Arc::new(raw.value)),
        })
    }
}

impl Kept {
    fn of(output: &Output) -> Self {
        match &output.blob {
            Some(id) => Self::Blob(id.clone()),
            None => Self::Inline(Arc::clone(&output.value)),
        }
    }

    fn output(self, blob: &mut dyn FnMut(&str) -> Option<Value>) -> Result<Output, String> {
        match self {
            Self::Inline(value) => Ok(Output { value, blob: None }),
            Self::Blob(id) => {
                let value = blob(&id).ok_or_else(|| format!("the blob {id} is missing"))?;
                Ok(Output {
                    value: Arc::new(value),
                    blob: Some(id),
                })
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct NodeRecord {
    status: NodeStatus,
    #[serde(default, skip_serializing_if = "is_zero")]
    attempt: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    uncounted: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<Kept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<Kept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metrics: Option<Value>,
    #[serde(default, skip_serializing_if = "is_default")]
    failure: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    handled: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    wait: Wait,
    #[serde(default, skip_serializing_if = "is_zero")]
    rounds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<Left>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    items: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    item_base: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    undo: Undo,
    #[serde(default, skip_serializing_if = "is_zero")]
    undo_attempt: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    ended: u32,
}

#[derive(Serialize, Deserialize)]
struct ItemRecord {
    status: ItemStatus,
    attempt: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    uncounted: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<Kept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The items of a node in an iteration.
type ItemRecords = HashMap<(Arc<str>, u32), Vec<(u32, ItemRecord)>>;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    // Nothing in it has keys that are no texts.
    serde_json::to_vec(value).unwrap_or_default()
}

impl Run {
    pub(super) fn header_bytes(&self) -> Vec<u8> {
        let edges = self.edges.iter().map(|decision| match decision {
            Decision::Open => 'o',
            Decision::Taken => 't',
            Decision::Skipped => 's',
            Decision::Failed => 'f',
        });
        bytes(&Header {
            head: self.head.clone(),
            edges: edges.collect(),
        })
    }

    pub(super) fn record(&self, key: &RecordKey) -> Option<Vec<u8>> {
        Some(match key {
            RecordKey::Start => bytes(&*self.start),
            RecordKey::Node(id, iteration) => bytes(&node_record(self.state_of(id, *iteration)?)),
            RecordKey::Item(id, iteration, item) => {
                let items = self.state_of(id, *iteration)?.items.as_ref()?;
                let item = items.states.get(usize::try_from(*item).ok()?)?;
                bytes(&ItemRecord {
                    status: item.status,
                    attempt: item.attempt,
                    uncounted: item.uncounted,
                    output: item.output.as_ref().map(Kept::of),
                    error: item.error.clone(),
                })
            }
            RecordKey::Patch(seq) => bytes(self.patch_of(*seq)?),
            RecordKey::Signal(number) => bytes(self.signals.get(usize::try_from(*number).ok()?)?),
        })
    }

    /// The keys of all records.
    pub(super) fn all_records(&self) -> Vec<RecordKey> {
        let mut keys = vec![RecordKey::Start];
        let current = self.workflow.nodes.iter().zip(&self.nodes);
        let current = current
            .filter(|(_, state)| state.has_started())
            .map(|(node, state)| (&node.id, state));
        let past = self.past.iter().map(|((id, _), state)| (id, state));
        for (id, state) in current.chain(past) {
            keys.push(RecordKey::Node(Arc::clone(id), state.iteration));
            let items = state.items.iter().flat_map(|items| &items.states);
            for (item, known) in items.enumerate() {
                if *known != ItemState::default() {
                    let number = u32::try_from(item).unwrap_or(u32::MAX);
                    keys.push(RecordKey::Item(Arc::clone(id), state.iteration, number));
                }
            }
        }
        keys.extend(self.patches.iter().map(|patch| RecordKey::Patch(patch.seq)));
        let signals = 0..u32::try_from(self.signals.len()).unwrap_or(u32::MAX);
        keys.extend(signals.map(RecordKey::Signal));
        keys
    }

    pub(super) fn load_records(
        base: Arc<Workflow>,
        records: &RunRecords,
        blob: &mut dyn FnMut(&str) -> Option<Value>,
    ) -> Result<Self, String> {
        let Header { head, edges } = read(&records.header)?;
        let mut start: Option<Start> = None;
        let mut patches: Vec<Patch> = Vec::new();
        let mut signals: Vec<(u32, Signal)> = Vec::new();
        let mut nodes: Vec<(Arc<str>, u32, NodeRecord)> = Vec::new();
        let mut items: ItemRecords = HashMap::new();
        for (key, content) in &records.nodes {
            let known = RecordKey::read(key).ok_or_else(|| format!("unknown record {key}"))?;
            match known {
                RecordKey::Start => start = Some(read(content)?),
                RecordKey::Patch(_) => patches.push(read(content)?),
                RecordKey::Signal(number) => signals.push((number, read(content)?)),
                RecordKey::Node(id, iteration) => nodes.push((id, iteration, read(content)?)),
                RecordKey::Item(id, iteration, item) => {
                    let of = items.entry((id, iteration)).or_default();
                    of.push((item, read(content)?));
                }
            }
        }
        patches.sort_by_key(|patch| patch.seq);
        signals.sort_by_key(|(number, _)| *number);
        let workflow = patched(base, &patches)?;
        let start = start.ok_or("the record of its start is missing")?;
        let mut run = Self::new(workflow, start);
        run.head = head;
        run.patches = patches;
        run.signals = signals.into_iter().map(|(_, signal)| signal).collect();
        let decisions = edges.chars().map(|letter| match letter {
            't' => Decision::Taken,
            's' => Decision::Skipped,
            'f' => Decision::Failed,
            _ => Decision::Open,
        });
        let decisions: Vec<Decision> = decisions.collect();
        if decisions.len() != run.edges.len() {
            return Err("its edges are not those of its workflow".to_owned());
        }
        run.edges = decisions;
        nodes.sort_by(|(a, i, _), (b, j, _)| (a, i).cmp(&(b, j)));
        for (id, iteration, record) in nodes {
            let items = items.remove(&(Arc::clone(&id), iteration));
            run.put(&id, iteration, record, items.unwrap_or_default(), blob)?;
        }
        Ok(run)
    }

    /// Puts the state of a node in its place; iterations come in their order.
    fn put(
        &mut self,
        id: &Arc<str>,
        iteration: u32,
        record: NodeRecord,
        items: Vec<(u32, ItemRecord)>,
        blob: &mut dyn FnMut(&str) -> Option<Value>,
    ) -> Result<(), String> {
        let Some(at) = self.workflow.find(id) else {
            // A patch removed it before it was started.
            return Ok(());
        };
        let input = record.input.map(|kept| kept.output(blob)).transpose()?;
        let output = record.output.map(|kept| kept.output(blob)).transpose()?;
        let known_items = match (record.items, &input) {
            (true, Some(input)) => {
                let mut known = Items::new(Arc::clone(&input.value));
                for (item, record) in items {
                    let place = usize::try_from(item).unwrap_or(usize::MAX);
                    let state = known.states.get_mut(place).ok_or("an item too many")?;
                    *state = ItemState {
                        status: record.status,
                        attempt: record.attempt,
                        uncounted: record.uncounted,
                        output: record.output.map(|kept| kept.output(blob)).transpose()?,
                        error: record.error,
                    };
                }
                known.count();
                Some(known)
            }
            _ => None,
        };
        let before = iteration
            .checked_sub(1)
            .and_then(|before| self.state_of(id, before));
        let last = before.and_then(|before| before.output.clone().or_else(|| before.last.clone()));
        let state = State {
            status: record.status,
            iteration,
            attempt: record.attempt,
            uncounted: record.uncounted,
            started_at: record.started_at,
            completed_at: record.completed_at,
            input,
            output,
            error: record.error,
            metrics: record.metrics,
            failure: record.failure,
            handled: record.handled,
            wait: record.wait,
            rounds: record.rounds,
            left: record.left,
            deadline: record.deadline,
            items: known_items,
            item_base: record.item_base,
            undo: record.undo,
            undo_attempt: record.undo_attempt,
            ended: record.ended,
            last,
        };
        let old = std::mem::replace(&mut self.nodes[at], state);
        if old.has_started() && old.iteration < iteration {
            self.past.insert((Arc::clone(id), old.iteration), old);
        }
        Ok(())
    }
}

fn read<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// The graph with the patches that were applied, in the order in which they were.
fn patched(base: Arc<Workflow>, patches: &[Patch]) -> Result<Arc<Workflow>, String> {
    let mut applied: Vec<&Patch> = patches
        .iter()
        .filter(|patch| patch.applied.is_some())
        .collect();
    if applied.is_empty() {
        return Ok(base);
    }
    applied.sort_by_key(|patch| patch.applied);
    let mut document = base.document().clone();
    for patch in applied {
        document = patch::apply(&document, &patch.operations, usize::MAX)
            .map_err(|mistake| format!("patch {}: {}", patch.seq, mistake.message))?;
    }
    let limits = Limits {
        max_nodes: usize::MAX,
        ..Limits::default()
    };
    let workflow = Workflow::parse(&document, &limits).map_err(|invalid| invalid.to_string())?;
    Ok(Arc::new(workflow))
}

fn node_record(state: &State) -> NodeRecord {
    NodeRecord {
        status: state.status,
        attempt: state.attempt,
        uncounted: state.uncounted,
        started_at: state.started_at,
        completed_at: state.completed_at,
        input: state.input.as_ref().map(Kept::of),
        output: state.output.as_ref().map(Kept::of),
        error: state.error.clone(),
        metrics: state.metrics.clone(),
        failure: state.failure,
        handled: state.handled,
        wait: state.wait,
        rounds: state.rounds,
        left: state.left,
        deadline: state.deadline,
        items: state.items.is_some(),
        item_base: state.item_base,
        undo: state.undo,
        undo_attempt: state.undo_attempt,
        ended: state.ended,
    }
}

/// The blobs that records name.
pub(super) fn blobs(records: &RunRecords) -> Vec<String> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        input: Option<Kept>,
        #[serde(default)]
        output: Option<Kept>,
    }
    let mut blobs = Vec::new();
    for (key, content) in &records.nodes {
        // Most records name none, and need not be read.
        if !key.starts_with(['n', 'i']) || !has(content, b"\"sha256:") {
            continue;
        }
        let Ok(named) = serde_json::from_slice::<Named>(content) else {
            continue;
        };
        for kept in [named.input, named.output].into_iter().flatten() {
            if let Kept::Blob(id) = kept
                && !blobs.contains(&id)
            {
                blobs.push(id);
            }
        }
    }
    blobs
}

fn has(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

/// A refusal to load.
pub(super) fn damaged(message: &str) -> Refusal {
    Refusal::Invalid {
        path: String::new(),
        message: format!("the run cannot be read: {message}"),
    }
}
