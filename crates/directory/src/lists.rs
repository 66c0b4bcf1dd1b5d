//! `ListAgents`, `ListTools`, `ListWorkers`: one entry per service that can be called.
//!
//! Nothing about a service is written here: an instance tells it, and a service whose instances do
//! not is listed with what the registry knows.

mod info;

use futures_util::future::join_all;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::{Directory, DirectorySnapshot, QUERY_TIMEOUT, Service};

pub use info::Info;

/// The entries of a kind that pass a filter, ordered by Consul name.
pub async fn list<I: Info>(
    directory: &Directory,
    snapshot: &DirectorySnapshot,
    filter: &str,
) -> Vec<I> {
    let entries = snapshot
        .services()
        .filter(|service| service.kind == I::KIND)
        .map(|service| entry::<I>(directory, service));
    let entries = join_all(entries).await;
    entries
        .into_iter()
        .flatten()
        .filter(|(tags, _)| passes(tags, filter))
        .map(|(_, i)| i)
        .collect()
}

/// A service's entry, and the words a filter may be; `None` when nobody is healthy.
async fn entry<I: Info>(directory: &Directory, service: &Service) -> Option<(Vec<String>, I)> {
    let instance = service.representative()?;
    let told = own_entry::<I>(directory, service).await;
    let mut entry = told.ok().flatten().unwrap_or_default();
    let fields = entry.fields();
    fields.id.clone_from(&service.public_id);
    *fields.endpoint = instance.authority();
    if !service.version.is_empty() {
        fields.version.clone_from(&service.version);
    }
    let meta = |key: &str| instance.meta.get(key).cloned().unwrap_or_default();
    if fields.name.is_empty() {
        *fields.name = Some(meta("name"))
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| service.public_id.clone());
    }
    if fields.description.is_empty() {
        *fields.description = meta("description");
    }
    let mut words = service.tags.clone();
    words.extend([service.public_id.clone(), service.name.to_string()]);
    if let Some(tags) = fields.tags {
        if tags.is_empty() {
            tags.clone_from(&service.tags);
        }
        words.extend_from_slice(tags);
    }
    Some((words, entry))
}

/// What a service lists of itself, asked of one healthy instance per generation and remembered; `None` when it has
/// nothing to tell.
///
/// # Errors
/// The status of the last instance that was asked.
pub async fn own_entry<I: Info>(
    directory: &Directory,
    service: &Service,
) -> Result<Option<I>, Status> {
    let query_candidates = directory.query_candidates(service);
    let most = QUERY_TIMEOUT * u32::try_from(query_candidates.len()).unwrap_or(1);
    let question = async {
        let mut outcome = Err(Status::unavailable("nobody is healthy"));
        for channel in query_candidates {
            let silent = |_| Status::deadline_exceeded("it is silent");
            let answer = timeout(QUERY_TIMEOUT, I::query(channel)).await;
            outcome = match answer.map_err(silent).flatten() {
                Ok(entries) => Ok(own(entries, service)),
                // It has nothing to tell, and will not have.
                Err(status) if status.code() == Code::Unimplemented => Ok(None),
                Err(status) => Err(status),
            };
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    };
    I::self_reported(service).get(most, question).await
}

/// Which entry of an instance's answer is its own: that of its id, else the first.
fn own<I: Info>(mut entries: Vec<I>, service: &Service) -> Option<I> {
    let is_own = |entry: &mut I| {
        let id = entry.fields().id;
        *id == service.public_id || **id == *service.name
    };
    let own = entries.iter_mut().position(is_own).unwrap_or(0);
    (own < entries.len()).then(|| entries.swap_remove(own))
}

/// A filter is an exact tag or id, whatever its case; an empty one is all.
fn passes(words: &[String], filter: &str) -> bool {
    let filter = filter.to_lowercase();
    filter.is_empty() || words.iter().any(|word| word.to_lowercase() == filter)
}
