//! Warnings and errors that repeat: the same message of the same place is said once in 10 s, and then
//! with how often it was not said.
//!
//! What it is about counts as a part of the message: see [`SUBJECTS`]. So does the error but for its
//! digits: another cause is news, and another number of milliseconds is not. A place says at most
//! [`MOST`] things in that time, whatever they are about. So the memory is bounded, too.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::{Duration, Instant},
};

use tracing::{Level, Metadata, callsite::Identifier};

use super::record::Record;

/// How long the same is not said again.
const WINDOW: Duration = Duration::from_secs(10);
/// What one place says within the window, at most.
const MOST: usize = 50;
/// Fields that tell what a message is about. Two failed jobs are two messages.
const SUBJECTS: [&str; 16] = [
    "service", "instance", "endpoint", "job", "run", "step", "queue", "lane", "timer", "entry",
    "store", "key", "path", "source", "what", "id",
];

/// What was said lately, place by place.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    places: HashMap<Identifier, Place>,
}

#[derive(Debug, Default)]
struct Place {
    said: HashMap<u64, Said>,
    /// Not said because of [`MOST`], and not told of yet.
    over: u64,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    /// How often it was not said since.
    suppressed: u64,
}

impl Repeats {
    /// Whether a record is said: then how often the same was not, since it was said last.
    pub(super) fn admit(
        &mut self,
        metadata: &Metadata<'_>,
        record: &Record<'_>,
        now: Instant,
    ) -> Option<u64> {
        if record.level > Level::WARN {
            // What went well is said each time: a job's end is no repetition.
            return Some(0);
        }
        let place = self.places.entry(metadata.callsite()).or_default();
        let key = key(record);
        if let Some(said) = place.said.get_mut(&key) {
            if now.duration_since(said.at) < WINDOW {
                said.suppressed += 1;
                return None;
            }
            said.at = now;
            let suppressed = std::mem::take(&mut said.suppressed);
            return Some(suppressed + std::mem::take(&mut place.over));
        }
        if place.said.len() == MOST {
            let Place { said, over } = place;
            said.retain(|_, said| {
                let recent = now.duration_since(said.at) < WINDOW;
                if !recent {
                    *over += said.suppressed;
                }
                recent
            });
            if said.len() == MOST {
                *over += 1;
                return None;
            }
        }
        place.said.insert(
            key,
            Said {
                at: now,
                suppressed: 0,
            },
        );
        Some(std::mem::take(&mut place.over))
    }
}

fn key(record: &Record<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    record.message.hash(&mut hasher);
    for subject in SUBJECTS {
        record.text(subject).hash(&mut hasher);
    }
    if let Some(error) = record.text("error") {
        let rest = error.bytes().filter(|byte| !byte.is_ascii_digit());
        rest.for_each(|byte| hasher.write_u8(byte));
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::{Event, Subscriber};
    use tracing_subscriber::{Layer, Registry, layer::Context, layer::SubscriberExt as _};

    use super::*;

    type Heard = Vec<(String, u64)>;

    /// What is said at a time that the test sets.
    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<(Repeats, Duration, Heard)>>);

    struct Lines(Said, Instant);

    impl<S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            let record = Record::of(event, &context);
            let mut said = self.0.0.lock();
            let now = self.1 + said.1;
            if let Some(suppressed) = said.0.admit(event.metadata(), &record, now) {
                said.2.push((record.message, suppressed));
            }
        }
    }

    impl Said {
        fn at(&self, seconds: u64) {
            self.0.lock().1 = Duration::from_secs(seconds);
        }

        fn take(&self) -> Heard {
            std::mem::take(&mut self.0.lock().2)
        }
    }

    fn with_said(test: impl FnOnce(&Said)) {
        let said = Said::default();
        let lines = Lines(said.clone(), Instant::now());
        tracing::subscriber::with_default(Registry::default().with(lines), || test(&said));
    }

    fn here(error: &str) {
        tracing::warn!(error, "cannot claim");
    }

    fn there(instance: &str) {
        tracing::error!(instance, "cannot claim");
    }

    #[test]
    fn the_same_of_one_place_is_said_once_in_ten_seconds() {
        with_said(|said| {
            for number in 0..50 {
                said.at(number / 10);
                here(&format!("no answer after {number} ms"));
            }
            there("echo-1");
            there("echo-2");
            there("echo-1");
            let first = ("cannot claim".to_owned(), 0);
            assert_eq!(said.take(), [first.clone(), first.clone(), first.clone()]);
            here("refused");
            assert_eq!(
                said.take(),
                std::slice::from_ref(&first),
                "another cause is news"
            );
            said.at(10);
            here("no answer after 60 ms");
            there("echo-1");
            let with = |suppressed| ("cannot claim".to_owned(), suppressed);
            assert_eq!(said.take(), [with(49)]);
            // Ten seconds after it was said at 4 s, and not at 10 s.
            said.at(14);
            there("echo-1");
            assert_eq!(said.take(), [with(2)]);
        });
    }

    #[test]
    fn what_went_well_is_said_each_time() {
        with_said(|said| {
            for _ in 0..3 {
                tracing::info!("job succeeded");
            }
            assert_eq!(said.take().len(), 3);
        });
    }

    #[test]
    fn a_place_with_much_to_say_says_a_part_of_it() {
        with_said(|said| {
            for number in 0..1000 {
                there(&format!("echo-{number}"));
            }
            assert_eq!(said.take().len(), MOST);
            let kept: usize = said
                .0
                .lock()
                .0
                .places
                .values()
                .map(|place| place.said.len())
                .sum();
            assert_eq!(kept, MOST);
            said.at(10);
            there("echo-2000");
            assert_eq!(said.take(), [("cannot claim".to_owned(), 950)]);
        });
    }
}
