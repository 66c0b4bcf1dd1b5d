//! One open directory. Names are single components, and no link is followed.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::OwnedFd,
};

use rustix::fs::{
    AtFlags, Dir as Listing, FileType, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat,
    renameat, statat, unlinkat,
};

/// The prefix of temporary files. It is hidden, so that no caller's path names one.
const TEMPORARY: &str = ".tmp-";
/// The file that is locked during an append. It is hidden, and stays empty.
const LOCK: &str = ".lock";

/// One file of a run.
#[derive(Debug)]
pub(crate) struct FileEntry {
    /// Path within the run.
    pub(crate) path: String,
    pub(crate) bytes: u64,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

impl From<OwnedFd> for Dir {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Dir {
    /// The directory at the end of `names`; missing ones are made if `make`.
    pub(super) fn descend(&self, names: &[String], make: bool) -> io::Result<Self> {
        let mut dir = Self(self.0.try_clone()?);
        for name in names {
            if make {
                match mkdirat(&dir.0, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            dir = Self(openat(&dir.0, name, DIRECTORY, Mode::empty())?);
        }
        Ok(dir)
    }

    /// Locks this directory for appends until the file is closed, after waiting for other appends.
    /// The lock holds between processes that share the directory.
    pub(super) fn lock(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.0, LOCK, flags, Mode::from_raw_mode(0o644))?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                locked => return Ok(locked.map(|()| File::from(file))?),
            }
        }
    }

    /// Whether something stands at `directories`/`name`.
    pub(super) fn exists(&self, directories: &[String], name: &str) -> io::Result<bool> {
        let found = self
            .descend(directories, false)
            .and_then(|dir| Ok(statat(&dir.0, name, AtFlags::SYMLINK_NOFOLLOW)?));
        match found {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens a plain file for reading.
    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        self.plain(name, OFlags::RDONLY)
    }

    /// Opens a plain file for appending; it has to be there.
    pub(super) fn append(&self, name: &str) -> io::Result<File> {
        self.plain(name, OFlags::WRONLY | OFlags::APPEND)
    }

    /// Replaces `name` by `content` atomically. A link there is replaced, not followed.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = format!("{TEMPORARY}{:016x}", rand::random::<u64>());
        let written = self.write_new(&temporary, content).and_then(|()| {
            renameat(&self.0, &temporary, &self.0, name)?;
            // The rename is on disk once the directory is synced.
            Ok(rustix::fs::fsync(&self.0)?)
        });
        if written.is_err() {
            unlinkat(&self.0, &temporary, AtFlags::empty()).ok();
        }
        written
    }

    fn write_new(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o644);
        let mut file = File::from(openat(&self.0, name, flags | OFlags::CLOEXEC, mode)?);
        file.write_all(content)?;
        file.sync_all()
    }

    fn plain(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // Non-blocking: opening a pipe would wait for its other end.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(&self.0, name, flags, Mode::empty())?;
        match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::RegularFile => Ok(File::from(fd)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The plain files of this directory and of those beneath it, sorted. Hidden ones are left out.
    pub(super) fn files(&self) -> io::Result<Vec<FileEntry>> {
        let mut entries = Vec::new();
        self.walk("", &mut entries)?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    fn walk(&self, prefix: &str, entries: &mut Vec<FileEntry>) -> io::Result<()> {
        for item in Listing::read_from(&self.0)? {
            let item = item?;
            let Ok(name) = item.file_name().to_str() else {
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            let stat = match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Removed since it was listed.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let path = format!("{prefix}{name}");
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => entries.push(FileEntry {
                    path,
                    bytes: u64::try_from(stat.st_size).unwrap_or(0),
                }),
                FileType::Directory => {
                    let beneath = self.descend(&[name.to_owned()], false)?;
                    beneath.walk(&format!("{path}/"), entries)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
