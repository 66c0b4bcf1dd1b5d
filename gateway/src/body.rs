//! What handlers read from a request. Each has its own kind of problem when it is invalid.

use std::io::Read as _;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, StatusCode, header, request::Parts};
use jobs::JobId;
use serde::de::DeserializeOwned;
use serde_json::Value;
use service::BodyTimeout;
use telemetry::humanize;

use crate::{
    problem::{Problem, ProblemKind},
    state::App,
};

/// A JSON object as body.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON array as body.
#[derive(Debug)]
pub(crate) struct Array(pub(crate) Vec<Value>);

/// The job that the path names.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) JobId);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &App) -> Result<Self, Problem> {
        from_object(parse_json(&read_body(request, state).await?)?).map(Self)
    }
}

impl FromRequest<App> for Array {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &App) -> Result<Self, Problem> {
        match parse_json(&read_body(request, state).await?)? {
            Value::Array(values) => Ok(Self(values)),
            _ => Err(Problem::field("body", "must be an array")),
        }
    }
}

/// Refuses a body that is not declared as JSON. A page of another origin may send the old types of
/// forms, or none, without asking: those are refused.
///
/// # Errors
/// 415.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |text: String| Err(Problem::new(ProblemKind::UnsupportedMediaType, text));
    let mut forms = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(form), None) = (forms.next(), forms.next()) else {
        return refuse(
            "the Content-Type is missing or given twice: send Content-Type: application/json"
                .to_owned(),
        );
    };
    let form = form.to_str().unwrap_or_default();
    let essence = form.split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || essence.starts_with("application/") && essence.ends_with("+json");
    if is_json && !essence.contains([',', ' ']) {
        return Ok(());
    }
    refuse(format!(
        "the content type {form:?} is not supported: send application/json"
    ))
}

/// The bytes of a body, decompressed where they come compressed.
pub(crate) async fn read_body(request: Request, app: &App) -> Result<Bytes, Problem> {
    let is_gzip = is_gzip(request.headers())?;
    let bytes = Bytes::from_request(request, app)
        .await
        .map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ if is_timeout(&rejection) => Problem::new(
                ProblemKind::RequestTimeout,
                "no more of the body arrived within body_timeout",
            ),
            _ => Problem::new(
                ProblemKind::Malformed,
                "the connection ended before the whole body had arrived",
            ),
        })?;
    if !is_gzip {
        return Ok(bytes);
    }
    let limit = app.keys.max_body_bytes;
    let inflated = tokio::task::spawn_blocking(move || inflate(&bytes, limit)).await;
    inflated.unwrap_or_else(|_| {
        Err(Problem::new(
            ProblemKind::Malformed,
            "the body cannot be decompressed",
        ))
    })
}

fn too_large() -> Problem {
    Problem::new(
        ProblemKind::ContentTooLarge,
        "the body is larger than max_body_bytes",
    )
}

/// Whether a body is compressed, in the one way that is supported.
fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let values = values.flat_map(|value| value.to_str().unwrap_or("?").split(','));
    let codings = values.map(|coding| coding.trim().to_ascii_lowercase());
    let codings: Vec<String> = codings
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect();
    match codings.as_slice() {
        [] => Ok(false),
        [coding] if coding == "gzip" || coding == "x-gzip" => Ok(true),
        other => {
            let text = format!(
                "the content encoding {:?} is not supported: send gzip or none",
                other.join(", ")
            );
            let mut problem = Problem::new(ProblemKind::UnsupportedMediaType, text);
            problem.accept_encoding = true;
            Err(problem)
        }
    }
}

/// Decompresses up to a limit, and no further.
fn inflate(bytes: &[u8], limit: usize) -> Result<Bytes, Problem> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut inflated = Vec::new();
    let read = MultiGzDecoder::new(bytes)
        .take(most)
        .read_to_end(&mut inflated);
    if inflated.len() > limit {
        return Err(too_large());
    }
    read.map_err(|_| Problem::new(ProblemKind::Malformed, "the body is not complete gzip data"))?;
    Ok(inflated.into())
}

/// Whether the client fell silent within the body.
fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.is::<BodyTimeout>())
}

