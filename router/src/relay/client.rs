//! What the router keeps for a client's connection.

use std::sync::{Arc, Weak};

use channel::{Burst, Target};
use mesh_relay::hpack::Block;
use service::clients::Connection;
use telemetry::rpc::{Method, ServerCalls};

use super::head::BlockHead;
use crate::{directory::View, forward::INSTANCE, routes::Head as _};

/// A client's connection.
#[derive(Default)]
pub(super) struct Client {
    /// Where it comes from, where a limit or a log asks for that.
    pub(super) connection: Option<Connection>,
    /// Calls under way.
    pub(super) calls: usize,
    /// Where the last of them went.
    pub(super) burst: Burst,
    last: Option<Last>,
}

/// A request that had its route by its head alone: those that repeat it have the same.
struct Last {
    /// [`Block::number`]
    number: u64,
    /// As long as nobody has come or gone.
    view: Weak<View>,
    asked: Arc<Asked>,
    target: Arc<Target>,
}

/// What a request's head says.
pub(super) struct Asked {
    pub(super) method: Method,
    /// The caller says that it may run twice.
    pub(super) declared: bool,
    /// The only instance that may take it.
    pub(super) pinned: Option<Arc<str>>,
}

impl Asked {
    pub(super) fn by(head: BlockHead<'_>, calls: &ServerCalls) -> Self {
        let id = head.metadata(INSTANCE.as_str());
        Self {
            method: calls.method(head.path()),
            declared: head.metadata("x-mesh-idempotent").is_some(),
            pinned: id.map(|id| String::from_utf8_lossy(id).as_ref().into()),
        }
    }
}

impl Client {
    /// What is known already of a request that repeats the last one.
    pub(super) fn repeated(
        &self,
        request: &Block,
        view: &Arc<View>,
    ) -> Option<(Arc<Asked>, Arc<Target>)> {
        let last = self.last.as_ref()?;
        let known =
            request.number() == Some(last.number) && last.view.as_ptr() == Arc::as_ptr(view);
        known.then(|| (Arc::clone(&last.asked), Arc::clone(&last.target)))
    }

    /// Whom a request was for, by its head and this view. Nothing is kept of a method that may yet
    /// become known.
    pub(super) fn remember(
        &mut self,
        request: &Block,
        view: &Arc<View>,
        asked: &Arc<Asked>,
        target: &Arc<Target>,
    ) {
        self.last = request
            .number()
            .filter(|_| asked.method.is_known())
            .map(|number| Last {
                number,
                view: Arc::downgrade(view),
                asked: Arc::clone(asked),
                target: Arc::clone(target),
            });
    }

    /// A call is over.
    pub(super) fn ended(&mut self) {
        self.calls -= 1;
        if self.calls == 0 {
            // Who calls one at a time has the next one placed as if it were the first.
            self.burst = Burst::default();
        }
    }
}
