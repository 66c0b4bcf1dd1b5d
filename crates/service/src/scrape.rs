//! Answers to scrapes of the metrics: the format and the encoding that the scraper takes.
//!
//! The text is made on a thread that carries no calls. Whoever asks while one is made gets the same,
//! and texts that nobody reads are bounded: a scraper that never reads costs a part of one.

use std::{io::Write as _, sync::Arc};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use telemetry::{MetricsRegistry, TextFormat};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{Duration, Instant},
};

use crate::answers::{self, Answer, text};

/// Texts that may wait to be read. A connection that does not read is closed after `body_timeout`.
const MOST_UNREAD: usize = 64;
/// With more than this many unread, a text is used again for [`SHARED`].
const MANY_UNREAD: usize = 8;
const SHARED: Duration = Duration::from_secs(1);

/// The scrapes of one program.
#[derive(Debug)]
pub(crate) struct Scrapes {
    registry: MetricsRegistry,
    unread: Arc<Semaphore>,
    /// By format and encoding.
    latest: [Mutex<Option<Text>>; 4],
}

/// What was answered last.
#[derive(Debug)]
struct Text {
    /// When its making began.
    began: Instant,
    bytes: Bytes,
}

/// Counted until the last who has it lets it go.
struct Counted {
    bytes: Vec<u8>,
    _unread: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Scrapes {
    pub(crate) fn new(registry: &MetricsRegistry) -> Self {
        Self {
            registry: registry.clone(),
            unread: Arc::new(Semaphore::new(MOST_UNREAD)),
            latest: Default::default(),
        }
    }

    /// The answer to a scrape with these headers.
    pub(crate) async fn answer(&self, headers: &HeaderMap) -> Answer {
        let format = TextFormat::accepted(values(headers, &header::ACCEPT));
        let gzip = takes_gzip(headers);
        let Some(bytes) = self.text(format, gzip).await else {
            let mut answer = text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many scrapes have not read their answers",
            );
            let again = HeaderValue::from_static("1");
            answer.headers_mut().insert(header::RETRY_AFTER, again);
            return answer;
        };
        let mut answer = answers::bytes(StatusCode::OK, format.content_type(), bytes);
        let headers = answer.headers_mut();
        let vary = HeaderValue::from_static("accept, accept-encoding");
        headers.insert(header::VARY, vary);
        if gzip {
            let gzip = HeaderValue::from_static("gzip");
            headers.insert(header::CONTENT_ENCODING, gzip);
        }
        answer
    }

    /// `None` when too many texts are unread.
    async fn text(&self, format: TextFormat, gzip: bool) -> Option<Bytes> {
        let asked = Instant::now();
        let place = usize::from(format == TextFormat::OpenMetrics) * 2 + usize::from(gzip);
        let mut latest = self.latest[place].lock().await;
        let unread = MOST_UNREAD.saturating_sub(self.unread.available_permits());
        let age = if unread > MANY_UNREAD {
            SHARED
        } else {
            Duration::ZERO
        };
        if let Some(known) = &*latest
            && known.began + age >= asked
        {
            return Some(known.bytes.clone());
        }
        // The last text counts until the next one is there.
        *latest = None;
        let permit = Arc::clone(&self.unread).try_acquire_owned().ok()?;
        let registry = self.registry.clone();
        let began = Instant::now();
        let made = spawn_blocking(move || {
            let text = registry.encode_as(format);
            if gzip {
                compress(&text)
            } else {
                text.into_bytes()
            }
        });
        let bytes = Bytes::from_owner(Counted {
            bytes: made.await.ok()?,
            _unread: permit,
        });
        *latest = Some(Text {
            began,
            bytes: bytes.clone(),
        });
        Some(bytes)
    }
}

fn compress(text: &str) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    out.write_all(text.as_bytes()).ok();
    out.finish().unwrap_or_default()
}

fn values<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter();
    values.filter_map(|value| value.to_str().ok())
}

/// Whether `Accept-Encoding` names gzip, and not with a quality of 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let ranges = values(headers, &header::ACCEPT_ENCODING).flat_map(|value| value.split(','));
    ranges.into_iter().any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| {
            ["gzip", "x-gzip"]
                .iter()
                .any(|it| name.eq_ignore_ascii_case(it))
        });
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok());
        named && quality.is_none_or(|quality| quality > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http_body_util::BodyExt as _;

    use super::*;

    async fn ask(
        scrapes: &Scrapes,
        set: &[(header::HeaderName, &'static str)],
    ) -> (HeaderMap, Bytes) {
        let mut headers = HeaderMap::new();
        for (name, value) in set {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let answer = scrapes.answer(&headers).await;
        let (parts, body) = answer.into_parts();
        (parts.headers, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn the_answer_is_in_the_format_and_encoding_that_is_taken() {
        let registry = MetricsRegistry::new();
        registry.register("mesh_test", "A test", telemetry::Counter::default);
        let scrapes = Scrapes::new(&registry);
        let (headers, plain) = ask(&scrapes, &[]).await;
        assert_eq!(
            headers[header::CONTENT_TYPE],
            TextFormat::Prometheus.content_type()
        );
        assert!(!headers.contains_key(header::CONTENT_ENCODING));
        assert!(plain.ends_with(b"mesh_test_total 0\n"));
        let open = (header::ACCEPT, "application/openmetrics-text;version=1.0.0");
        let gzip = (header::ACCEPT_ENCODING, "deflate, gzip;q=0.5");
        let (headers, packed) = ask(&scrapes, &[open, gzip]).await;
        assert_eq!(
            headers[header::CONTENT_TYPE],
            TextFormat::OpenMetrics.content_type()
        );
        assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
        let mut text = String::new();
        GzDecoder::new(&*packed).read_to_string(&mut text).unwrap();
        assert!(text.ends_with("mesh_test_total 0\n# EOF\n"), "{text}");
        let none = (header::ACCEPT_ENCODING, "gzip;q=0, br");
        let (headers, _) = ask(&scrapes, &[none]).await;
        assert!(!headers.contains_key(header::CONTENT_ENCODING));
    }

    #[tokio::test]
    async fn texts_that_nobody_reads_are_bounded_and_the_next_scrape_has_its_answer() {
        let scrapes = Scrapes::new(&MetricsRegistry::new());
        let mut unread = Vec::new();
        for _ in 0..1000 {
            unread.push(scrapes.answer(&HeaderMap::new()).await);
        }
        assert!(
            unread
                .iter()
                .all(|answer| answer.status() == StatusCode::OK)
        );
        let held = MOST_UNREAD - scrapes.unread.available_permits();
        assert!(held <= MANY_UNREAD + 5, "{held} texts for 1000 scrapes");
        drop(unread);
        assert!(scrapes.unread.available_permits() >= MOST_UNREAD - 1);
    }
}