/// Reads JSON.
pub(crate) fn parse_json(bytes: &[u8]) -> Result<Value, Problem> {
    let read = serde_json::from_slice(bytes);
    read.map_err(|error| {
        Problem::field(
            "body",
            format!("is not JSON: {}", humanize(&error.to_string())),
        )
    })
}

/// What a JSON object means. A problem names the path to the invalid field. (Serde would read an
/// array as any struct.)
pub(crate) fn from_object<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    if !value.is_object() {
        return Err(Problem::field("body", "must be an object"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| invalid_field(&error))
}

/// A missing field is named in serde's text, and its parent in the path.
fn invalid_field(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let said = error.inner().to_string();
    let missing = said
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'));
    match (missing, path.as_str()) {
        (Some((name, _)), ".") => Problem::field(name, "is missing"),
        (Some((name, _)), path) => Problem::field(format!("{path}.{name}"), "is missing"),
        (None, ".") => Problem::field("body", humanize(&said)),
        (None, path) => Problem::field(path, humanize(&said)),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let unknown = || Problem::new(ProblemKind::NotFound, "no job has that id");
        let Path(id) = path.map_err(|_| unknown())?;
        Ok(Self(id.parse::<JobId>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        #[expect(dead_code, reason = "only read")]
        count: Vec<u8>,
    }

    #[test]
    fn only_json_is_taken_and_only_when_it_is_said() {
        let headers = |forms: &[&str]| {
            let mut headers = HeaderMap::new();
            for form in forms {
                headers.append(header::CONTENT_TYPE, form.parse().unwrap());
            }
            headers
        };
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;x",
            "application/problem+json",
        ] {
            assert!(check_content_type(&headers(&[good])).is_ok(), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "text/plain; a=application/json",
            "text/plain;+json",
            "text/x+json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json, text/plain",
            "application/jsonp",
            "json",
        ] {
            assert_eq!(
                check_content_type(&headers(&[bad])).unwrap_err().status,
                415,
                "{bad}"
            );
        }
        assert_eq!(check_content_type(&headers(&[])).unwrap_err().status, 415);
        let twice = headers(&["application/json", "text/plain"]);
        assert_eq!(check_content_type(&twice).unwrap_err().status, 415);
    }

    #[test]
    fn gzip_is_the_one_coding_and_its_limit_is_what_comes_out() {
        use std::io::Write as _;
        let coded = |coding: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, coding.parse().unwrap());
            is_gzip(&headers)
        };
        assert!(!coded("identity").unwrap() && !coded("").unwrap());
        assert!(coded("GZip").unwrap() && coded("x-gzip, identity").unwrap());
        for coding in [
            "br",
            "deflate",
            "zstd",
            "gzip, gzip",
            "gzip, br",
            "compress",
        ] {
            assert_eq!(coded(coding).unwrap_err().status, 415, "{coding}");
        }
        let gzip = |bytes: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let small = gzip(b"{}");
        assert_eq!(inflate(&small, 2).unwrap(), "{}");
        assert_eq!(inflate(&small, 1).unwrap_err().status, 413);
        assert_eq!(
            inflate(&[small.clone(), small.clone()].concat(), 4).unwrap(),
            "{}{}"
        );
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 1 << 20);
        assert_eq!(inflate(&bomb, 1 << 20).unwrap_err().status, 413);
        for broken in [&small[..small.len() - 1], &small[..3], b"", b"{}"] {
            assert_eq!(inflate(broken, 100).unwrap_err().status, 400, "{broken:?}");
        }
    }

    #[test]
    fn what_will_not_do_is_told_with_the_path_to_it() {
        for (json, field) in [
            ("", "body"),
            ("{", "body"),
            ("[]", "body"),
            ("{}", "count"),
            (r#"{"count":[1,"x"]}"#, "count[1]"),
            (r#"{"count":[]} x"#, "body"),
            (r#"{"count":[],"more":1}"#, "more"),
        ] {
            let problem = parse_json(json.as_bytes())
                .and_then(from_object::<Thing>)
                .unwrap_err();
            assert_eq!(problem.errors[0].field, field, "{json}: {problem:?}");
            assert_eq!(problem.status, 422);
        }
    }
}
