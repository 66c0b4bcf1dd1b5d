//! How many event streams are open at once: in all, and of each client.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use service::clients::client_key;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Problem, ProblemKind};

/// Counts the streams of events.
#[derive(Debug)]
pub(crate) struct EventStreams {
    all: Arc<Semaphore>,
    max_per_client: usize,
    clients: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A stream, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    _permit: OwnedSemaphorePermit,
    client: Option<IpAddr>,
    clients: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl EventStreams {
    pub(crate) fn new(all: usize, max_per_client: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            max_per_client,
            clients: Arc::default(),
        }
    }

    /// One more stream of a client.
    ///
    /// # Errors
    /// 429 when the client has as many as it may, 503 when all clients together have.
    pub(crate) fn acquire(&self, client: Option<IpAddr>) -> Result<StreamPermit, Problem> {
        let permit = self.all.clone().try_acquire_owned().map_err(|_| {
            let text = "max_event_streams event streams are open already: try again later";
            Problem::new(ProblemKind::Unavailable, text)
        })?;
        let client = client.map(client_key);
        if let Some(client) = client {
            let mut clients = self.clients.lock();
            let open = clients.entry(client).or_default();
            if *open >= self.max_per_client {
                let text = "this client has client_max_event_streams event streams open already: close \
                            one first";
                let mut problem = Problem::new(ProblemKind::TooManyRequests, text);
                problem.retry_after = Some(1);
                return Err(problem);
            }
            *open += 1;
        }
        Ok(StreamPermit {
            _permit: permit,
            client,
            clients: self.clients.clone(),
        })
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut clients = self.clients.lock();
        if let Some(open) = clients.get_mut(&client) {
            *open -= 1;
            if *open == 0 {
                clients.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_streams_for_the_others() {
        let streams = EventStreams::new(3, 2);
        let [one, other] = ["1.1.1.1", "2.2.2.2"].map(|ip| Some(ip.parse().unwrap()));
        let held = [streams.acquire(one).unwrap(), streams.acquire(one).unwrap()];
        assert_eq!(streams.acquire(one).unwrap_err().status, 429);
        let third = streams.acquire(other).unwrap();
        assert_eq!(streams.acquire(other).unwrap_err().status, 503);
        drop((held, third));
        assert!(streams.clients.lock().is_empty(), "nobody is remembered");
        assert!(streams.acquire(one).is_ok());
    }
}
