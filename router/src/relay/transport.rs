//! Where the engine's connections lead, and where they come from.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use mesh_relay::{
    Endpoint, Engine, Id,
    driver::{Command, DialFuture, Dialed, EngineStats, Transport},
    hpack::Block,
};
use proto::MeshCause;
use service::{
    call_log::FinishedCall,
    clients::{ClientConnection, LimitExceeded, X_FORWARDED_FOR},
};
use tokio::time::sleep;
use tonic::Status;

use super::{
    call::Call,
    handshake::handshake,
    host::{LOCAL, RouterHost},
};
use crate::routing::head::RequestHead;

impl Transport for RouterHost {
    fn dial(&mut self, to: Endpoint, preface: &Arc<[u8]>) -> DialFuture {
        if to == LOCAL {
            let backend = self.shared.backend.clone();
            return Box::pin(
                async move { Ok(Dialed::without_handshake(Box::new(backend.connect()))) },
            );
        }
        let Some(peer) = self.peers.get(&to).map(|entry| entry.peer.clone()) else {
            return Box::pin(async { Err(io::Error::other("the instance is gone")) });
        };
        let (commands, preface) = (self.commands.clone(), Arc::clone(preface));
        Box::pin(async move {
            let connecting = peer.connect(|stream| handshake(stream, preface));
            tokio::pin!(connecting);
            tokio::select! {
                outcome = connecting.as_mut() => outcome,
                () = sleep(peer.connect_patience()) => {
                    let slow = Command::Do(Box::new(move |engine: &mut Engine<Self>| {
                        engine.on_connect_slow(to);
                    }));
                    // When too many commands wait, the calls wait for the connection itself.
                    commands.try_send(slow).ok();
                    connecting.await
                }
            }
        })
    }

    fn accepted(&mut self, client: Id, from: SocketAddr) -> Result<(), &'static str> {
        let connection = self.shared.backend.clients.connect(from);
        let connection = connection.map_err(|LimitExceeded(key)| key)?;
        let known = self.clients.entry(client).or_default();
        known.from = Some(from);
        known.connection = Some(connection);
        Ok(())
    }

    fn disconnected(&mut self, client: Id) {
        self.clients.remove(&client);
    }

    fn report(&mut self, stats: EngineStats) {
        self.gauges.report(stats);
    }
}

impl RouterHost {
    /// Counts a call against the limits of its client, and keeps what its end is written down with.
    pub(super) fn admit(&self, call: &mut Call, client: Id, request: &Block) -> Result<(), Status> {
        let Some(connection) = self.connection(client) else {
            return Ok(());
        };
        // Without limits, a log and a trace the client does not matter.
        let logs = self.shared.backend.call_log.is_on();
        if !connection.counts_calls() && !logs && call.trace.sampled().is_none() {
            return Ok(());
        }
        let head = RequestHead::new(request);
        if head.is_probe() {
            return Ok(());
        }
        let address = address(connection, request);
        call.address = Some(address);
        let fields = request.fields().map(|field| (field.name, field.value));
        call.head = self.shared.backend.call_log.begin(Some(address), fields);
        if connection.counts_calls() {
            let permit = connection.call(address).map_err(LimitExceeded::status)?;
            call.permit = Some(permit);
        }
        Ok(())
    }

    fn connection(&self, client: Id) -> Option<&ClientConnection> {
        self.clients.get(&client)?.connection.as_ref()
    }

    /// A request was refused before it became a call. `request` may lack fields.
    pub(super) fn refused_unread(&self, client: Id, request: &Block, status: &Status) {
        let backend = &self.shared.backend;
        let method = backend.calls.method(RequestHead::new(request).path());
        let code = status.code() as i32;
        let calls = &backend.calls;
        calls.observe_for(None, &method, code, Duration::ZERO, None);
        if !backend.call_log.is_on() {
            return;
        }
        let client = self.connection(client);
        let client = client.map(|connection| address(connection, request));
        let fields = request.fields().map(|field| (field.name, field.value));
        let head = backend.call_log.begin(client, fields);
        let call = FinishedCall {
            method: method.name(),
            status: code,
            cause: MeshCause::of(status),
            ..FinishedCall::default()
        };
        backend.call_log.end(head.as_deref(), &call);
    }
}

/// The client behind a request, which a trusted proxy may name.
fn address(connection: &ClientConnection, request: &Block) -> IpAddr {
    if !connection.is_proxy() {
        return connection.address(std::iter::empty());
    }
    let name = X_FORWARDED_FOR.as_bytes();
    let fields: Vec<_> = request.fields().filter(|f| f.name == name).collect();
    let values = fields.iter();
    connection.address(values.filter_map(|f| std::str::from_utf8(f.value).ok()))
}
