//! Query strings: which parameters an operation takes is in its description.

use std::collections::BTreeSet;

use axum::{
    extract::{FromRequestParts, Query},
    http::{Uri, request::Parts},
};
use serde::de::DeserializeOwned;
use service::config::nearest;
use telemetry::humanize;
use utoipa::openapi::{
    RefOr,
    path::{Operation, ParameterIn},
};

use crate::problem::{FieldProblem, Problem};

/// The query of a URL. An empty parameter counts as absent, which is how forms send it.
#[derive(Debug)]
pub(crate) struct QueryParams<T>(pub(crate) T);

/// The names of the query parameters that an operation takes.
pub(crate) fn names(operation: &Operation) -> Vec<String> {
    let names = operation
        .parameters
        .iter()
        .flatten()
        .filter_map(|parameter| {
            let RefOr::T(parameter) = parameter else {
                return None;
            };
            (parameter.parameter_in == ParameterIn::Query).then(|| parameter.name.clone())
        });
    names.collect()
}

/// Checks the names of a query's parameters.
///
/// # Errors
/// 422 for a parameter that is unknown, or given twice.
pub(crate) fn check(uri: &Uri, known: &[String]) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    let mut errors = Vec::new();
    for (name, value) in pairs(uri)? {
        if !is_known(&name, known) {
            let reason = unknown(&name, known);
            errors.push(FieldProblem {
                field: name,
                reason,
            });
        } else if !value.is_empty() && !seen.insert(name.clone()) {
            errors.push(FieldProblem {
                field: name,
                reason: "is given twice, give it once".to_owned(),
            });
        }
    }
    let Some(FieldProblem { field, reason }) = errors.first() else {
        return Ok(());
    };
    let mut problem = Problem::field(field.clone(), reason.clone());
    problem.errors = errors;
    Err(problem)
}

/// A name such as `label.{key}` stands for all that begin with `label.`.
fn is_known(name: &str, known: &[String]) -> bool {
    known.iter().any(|known| match known.strip_suffix("{key}") {
        Some(prefix) => name.len() > prefix.len() && name.starts_with(prefix),
        None => known == name,
    })
}

fn unknown(name: &str, known: &[String]) -> String {
    if known.is_empty() {
        return "is not a parameter of this endpoint, which takes none".to_owned();
    }
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("is not a parameter of this endpoint, did you mean {near}?"),
        None => format!(
            "is not a parameter of this endpoint, which takes {}",
            known.join(", ")
        ),
    }
}

fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    let Query(pairs) = Query::try_from_uri(uri).map_err(|error| {
        Problem::field(
            "query",
            format!("cannot be read: {}", humanize(&error.to_string())),
        )
    })?;
    Ok(pairs)
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let given = parts.uri.query().unwrap_or_default();
        let empty = |pair: &&str| {
            pair.split_once('=')
                .is_none_or(|(_, value)| value.is_empty())
        };
        let kept: Vec<&str> = given.split('&').filter(|pair| !empty(pair)).collect();
        let uri = format!("/?{}", kept.join("&")).parse::<Uri>();
        let uri = uri.map_err(|_| Problem::field("query", "cannot be read"))?;
        let query = Query::<T>::try_from_uri(&uri)
            .map_err(|error| invalid_parameter(&error.body_text()))?;
        Ok(Self(query.0))
    }
}

/// Names the invalid parameter, which the text has before a colon.
fn invalid_parameter(text: &str) -> Problem {
    let text = text.strip_prefix("Failed to deserialize query string: ");
    match text.and_then(|text| text.split_once(": ")) {
        Some((name, reason)) => Problem::field(name, humanize(reason)),
        None => Problem::field("query", humanize(text.unwrap_or("cannot be read"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<String> {
        ["status", "queue", "limit"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_parameter_that_is_unknown_or_given_twice_is_named() {
        for (query, field, said) in [
            ("stauts=dead", "stauts", "did you mean status?"),
            ("Status=dead", "Status", "did you mean status?"),
            ("stauts=", "stauts", "did you mean status?"),
            ("limt", "limt", "did you mean limit?"),
            ("color=red", "color", "takes status, queue, limit"),
            ("=x", "", "takes status"),
            ("status=dead&status=failed", "status", "twice"),
            ("status=dead&status=dead", "status", "twice"),
            ("limit=1&%6Cimit=2", "limit", "twice"),
        ] {
            let uri = format!("/?{query}").parse().unwrap();
            let problem = check(&uri, &known()).unwrap_err();
            assert_eq!(
                (problem.status, problem.errors[0].field.as_str()),
                (422, field)
            );
            assert!(problem.detail.contains(said), "{query}: {}", problem.detail);
        }
        for query in [
            "",
            "status=&queue=&limit=",
            "status&status=",
            "status=&status=dead",
            "&&",
        ] {
            let uri = format!("/?{query}").parse().unwrap();
            assert!(check(&uri, &known()).is_ok(), "{query}");
        }
        let problem = check(&"/?x=1".parse().unwrap(), &[]).unwrap_err();
        assert!(problem.detail.contains("takes none"), "{}", problem.detail);
    }

    #[tokio::test]
    async fn an_empty_parameter_is_as_good_as_none() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Wanted {
            status: Option<String>,
            limit: Option<usize>,
        }
        let read = async |query: &str| {
            let request = http::Request::get(format!("/?{query}")).body(()).unwrap();
            let mut parts = request.into_parts().0;
            let read = QueryParams::<Wanted>::from_request_parts(&mut parts, &()).await;
            read.map(|QueryParams(it)| (it.status, it.limit))
        };
        for query in [
            "",
            "status=&limit=",
            "status&limit",
            "&",
            "status=&limit=&x=",
        ] {
            assert_eq!(read(query).await.unwrap(), (None, None), "{query}");
        }
        let (status, limit) = read("limit=7&status=a%26b%3D").await.unwrap();
        assert_eq!((status.as_deref(), limit), (Some("a&b="), Some(7)));
        for bad in [
            "limit=x",
            "limit=-1",
            "limit=1.5",
            "limit=99999999999999999999999",
        ] {
            let problem = read(bad).await.unwrap_err();
            assert_eq!(
                problem.errors[0].field, "limit",
                "{bad}: {}",
                problem.detail
            );
        }
    }
}
