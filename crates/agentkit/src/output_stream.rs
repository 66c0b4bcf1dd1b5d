//! The text of a task for a caller who reads it while it is written.

use tokio::sync::mpsc;

/// Most pieces that wait for a slow reader.
const CAPACITY: usize = 64;

/// Takes the text of a task while it is written.
#[derive(Clone, Debug, Default)]
pub struct OutputStream(Option<mpsc::Sender<String>>);

impl OutputStream {
    /// A stream without a reader: the caller waits for the end.
    #[must_use]
    pub fn discard() -> Self {
        Self(None)
    }

    /// A stream and its reader.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self(Some(sender)), receiver)
    }

    /// Whether there is a reader.
    #[must_use]
    pub fn has_reader(&self) -> bool {
        self.0.is_some()
    }

    /// Sends a piece, waiting for a slow reader.
    pub async fn send(&self, piece: impl Into<String> + Send) {
        if let Some(sender) = &self.0 {
            // A reader who left ends the task by dropping it.
            sender.send(piece.into()).await.ok();
        }
    }
}
