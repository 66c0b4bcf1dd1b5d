//! Connections, and whether the server is there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_postgres::{Client, Config, Row, Statement};

use super::{
    call::{Call, Trouble},
    tls::Tls,
};
use crate::{Error, StoreOptions};

/// Statements that a connection keeps prepared. Searches have many forms.
const STATEMENTS: usize = 512;

/// Whether the server is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody knows yet.
    Starting,
    /// It is, since the connection of this number.
    Up(u64),
    /// It is not, for this reason.
    Down(Error),
}

/// The connections of this process to one database.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) config: Config,
    pub(super) tls: Tls,
    pub(super) timeout: Duration,
    idle: Mutex<Vec<Session>>,
    places: Arc<Semaphore>,
    pub(super) state: watch::Sender<State>,
}

impl Pool {
    pub(super) fn new(config: Config, options: &StoreOptions) -> Result<Self, Error> {
        Ok(Self {
            config,
            tls: Tls::new(options.authority.as_deref())?,
            timeout: options.timeout,
            idle: Mutex::default(),
            places: Arc::new(Semaphore::new(options.connections)),
            state: watch::Sender::new(State::Starting),
        })
    }

    /// A connection. While the server is away there is none, at once.
    pub(super) async fn session(self: &Arc<Self>) -> Result<Lent, Error> {
        let generation = self.generation().await?;
        let place = timeout(self.timeout, self.places.clone().acquire_owned()).await;
        let place = place.map_err(|_| {
            let busy = "every connection is in use, see database_connections";
            Error::Unavailable(busy.to_owned())
        })?;
        let place = place.map_err(|_| Error::Unavailable("it is being closed".to_owned()))?;
        let session = loop {
            let idle = self.idle.lock().pop();
            match idle {
                Some(idle) if idle.generation == generation && !idle.client.is_closed() => {
                    break idle;
                }
                Some(_) => {}
                None => break self.connect(generation).await?,
            }
        };
        Ok(Lent {
            session: Some(session),
            in_transaction: false,
            whole: true,
            pool: self.clone(),
            _place: place,
        })
    }

    /// Whether there may be a connection.
    pub(super) async fn is_up(&self) -> Result<(), Error> {
        self.generation().await.map(drop)
    }

    /// The number of the connection that found the server up.
    async fn generation(&self) -> Result<u64, Error> {
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| *state != State::Starting);
        match timeout(self.timeout, known).await {
            Ok(Ok(state)) => match &*state {
                State::Up(generation) => Ok(*generation),
                State::Down(reason) => Err(reason.clone()),
                State::Starting => Err(silent()),
            },
            _ => Err(silent()),
        }
    }

    async fn connect(&self, generation: u64) -> Result<Session, Error> {
        let connected = timeout(self.timeout, self.config.connect(self.tls.clone())).await;
        let (client, connection) = connected.map_err(|_| silent())??;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Whoever waits for an answer hears of it.
            connection.await.ok();
        });
        Ok(Session {
            client,
            timeout: self.timeout,
            statements: HashMap::new(),
            generation,
            _task: task,
        })
    }

    /// Forgets connections that nobody uses: the server is away.
    pub(super) fn forget(&self) {
        self.idle.lock().clear();
    }
}

/// What a server that does not answer is called.
pub(super) fn silent() -> Error {
    Error::Unavailable("it does not answer in time".to_owned())
}

/// A connection and what is prepared on it.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    timeout: Duration,
    statements: HashMap<String, Statement>,
    generation: u64,
    _task: JoinSet<()>,
}

