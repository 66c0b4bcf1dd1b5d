//! The directory of the runs. Each component of a path is opened relative to its open parent, and no
//! link is followed, not even one that is made in the meantime.

mod dir;

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
};

use crate::{
    FsKeys,
    path::{InvalidPath, Path, RunId},
};
use dir::{Dir, FileEntry};

/// The files of all runs.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    keys: FsKeys,
}

/// Why a file is not written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Name(#[from] InvalidPath),
    #[error("{0} does not exist in this run")]
    Missing(String),
    #[error("{0} is not a plain file in plain directories of this run: links are not followed")]
    NotPlain(String),
    #[error("{bytes} bytes are over the limit of {limit} (fs_max_bytes)")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the run has {0} files already, the limit (fs_max_files)")]
    TooMany(usize),
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    #[error("{0}")]
    NotNumbered(&'static str),
    #[error("{path}: {error}")]
    Io { path: String, error: io::Error },
}

impl Sandbox {
    pub(crate) fn new(keys: FsKeys) -> Self {
        Self { keys }
    }

    /// Writes a file whole: readers see the old content or the new one, and the new one is on disk
    /// when this returns.
    pub(crate) fn write(&self, run: &RunId, path: &Path, content: &[u8]) -> Result<(), Error> {
        self.fits(content.len())?;
        let failed = |error| explain(path, error);
        let (directories, name) = path.split();
        let top = self.run(run, true).map_err(failed)?;
        if !top.exists(directories, name).map_err(failed)? {
            let files = top.files().map_err(failed)?.len();
            if files >= self.keys.fs_max_files {
                return Err(Error::TooMany(files));
            }
        }
        let dir = top.descend(directories, true).map_err(failed)?;
        dir.replace(name, content).map_err(failed)
    }

    /// Appends a line, and ends a line that a crash cut short. A line that is the last already is
    /// not appended again, so that a call may be retried.
    pub(crate) fn append_line(&self, run: &RunId, path: &Path, line: &str) -> Result<(), Error> {
        let _lock = self.lock(run, path)?;
        let old = self.content(run, path)?;
        if old.strip_suffix('\n').unwrap_or(&old).lines().next_back() == Some(line) {
            return Ok(());
        }
        self.add(run, path, &old, line)
    }

    /// Appends a JSON object as a line that begins with its number, and returns that. The number is one
    /// more than the greatest in the file, and unique with any number of writers. An object that is
    /// there already is not appended again: its number is returned.
    pub(crate) fn append_numbered(
        &self,
        run: &RunId,
        path: &Path,
        object: &str,
    ) -> Result<u64, Error> {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(object)
            .map_err(|_| Error::NotNumbered("content is no JSON object"))?;
        if fields.contains_key(NUMBER) {
            return Err(Error::NotNumbered("content has a seq already"));
        }
        let rest = object.trim_start().trim_start_matches('{').trim();
        let numbered = |number: u64| match fields.is_empty() {
            true => format!("{{\"{NUMBER}\":{number}}}"),
            false => format!("{{\"{NUMBER}\":{number},{rest}"),
        };
        let _lock = self.lock(run, path)?;
        let old = self.content(run, path)?;
        let mut latest = 0;
        for line in old.lines() {
            // A line that a crash cut short has no number.
            let Some(number) = number_of(line) else {
                continue;
            };
            if line == numbered(number) {
                return Ok(number);
            }
            latest = number.max(latest);
        }
        let number = latest + 1;
        self.add(run, path, &old, &numbered(number))?;
        Ok(number)
    }

    /// Locks the run for appends until the file is closed.
    fn lock(&self, run: &RunId, path: &Path) -> Result<File, Error> {
        let locked = self.run(run, true).and_then(|top| top.lock());
        locked.map_err(|error| explain(path, error))
    }

    /// The content of a file; none when it is not there.
    fn content(&self, run: &RunId, path: &Path) -> Result<String, Error> {
        match self.read(run, path) {
            Err(Error::Missing(_)) => Ok(String::new()),
            read => read,
        }
    }

    /// Adds a line to a file with a content, under the lock.
    fn add(&self, run: &RunId, path: &Path, old: &str, line: &str) -> Result<(), Error> {
        let failed = |error| explain(path, error);
        if old.is_empty() {
            return self.write(run, path, format!("{line}\n").as_bytes());
        }
        let cut = !old.ends_with('\n');
        let added = format!("{}{line}\n", if cut { "\n" } else { "" });
        self.fits(old.len() + added.len())?;
        let (directories, name) = path.split();
        let top = self.run(run, true).map_err(failed)?;
        let dir = top.descend(directories, true).map_err(failed)?;
        let mut file = dir.append(name).map_err(failed)?;
        // A single write, so that lines of two writers do not mix.
        file.write_all(added.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(failed)
    }

    /// Reads a file as text.
    pub(crate) fn read(&self, run: &RunId, path: &Path) -> Result<String, Error> {
        let failed = |error| explain(path, error);
        let (directories, name) = path.split();
        let top = self.run(run, false).map_err(failed)?;
        let dir = top.descend(directories, false).map_err(failed)?;
        let file = dir.open(name).map_err(failed)?;
        let mut bytes = Vec::new();
        let most = u64::try_from(self.keys.fs_max_bytes).unwrap_or(u64::MAX);
        file.take(most.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        self.fits(bytes.len())?;
        String::from_utf8(bytes).map_err(|_| Error::NotText(path.to_string()))
    }

    /// The files of a run, sorted; none for a run that has written nothing.
    pub(crate) fn list(&self, run: &RunId) -> Result<Vec<FileEntry>, Error> {
        let failed = |error| Error::Io {
            path: run.as_str().to_owned(),
            error,
        };
        match self.run(run, false).and_then(|top| top.files()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            files => files.map_err(failed),
        }
    }

    fn fits(&self, bytes: usize) -> Result<(), Error> {
        let limit = self.keys.fs_max_bytes;
        match bytes > limit {
            true => Err(Error::TooLarge { bytes, limit }),
            false => Ok(()),
        }
    }

    /// The run's directory. The root itself is the operator's choice, and may be a link.
    fn run(&self, run: &RunId, make: bool) -> io::Result<Dir> {
        if make {
            std::fs::create_dir_all(&self.keys.out_dir)?;
        }
        let root = Dir::from(OwnedFd::from(File::open(&self.keys.out_dir)?));
        root.descend(&[run.as_str().to_owned()], make)
    }
}

/// The field with the number of a numbered line.
const NUMBER: &str = "seq";

fn number_of(line: &str) -> Option<u64> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line.get(NUMBER)?.as_u64()
}

fn explain(path: &Path, error: io::Error) -> Error {
    let path = path.to_string();
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return Error::NotPlain(path);
    }
    match error.kind() {
        io::ErrorKind::NotFound => Error::Missing(path),
        io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidInput => Error::NotPlain(path),
        _ => Error::Io { path, error },
    }
}
