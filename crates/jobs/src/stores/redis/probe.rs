//! What a Redis says of itself, for people who look for a mistake. Nothing is written.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use redis::{RedisResult, Value, cmd};

use super::{dial::Server, refusal};

/// What was seen of one Redis, or of the nodes of a cluster.
#[derive(Debug, Clone)]
pub struct RedisProbe {
    /// Its address, without user and password.
    pub address: String,
    /// The fields of INFO of each server.
    pub servers: Vec<BTreeMap<String, String>>,
    /// Its time, and when ours was between that of the question and that of the answer.
    pub time: Option<(SystemTime, SystemTime)>,
    /// How long the answer about the time took.
    pub took: Duration,
}

/// Asks the Redis of an address, as `redis_url` has it, for INFO and TIME.
///
/// # Errors
/// Why it cannot be asked, and what to do.
pub async fn probe(
    address: &str,
    authority: Option<&Path>,
    limit: Duration,
) -> Result<RedisProbe, String> {
    let pem = authority.map(|path| {
        let pem = std::fs::read(path);
        pem.map(Arc::new)
            .map_err(|error| format!("redis_cacert {}: {error}", path.display()))
    });
    let server = Server::new(address, pem.transpose()?);
    let server = server.map_err(|error| refusal::text(&error))?;
    let asked = tokio::time::timeout(limit, ask(&server, limit)).await;
    let asked = asked.map_err(|_| format!("no answer within {limit:?}"))?;
    asked.map_err(|error| refusal::text(&error))
}

async fn ask(server: &Server, limit: Duration) -> RedisResult<RedisProbe> {
    let (mut connection, place) = server.dial(Some(limit)).await?;
    let mut servers = Vec::new();
    add(&connection.send(&cmd("INFO")).await?, &mut servers);
    let asked = SystemTime::now();
    let answer = connection.send(&cmd("TIME")).await;
    let took = asked.elapsed().unwrap_or_default();
    Ok(RedisProbe {
        address: place.unwrap_or_else(|| server.address()),
        servers,
        // Who may not ask for the time is told nothing about it.
        time: answer
            .ok()
            .and_then(|answer| time(&answer))
            .map(|it| (it, asked + took / 2)),
        took,
    })
}

/// The answer of one server, or of several.
fn add(answer: &Value, servers: &mut Vec<BTreeMap<String, String>>) {
    let text = match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.into(),
        Value::Array(values) => return values.iter().for_each(|value| add(value, servers)),
        Value::Map(pairs) => return pairs.iter().for_each(|(_, value)| add(value, servers)),
        _ => return,
    };
    let fields = text.lines().filter_map(|line| line.trim().split_once(':'));
    servers.push(
        fields
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    );
}

fn time(answer: &Value) -> Option<SystemTime> {
    let (seconds, micros): (u64, u64) = redis::from_redis_value_ref(answer).ok()?;
    let since = Duration::from_secs(seconds) + Duration::from_micros(micros);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_every_server_are_read() {
        let one = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let answer = Value::Map(vec![
            (
                Value::Nil,
                one("# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n"),
            ),
            (Value::Nil, one("aof_enabled:1\r\n")),
        ]);
        let mut servers = Vec::new();
        add(&answer, &mut servers);
        assert_eq!(servers.len(), 2);
        assert_eq!(servers[0]["maxmemory_policy"], "noeviction");
        assert_eq!(servers[1]["aof_enabled"], "1");
    }

    #[test]
    fn the_time_is_seconds_and_microseconds() {
        let answer = Value::Array(vec![
            Value::BulkString(b"7".to_vec()),
            Value::BulkString(b"500000".to_vec()),
        ]);
        let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(7500);
        assert_eq!(time(&answer), Some(expected));
    }
}