impl Session {
    /// Carries calls out one after the other, sent in one go: the rows of each.
    async fn run(&mut self, calls: &[Call<'_>]) -> Result<Vec<Vec<Row>>, Trouble> {
        let statements = self.prepared(calls).await?;
        let client = &self.client;
        let sent = calls
            .iter()
            .zip(&statements)
            .map(|(call, statement)| async move {
                let params = call.params();
                match statement {
                    Some(statement) => client.query(statement, &params).await,
                    None => client.batch_execute(&call.sql).await.map(|()| Vec::new()),
                }
            });
        // Each is sent when it is polled first, which is in order.
        let answers = timeout(self.timeout, futures_util::future::join_all(sent)).await;
        let answers = answers.map_err(|_| silent())?;
        let rows: Result<_, _> = answers.into_iter().collect();
        Ok(rows?)
    }

    /// The statements of calls; those of a plain text are not prepared.
    async fn prepared(&mut self, calls: &[Call<'_>]) -> Result<Vec<Option<Statement>>, Trouble> {
        let missing = calls
            .iter()
            .filter(|call| !call.plain && !self.statements.contains_key(&*call.sql));
        let mut missing: Vec<&str> = missing.map(|call| &*call.sql).collect();
        if !missing.is_empty() {
            missing.sort_unstable();
            missing.dedup();
            if self.statements.len() + missing.len() > STATEMENTS {
                self.statements.clear();
            }
            let client = &self.client;
            let prepared = missing.iter().map(|sql| client.prepare(sql));
            let prepared = timeout(self.timeout, futures_util::future::join_all(prepared)).await;
            for (sql, statement) in missing.into_iter().zip(prepared.map_err(|_| silent())?) {
                self.statements.insert(sql.to_owned(), statement?);
            }
            // Others of these calls may have been forgotten.
            if calls
                .iter()
                .any(|call| !call.plain && !self.statements.contains_key(&*call.sql))
            {
                return Box::pin(self.prepared(calls)).await;
            }
        }
        let statement = |call: &Call<'_>| self.statements.get(&*call.sql).cloned();
        Ok(calls.iter().map(statement).collect())
    }
}

/// A connection in use. It is used again if all went well and no transaction is open.
#[derive(Debug)]
pub(super) struct Lent {
    session: Option<Session>,
    in_transaction: bool,
    whole: bool,
    pool: Arc<Pool>,
    _place: OwnedSemaphorePermit,
}

impl Lent {
    /// Ends a transaction after something that is no error of the server.
    pub(super) async fn roll_back(&mut self) -> Result<(), Trouble> {
        self.run(&[Call::plain("ROLLBACK")]).await?;
        Ok(())
    }

    /// Carries calls out one after the other, sent in one go: the rows of each.
    pub(super) async fn run(&mut self, calls: &[Call<'_>]) -> Result<Vec<Vec<Row>>, Trouble> {
        // Until all answers are there nobody else can use it, and none does if this ends before.
        self.whole = false;
        let Some(session) = &mut self.session else {
            return Err(silent().into());
        };
        let rows = session.run(calls).await?;
        for call in calls.iter().filter(|call| call.plain) {
            self.in_transaction = call.sql.starts_with("BEGIN")
                || (self.in_transaction && !matches!(&*call.sql, "COMMIT" | "ROLLBACK"));
        }
        self.whole = !self.in_transaction;
        Ok(rows)
    }

    /// The rows of one call.
    pub(super) async fn rows(&mut self, call: Call<'_>) -> Result<Vec<Row>, Trouble> {
        let mut rows = self.run(&[call]).await?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// The first row of one call.
    pub(super) async fn first(&mut self, call: Call<'_>) -> Result<Option<Row>, Trouble> {
        Ok(self.rows(call).await?.into_iter().next())
    }

    /// Carries calls out as one transaction, sent in one go. On an error nothing of it is stored.
    pub(super) async fn transaction(
        &mut self,
        mut calls: Vec<Call<'_>>,
    ) -> Result<Vec<Vec<Row>>, Trouble> {
        calls.insert(0, Call::plain("BEGIN"));
        calls.push(Call::plain("COMMIT"));
        let mut rows = self.run(&calls).await?;
        rows.pop();
        rows.remove(0);
        Ok(rows)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(session) = self.session.take().filter(|_| self.whole) {
            self.pool.idle.lock().push(session);
        }
    }
}
