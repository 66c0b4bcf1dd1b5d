//! Where the text of an answer goes while the model writes it.

/// Takes the text of an answer while the model writes it.
#[async_trait::async_trait]
pub trait TextSink: Send + Sync {
    /// The next piece.
    async fn send(&self, piece: &str);

    /// Whether anybody reads it. Without a reader a broken answer is asked for again.
    fn has_reader(&self) -> bool {
        true
    }
}

/// Discards text.
#[async_trait::async_trait]
impl TextSink for () {
    async fn send(&self, _piece: &str) {}

    fn has_reader(&self) -> bool {
        false
    }
}
