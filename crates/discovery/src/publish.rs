//! Publishes values to their receivers.

use std::sync::Arc;

use tokio::sync::watch;

/// Publishes a value. Receivers are woken only if it differs from what they have.
pub(crate) fn publish<T: PartialEq>(sender: &watch::Sender<Option<Arc<T>>>, value: T) -> bool {
    sender.send_if_modified(|current| {
        let news = current.as_deref() != Some(&value);
        if news {
            *current = Some(Arc::new(value));
        }
        news
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_wake_for_news_only() {
        let (sender, mut receiver) = watch::channel(None);
        assert!(publish(&sender, 1));
        receiver.mark_unchanged();
        assert!(!publish(&sender, 1));
        assert!(!receiver.has_changed().expect("the sender lives"));
    }
}
