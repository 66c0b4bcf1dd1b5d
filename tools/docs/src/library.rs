//! The documents in a directory, read again when they change.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentkit::sources::Passage;
use tokio::{sync::Mutex, task::spawn_blocking, time::Instant};

use crate::{Index, split};

/// Endings of what is read; the first two are Markdown.
const ENDINGS: [&str; 4] = ["md", "markdown", "txt", "rst"];
/// Deepest directory that is looked into.
const MAX_DEPTH: usize = 16;

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub struct LibraryLimits {
    /// Largest file, bytes.
    pub file_bytes: usize,
    /// Most files.
    pub files: usize,
    /// Most bytes of all files together.
    pub bytes: usize,
}

/// Why a document or the directory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be read.
    #[error("documents in {root}: {error}; docs_dir (DOCS_DIR) names the directory")]
    Directory {
        /// The directory.
        root: String,
        /// What the system says.
        error: io::Error,
    },
    /// No document has this path.
    #[error("no document {0:?}: give a file as search_local_docs names it")]
    Unknown(String),
    /// The document is shorter.
    #[error("{file} has {lines} lines")]
    Short {
        /// The document.
        file: String,
        /// How many lines it has.
        lines: usize,
    },
    /// The scan was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// A directory of documents.
#[derive(Debug)]
pub struct Library {
    root: PathBuf,
    limits: LibraryLimits,
    refresh: Duration,
    state: Mutex<Option<(Instant, Arc<LibrarySnapshot>)>>,
}

/// The documents at one time, and their index.
#[derive(Debug, Default)]
pub struct LibrarySnapshot {
    documents: BTreeMap<String, Arc<Document>>,
    /// Files that a limit or their bytes kept out.
    pub skipped: usize,
    /// Their passages.
    pub index: Index,
}

#[derive(Debug)]
struct Document {
    changed: Option<SystemTime>,
    bytes: u64,
    text: String,
    passages: Vec<Passage>,
}

impl Library {
    /// A library of the documents beneath `root`. A snapshot that is older than `refresh` is renewed.
    #[must_use]
    pub fn new(root: PathBuf, limits: LibraryLimits, refresh: Duration) -> Self {
        Self {
            root,
            limits,
            refresh,
            state: Mutex::default(),
        }
    }

    /// The latest snapshot, at most `refresh` old.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn snapshot(&self) -> Result<Arc<LibrarySnapshot>, Error> {
        // Held during the scan: other callers wait for the same snapshot.
        let mut state = self.state.lock().await;
        let known = match &*state {
            Some((seen, snapshot)) if seen.elapsed() < self.refresh => return Ok(snapshot.clone()),
            Some((_, snapshot)) => snapshot.clone(),
            None => Arc::default(),
        };
        let (root, limits) = (self.root.clone(), self.limits);
        let scan = spawn_blocking(move || scan(&root, limits, &known));
        let snapshot = scan.await.map_err(|_| Error::Cancelled)??;
        *state = Some((Instant::now(), snapshot.clone()));
        Ok(snapshot)
    }
}

impl LibrarySnapshot {
    /// How many documents there are.
    #[must_use]
    pub fn files(&self) -> usize {
        self.documents.len()
    }

    /// Lines of a document, from 1, both included; fewer where it ends before `end`.
    ///
    /// # Errors
    /// When there is no such document, or it ends before `line`.
    pub fn lines(&self, file: &str, line: usize, end: usize) -> Result<String, Error> {
        // Looked up in the snapshot, not opened: no path leads elsewhere.
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
fn scan(
    root: &Path,
    limits: LibraryLimits,
    known: &Arc<LibrarySnapshot>,
) -> Result<Arc<LibrarySnapshot>, Error> {
    let mut found = Vec::new();
    walk(root, "", 0, limits.files, &mut found).map_err(|error| Error::Directory {
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
            size <= limits.file_bytes && bytes <= limits.bytes
        });
        if snapshot.documents.len() >= limits.files || !fits {
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
                let markdown = ENDINGS[..2]
                    .iter()
                    .any(|ending| name.ends_with(&format!(".{ending}")));
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
    let same =
        snapshot.documents.len() == known.documents.len() && snapshot.skipped == known.skipped;
    if !news && same {
        return Ok(Arc::clone(known));
    }
    let passages = snapshot
        .documents
        .values()
        .flat_map(|document| document.passages.clone());
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
        let ending = Path::new(&name)
            .extension()
            .and_then(|ending| ending.to_str());
        if kind.is_dir() && depth < MAX_DEPTH {
            // A directory without read permission hides only its own files.
            walk(root, &format!("{path}/"), depth + 1, most, found).ok();
        } else if kind.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
            found.push(path);
        }
    }
    Ok(())
}
