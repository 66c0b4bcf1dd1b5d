//! Text on its way to a caller who wants to read along.

use tokio::sync::mpsc;

/// Pieces that may wait for a slow reader.
const WAITING: usize = 64;

/// Takes text as it is written; nobody may be listening.
#[derive(Clone, Debug, Default)]
pub struct OutputStream(Option<mpsc::Sender<String>>);

impl OutputStream {
    /// For a caller who waits for the end.
    #[must_use]
    pub fn discard() -> Self {
        Self(None)
    }

    /// With somebody who listens.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(Some(sender)), receiver)
    }

    /// Whether somebody listens.
    #[must_use]
    pub fn has_reader(&self) -> bool {
        self.0.is_some()
    }

    /// Passes a piece on, waiting for a reader who is slow.
    pub async fn send(&self, piece: impl Into<String> + Send) {
        if let Some(sender) = &self.0 {
            // A reader who left ends the task by dropping it.
            sender.send(piece.into()).await.ok();
        }
    }
}
