//! Profiles over HTTP, at the paths that `go tool pprof` knows.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use profile::{Error, Kind, LONGEST, USUAL};
use tracing::{info, warn};

use crate::{
    ActiveTasks, Context, RequestBody,
    admin::access,
    answers::{self, Answer, text},
    port::Port,
    socket,
};

/// What every path begins with.
const ROOT: &str = "/debug/pprof";
/// The parameter of a CPU profile.
const SECONDS: &str = "seconds";

/// A profile: its name, and what it is.
const PROFILES: [(&str, Kind, &str); 4] = [
    (
        "profile",
        Kind::Cpu,
        "where CPU time goes, for ?seconds=30, at most 60",
    ),
    ("heap", Kind::Heap, "memory in use by who allocated it"),
    (
        "allocs",
        Kind::Allocs,
        "all memory allocated since the start",
    ),
    (
        "goroutine",
        Kind::Tasks,
        "running tasks by where they were spawned",
    ),
];

/// Serves until the context's `shutdown`, where the keys ask for it.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) fn start(context: &Arc<Context>, port: &Port) -> anyhow::Result<Option<SocketAddr>> {
    let keys = &context.keys.admin;
    if !keys.enable_pprof {
        return Ok(None);
    }
    let (address, number) = (&keys.pprof_address, keys.pprof_port);
    let listener = socket::bind("pprof_address", address, "PPROF_PORT", number)?;
    let address = listener.local_addr()?;
    if profile::BUILT_IN {
        info!(pprof = %address, "serving profiles");
    } else {
        warn!(pprof = %address,
            "enable_pprof: profiles are not built into this program: PPROF=1 make build");
    }
    let (tasks, shutdown) = (context.tracker.clone(), context.shutdown.clone());
    let port = port.another().with_owner(tasks, shutdown.clone(), shutdown);
    let service = tower::service_fn(|request: Request<RequestBody>| async move {
        Ok::<_, Infallible>(answer(&request).await)
    });
    crate::http::serve(&port, listener, &ActiveTasks::default(), service);
    Ok(Some(address))
}

async fn answer<B>(request: &Request<B>) -> Answer {
    if let Some(refused) = access::web_page(request) {
        return refused;
    }
    let path = request.uri().path().trim_end_matches('/');
    let name = path.strip_prefix(ROOT);
    if request.method() != Method::GET {
        let words = text(StatusCode::METHOD_NOT_ALLOWED, "expected GET");
        return answers::allowing(words, "GET");
    }
    if name == Some("") {
        return text(StatusCode::OK, &index());
    }
    let name = name.and_then(|name| name.strip_prefix('/'));
    let Some((name, kind, _)) = PROFILES.iter().find(|(known, ..)| Some(*known) == name) else {
        return text(StatusCode::NOT_FOUND, &index());
    };
    let time = match seconds(*kind, request.uri().query()) {
        Ok(time) => time,
        Err(expected) => return text(StatusCode::BAD_REQUEST, &expected),
    };
    match profile::take(*kind, time).await {
        Ok(profile) => file(name, profile),
        Err(error) => {
            let status = match error {
                Error::NotBuiltIn(_) => StatusCode::NOT_IMPLEMENTED,
                Error::Busy => StatusCode::CONFLICT,
                Error::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            text(status, &error.to_string())
        }
    }
}

/// How long a profile takes.
fn seconds(kind: Kind, query: Option<&str>) -> Result<Duration, String> {
    let mut time = USUAL;
    let pairs = query.unwrap_or_default().split('&');
    for pair in pairs.filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, kind) {
            (SECONDS, Kind::Cpu) => {}
            (_, Kind::Cpu) => return Err(format!("{name}: unknown parameter, expected {SECONDS}")),
            _ => return Err(format!("{name}: unknown parameter, expected none")),
        }
        let number = value.parse().ok().map(Duration::from_secs);
        time = number
            .filter(|time| !time.is_zero() && *time <= LONGEST)
            .ok_or_else(|| {
                let most = LONGEST.as_secs();
                format!("{SECONDS}={value}: expected a whole number from 1 to {most}")
            })?;
    }
    Ok(time)
}

fn index() -> String {
    let rows = PROFILES.map(|(name, _, about)| format!("{ROOT}/{name}  {about}"));
    rows.join("\n")
}

/// A profile as a file, for those who keep it.
fn file(name: &str, profile: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(profile)));
    let headers = answer.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    let disposition = format!("attachment; filename=\"{name}.pb.gz\"");
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_from_one_to_sixty_seconds() {
        let cpu = |query| seconds(Kind::Cpu, query);
        assert_eq!(cpu(None), Ok(USUAL));
        assert_eq!(cpu(Some("seconds=60")), Ok(LONGEST));
        for (query, named) in [
            ("seconds=x", "seconds=x"),
            ("seconds=0", "from 1 to 60"),
            ("seconds=61", "from 1 to 60"),
            ("seconds=-1", "from 1 to 60"),
            ("seconds", "seconds=:"),
            ("second=1", "second: unknown"),
        ] {
            let expected = cpu(Some(query)).unwrap_err();
            assert!(expected.contains(named), "{query}: {expected}");
        }
        assert!(seconds(Kind::Heap, Some("seconds=1")).is_err());
    }
}
