//! The connection that listens: it tells what others change, and whether the server is there.

use std::{future::poll_fn, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, config::Host};

use super::{
    migrate,
    pool::{Pool, State, silent},
};
use crate::{Changes, Error, hub::Hub};

/// What changes are told by.
pub(super) const CHANNEL: &str = "mesh_runs";
/// How often a quiet server is asked whether it is there.
const PING: Duration = Duration::from_secs(2);
/// The first and the longest wait before the next attempt to reach a server that is away.
const WAITS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Everything may have changed.
const ALL: Changes = Changes {
    inbox: u64::MAX,
    queued: u64::MAX,
    commands: u64::MAX,
    events: u64::MAX,
    answers: true,
};

/// Listens for as long as the store is open.
pub(super) async fn listen(pool: Arc<Pool>, hub: Arc<Hub>, own: u64) {
    let mut wait = WAITS[0];
    let mut generation = 0;
    loop {
        generation += 1;
        let reason = match connected(&pool, &hub, own, generation).await {
            Ok(reason) => {
                wait = WAITS[0];
                reason
            }
            Err(reason) => reason,
        };
        let before = pool.state.send_replace(State::Down(reason.clone()));
        pool.forget();
        if !matches!(before, State::Down(_)) {
            tracing::warn!(server = %name(&pool.config), %reason, "the store of workflows is away");
        }
        sleep(wait).await;
        wait = (wait * 2).min(WAITS[1]);
    }
}

/// Where a server is, without credentials.
pub(super) fn name(config: &tokio_postgres::Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(host) => host.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let hosts = hosts.collect::<Vec<_>>().join(",");
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let database = config.get_dbname().unwrap_or_default();
    format!("postgres://{hosts}:{port}/{database}")
}

/// Why the connection ended after it was there; an error, why it never was.
async fn connected(pool: &Pool, hub: &Hub, own: u64, generation: u64) -> Result<Error, Error> {
    let connecting = timeout(pool.timeout, pool.config.connect(pool.tls.clone())).await;
    let (client, mut connection) = connecting.map_err(|_| silent())??;
    let messages = async {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(news))) => {
                    if let Some(changes) = read(news.payload(), own) {
                        hub.publish(changes);
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Error::from(error),
                None => return Error::Unavailable("it closed the connection".to_owned()),
            }
        }
    };
    let asks = async {
        migrate::migrate(&client).await?;
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        // What happened while nobody listened is unknown.
        hub.publish(ALL);
        if let State::Down(_) = pool.state.send_replace(State::Up(generation)) {
            tracing::info!(server = %name(&pool.config), "the store of workflows is there again");
        }
        Ok(ping(&client, pool.timeout).await)
    };
    tokio::select! {
        reason = messages => Err(reason),
        ended = asks => ended,
    }
}

/// Asks until there is no answer.
async fn ping(client: &Client, limit: Duration) -> Error {
    loop {
        sleep(PING).await;
        match timeout(limit, client.batch_execute("")).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return silent(),
        }
    }
}

/// Changes as they are told: who tells, and what. Programs of before read the first four.
pub(super) fn text(changes: Changes, own: u64) -> String {
    let Changes {
        inbox,
        queued,
        commands,
        events,
        answers,
    } = changes;
    let answers = u8::from(answers);
    format!("{own:x} {inbox:x} {events:x} {answers} {queued:x} {commands:x}")
}

/// Changes that another process tells of. What is of another form may be anything.
fn read(payload: &str, own: u64) -> Option<Changes> {
    let mut numbers = payload
        .split(' ')
        .map(|text| u64::from_str_radix(text, 16).ok());
    let mut next = || numbers.next().flatten();
    let read = (|| Some((next()?, next()?, next()?, next()?)))();
    let Some((from, inbox, events, answers)) = read else {
        return Some(ALL);
    };
    let (queued, commands) = (next().unwrap_or(inbox), next().unwrap_or(inbox));
    (from != own).then_some(Changes {
        inbox,
        queued,
        commands,
        events,
        answers: answers > 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_to_others_and_anything_else_is_everything() {
        let changes = Changes {
            inbox: 1 << 63,
            queued: 1 << 63,
            commands: 0,
            events: 5,
            answers: true,
        };
        assert_eq!(read(&text(changes, 7), 8), Some(changes));
        assert_eq!(read(&text(changes, 7), 7), None);
        assert_eq!(read("what", 7), Some(ALL));
        let before = read("8 2 5 1", 7).unwrap();
        assert_eq!((before.inbox, before.queued, before.commands), (2, 2, 2));
    }
}
