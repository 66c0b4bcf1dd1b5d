//! Where the access log goes: a file, which is appended to, or a stream of the process.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
};

/// An open target.
#[derive(Debug)]
pub(super) struct Target {
    to: To,
    /// The last line is there in part.
    torn: bool,
}

#[derive(Debug)]
enum To {
    Stdout,
    Stderr,
    File(File),
}

/// A batch that could not be written.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) error: io::Error,
    /// Lines of it that are not there, or in part.
    pub(super) lines: u64,
}

impl Target {
    /// Opens what the key `access_log` names.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let to = match name {
            "stdout" => To::Stdout,
            "stderr" => To::Stderr,
            path => To::File(OpenOptions::new().append(true).create(true).open(path)?),
        };
        Ok(Self { to, torn: false })
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, batch: &[u8]) -> Result<(), Lost> {
        let mut written = 0;
        let outcome = self.try_write(batch, &mut written);
        let Err(error) = outcome else { return Ok(()) };
        self.torn |= written > 0 && batch[written - 1] != b'\n';
        let lines = count_lines(&batch[written..]);
        Err(Lost { error, lines })
    }

    fn try_write(&mut self, batch: &[u8], written: &mut usize) -> io::Result<()> {
        if self.torn {
            // The part of a line stays alone on its line.
            self.write_some(b"\n")?;
            self.torn = false;
        }
        while *written < batch.len() {
            match self.write_some(&batch[*written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match &mut self.to {
            To::Stdout => io::stdout().flush(),
            To::Stderr | To::File(_) => Ok(()),
        }
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            To::Stdout => io::stdout().write(bytes),
            To::Stderr => io::stderr().write(bytes),
            To::File(file) => file.write(bytes),
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}
