//! What handlers read from a request, each with a problem of its own kind when it will not do.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::{StatusCode, header, request::Parts};
use jobs::JobId;
use serde::de::DeserializeOwned;
use serde_json::Value;
use service::Silent;

use crate::problem::{Kind, Problem};

/// A JSON object as body.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON array as body.
#[derive(Debug)]
pub(crate) struct Array(pub(crate) Vec<Value>);

/// The query of a URL.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

/// The job that the path names.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) JobId);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        object(read(&text(request, state).await?)?).map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for Array {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match read(&text(request, state).await?)? {
            Value::Array(values) => Ok(Self(values)),
            _ => Err(Problem::field("body", "expected an array")),
        }
    }
}

/// The bytes of a body that may be JSON.
pub(crate) async fn text<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    if let Some(form) = request.headers().get(header::CONTENT_TYPE) {
        let form = form.to_str().unwrap_or_default();
        let essence = form
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if essence != "application/json" && !essence.ends_with("+json") {
            let text = format!("{form:?} is not taken, send application/json");
            return Err(Problem::new(Kind::UnsupportedMediaType, text));
        }
    }
    Bytes::from_request(request, state)
        .await
        .map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let text = "the body is larger than max_body_bytes";
                return Problem::new(Kind::TooLarge, text);
            }
            if silent(&rejection) {
                return Problem::new(Kind::Silent, "the body did not go on for body_timeout");
            }
            Problem::new(Kind::Malformed, "the body ended before its end")
        })
}

/// Whether the client fell silent within the body.
fn silent(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Silent>())
}

/// Reads JSON.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, Problem> {
    let read = serde_json::from_slice(bytes);
    read.map_err(|error| Problem::field("body", format!("is no JSON: {error}")))
}

/// What a JSON object means; what will not do is told with the path to it. (Serde would take an
/// array for any struct.)
pub(crate) fn object<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    if !value.is_object() {
        return Err(Problem::field("body", "expected an object"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| at_fault(&error))
}

/// A missing field is named in serde's text, and its parent in the path.
fn at_fault(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let said = error.inner().to_string();
    let missing = said
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'));
    match (missing, path.as_str()) {
        (Some((name, _)), ".") => Problem::field(name, "is missing"),
        (Some((name, _)), path) => Problem::field(format!("{path}.{name}"), "is missing"),
        (None, ".") => Problem::field("body", said),
        (None, path) => Problem::field(path, said),
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        let Query(query) = query.map_err(|error| Problem::field("query", error.body_text()))?;
        Ok(Self(query))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let unknown = || Problem::new(Kind::NotFound, "no job has that id");
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
            let problem = read(json.as_bytes()).and_then(object::<Thing>).unwrap_err();
            assert_eq!(problem.errors[0].field, field, "{json}: {problem:?}");
            assert_eq!(problem.status, 422);
        }
    }
}
