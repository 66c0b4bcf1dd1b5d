//! The refusals of a Redis that answers, and what to do about each.

use redis::{ErrorKind, RedisError};

/// What follows from an answer of this code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    /// What a person does about it.
    advice: &'static str,
    /// The server is not the one it was, or not as this connection knew it: connect anew.
    pub(super) renew: bool,
}

const fn row(code: &'static str, renew: bool, advice: &'static str) -> Refusal {
    Refusal {
        code,
        advice,
        renew,
    }
}

/// Every such answer that waiting, or a person's doing, brings to an end.
const ROWS: &[Refusal] = &[
    row(
        "READONLY",
        true,
        "it is a replica: let redis_url lead to the primary, by an address that follows a failover or by redis+sentinel://",
    ),
    row(
        "MASTERDOWN",
        true,
        "it is a replica that has lost its primary: let redis_url lead to the primary",
    ),
    row(
        "CLUSTERDOWN",
        true,
        "the cluster has slots without a node: see CLUSTER INFO",
    ),
    row(
        "NOREPLICAS",
        true,
        "fewer replicas are in step than its min-replicas-to-write",
    ),
    row(
        "LOADING",
        true,
        "it reads its data in after a start, which takes a while",
    ),
    row("UNBLOCKED", true, "it has become a replica"),
    row("NOAUTH", true, "give user and password in redis_url"),
    row("WRONGPASS", true, "user or password in redis_url is wrong"),
    row(
        "NOPERM",
        true,
        "its user lacks rights: the guide to jobs lists those that are needed",
    ),
    row(
        "OOM",
        false,
        "it is full: raise its maxmemory or make room; jobs that it has go on",
    ),
    row(
        "MISCONF",
        false,
        "it cannot save to its disk: make room there, its log says more",
    ),
    row("TRYAGAIN", false, "slots of the cluster are on the move"),
    row("BUSY", false, "somebody's script has kept it busy for long"),
];

/// The row of an error, if it is one of those.
pub(super) fn of(error: &RedisError) -> Option<&'static Refusal> {
    let code = match error.kind() {
        // Those that say that authentication failed have no code of their own.
        ErrorKind::AuthenticationFailed => "WRONGPASS",
        _ => error.code()?,
    };
    // Within a script, some versions put the code behind `ERR`.
    let row = ROWS.iter().find(|row| row.code == code);
    row.or_else(|| {
        let detail = error.detail()?;
        if detail.contains("The user executing the script") {
            return ROWS.iter().find(|row| row.code == "NOPERM");
        }
        ROWS.iter()
            .find(|row| detail.split_whitespace().any(|word| word == row.code))
    })
}

/// The error's text, and what to do. The text does not depend on the script that met the error.
pub(super) fn text(error: &RedisError) -> String {
    // As Redis says it, and not as the client's library prints it.
    let said = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    let said = match said.find(" script: ") {
        Some(end) => &said[..end],
        None => &said,
    };
    let said = said.trim_end_matches(['.', ' ']);
    match of(error) {
        Some(row) => format!("{said} ({})", row.advice),
        None if error.is_io_error() => format!("cannot be reached: {said}"),
        None => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn every_refusal_is_told_with_what_to_do_and_without_the_script_that_met_it() {
        for row in ROWS {
            let line = format!("{} no. script: f00, on @user_script:14.", row.code);
            let error = error(&line);
            assert_eq!(of(&error), Some(row), "{}", row.code);
            let text = text(&error);
            assert!(text.contains(row.advice) && !text.contains("f00"), "{text}");
        }
        assert_eq!(of(&error("ERR syntax error")), None);
    }
}
