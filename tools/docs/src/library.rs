//! The documents in a directory, read again when they change.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc, time::SystemTime};

use agentkit::sources::Passage;
use tokio::{sync::Mutex, task::spawn_blocking, time::Instant};

use crate::{DocsKeys, index::Index, split::split};

/// Endings of documents; the first two are Markdown.
const ENDINGS: [&str; 4] = ["md", "markdown", "txt", "rst"];
/// Deepest directory that is read.
const MAX_DEPTH: usize = 16;

/// Why a document or the directory cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("documents in {root}: {error}; docs_dir (DOCS_DIR) names the directory")]
    Directory { root: String, error: io::Error },
    #[error("no document {0:?}: give a file as search_local_docs names it")]
    Unknown(String),
    #[error("{file} has {lines} lines")]
    Short { file: String, lines: usize },
    #[error("cancelled")]
    Cancelled,
}

/// A directory of documents.
#[derive(Debug)]
pub(crate) struct Library {
    keys: DocsKeys,
    state: Mutex<Option<(Instant, Arc<LibrarySnapshot>)>>,
}

/// The documents at one time, and their index.
#[derive(Debug, Default)]
pub(crate) struct LibrarySnapshot {
    documents: BTreeMap<String, Arc<Document>>,
    /// How many files are over a limit or no text.
    skipped: usize,
    pub(crate) index: Index,
}

#[derive(Debug)]
struct Document {
    changed: Option<SystemTime>,
    bytes: u64,
    text: String,
    passages: Vec<Passage>,
}

impl Library {
    pub(crate) fn new(keys: DocsKeys) -> Self {
        let state = Mutex::default();
        Self { keys, state }
    }

    /// The latest snapshot, at most `docs_refresh` old.
    pub(crate) async fn snapshot(&self) -> Result<Arc<LibrarySnapshot>, Error> {
        // Held during the scan: other callers wait for the same snapshot.
        let mut state = self.state.lock().await;
        let known = match &*state {
            Some((seen, snapshot)) if seen.elapsed() < self.keys.docs_refresh => {
                return Ok(snapshot.clone());
            }
            Some((_, snapshot)) => snapshot.clone(),
            None => Arc::default(),
        };
        let keys = self.keys.clone();
        let scan = spawn_blocking(move || scan(&keys, &known));
        let snapshot = scan.await.map_err(|_| Error::Cancelled)??;
        *state = Some((Instant::now(), snapshot.clone()));
        Ok(snapshot)
    }
}

impl LibrarySnapshot {
    pub(crate) fn files(&self) -> usize {
        self.documents.len()
    }

    /// Lines of a document, from 1, both included; fewer where it ends before `end`.
    pub(crate) fn lines(&self, file: &str, line: usize, end: usize) -> Result<String, Error> {
        // Only the snapshot is read: no path leads to another file.
        let known = self.documents.get(file);
        let document = known.ok_or_else(|| Error::Unknown(agentkit::text::shorten(file)))?;
        let lines: Vec<_> = document.text.lines().collect();
        match lines.get(line.saturating_sub(1)..end.min(lines.len())) {
            Some(found) if !found.is_empty() => Ok(found.join("\n")),
            _ => Err(Error::Short {
                file: file.to_owned(),
                lines: lines.len(),
            }),
        }
    }
}

/// Checks every file, and reads those that changed. Without changes the snapshot stays the same.
fn scan(keys: &DocsKeys, known: &Arc<LibrarySnapshot>) -> Result<Arc<LibrarySnapshot>, Error> {
    let root = &keys.docs_dir;
    let mut found = Vec::new();
    walk(root, "", 0, keys.docs_max_files, &mut found).map_err(|error| Error::Directory {
        root: root.display().to_string(),
        error,
    })?;
    found.sort();
    let mut snapshot = LibrarySnapshot::default();
    let (mut bytes, mut news) = (0, false);
    for name in found {
        let Ok(meta) = fs::symlink_metadata(root.join(&name)) else {
            continue;
        };
        let fits = usize::try_from(meta.len()).is_ok_and(|size| {
            bytes += size;
            size <= keys.docs_max_file_bytes && bytes <= keys.docs_max_bytes
        });
        if snapshot.documents.len() >= keys.docs_max_files || !fits {
            snapshot.skipped += 1;
            continue;
        }
        let changed = meta.modified().ok();
        let same = known.documents.get(&name).filter(|document| {
            changed.is_some() && document.changed == changed && document.bytes == meta.len()
        });
        let document = match same {
            Some(same) => Arc::clone(same),
            None => {
                let Ok(text) = fs::read_to_string(root.join(&name)) else {
                    snapshot.skipped += 1;
                    continue;
                };
                news = true;
                let ending = ending(&name).unwrap_or_default();
                let markdown = ENDINGS[..2].contains(&ending);
                Arc::new(Document {
                    changed,
                    bytes: meta.len(),
                    passages: split(&name, &text, markdown),
                    text,
                })
            }
        };
        snapshot.documents.insert(name, document);
    }
    let counts = |snapshot: &LibrarySnapshot| (snapshot.documents.len(), snapshot.skipped);
    if !news && counts(&snapshot) == counts(known) {
        return Ok(Arc::clone(known));
    }
    let documents = snapshot.documents.values();
    let passages = documents.flat_map(|document| document.passages.clone());
    snapshot.index = Index::new(passages.collect());
    Ok(Arc::new(snapshot))
}

/// Collects the names of documents, with `/` between their parts. Links and hidden files are left
/// out; `most` bounds what a directory full of them costs.
fn walk(
    root: &Path,
    prefix: &str,
    depth: usize,
    most: usize,
    found: &mut Vec<String>,
) -> io::Result<()> {
    for entry in fs::read_dir(root.join(prefix))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') || found.len() > most {
            continue;
        }
        let kind = entry.file_type()?;
        let path = format!("{prefix}{name}");
        if kind.is_dir() && depth < MAX_DEPTH {
            // A directory without read permission hides only its own files.
            walk(root, &format!("{path}/"), depth + 1, most, found).ok();
        } else if kind.is_file() && ending(&name).is_some_and(|it| ENDINGS.contains(&it)) {
            found.push(path);
        }
    }
    Ok(())
}

fn ending(name: &str) -> Option<&str> {
    Path::new(name).extension()?.to_str()
}
