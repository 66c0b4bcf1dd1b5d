//! Facts of a call → where it goes.

use std::sync::Arc;

use channel::Target;
use directory::DirectorySnapshot;
use tonic::Status;

use super::{
    head::RequestHead,
    request::{SESSION, metadata_text},
    route::{self, Route},
};
use crate::scanner::{Fields, Progress, ScanError, Scanner};

/// Where a call goes, as far as its facts tell.
#[derive(Debug)]
pub(crate) enum Decision {
    /// To the router itself.
    Local,
    /// By its first message, of which more is needed.
    ReadMessage(&'static Fields),
    /// The registry has not answered yet: the same facts decide once it has.
    AwaitDirectory,
    /// To an instance of this target.
    Forward(Target),
}

/// Decides by the head of a request. `pinned` is the only instance that may take it.
///
/// # Errors
/// The status that the caller gets: the call goes nowhere.
pub(crate) fn by_head(
    head: RequestHead<'_>,
    pinned: Option<&Arc<str>>,
    snapshot: &DirectorySnapshot,
) -> Result<Decision, Status> {
    Ok(match route::route(head) {
        Route::Local => Decision::Local,
        Route::Message(fields) => Decision::ReadMessage(fields),
        Route::Metadata => {
            let session = metadata_text(head, SESSION)?.unwrap_or_default();
            if !snapshot.ready() {
                return Ok(Decision::AwaitDirectory);
            }
            forward(route::by_metadata(snapshot, head)?, session, pinned)
        }
    })
}

/// The route of a call by its first message, while that is read.
#[derive(Debug)]
pub(crate) struct MessageRoute {
    scanner: Box<Scanner>,
    fields: &'static Fields,
    authority: Authority,
    /// The session that the metadata gives.
    session: Option<Box<str>>,
    /// The message is complete.
    complete: bool,
}

/// The service that the authority names, for a message that names none.
#[derive(Debug)]
enum Authority {
    Known(Option<Arc<str>>),
    /// The directory was not ready when the head was read: the host, to be looked up later.
    Host(Option<Box<str>>),
}

impl MessageRoute {
    /// Nothing of the message is read yet.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for metadata that is not text.
    pub(crate) fn new(
        head: RequestHead<'_>,
        fields: &'static Fields,
        snapshot: &DirectorySnapshot,
        max_message_bytes: u64,
    ) -> Result<Self, Status> {
        let scanner = Scanner::new(fields)
            .max_message_bytes(max_message_bytes)
            .encoding(metadata_text(head, "grpc-encoding")?);
        let authority = if snapshot.ready() {
            Authority::Known(route::by_host(snapshot, head.host()))
        } else {
            Authority::Host(head.host().map(Into::into))
        };
        Ok(Self {
            scanner: Box::new(scanner),
            fields,
            authority,
            session: metadata_text(head, SESSION)?.map(Into::into),
            complete: false,
        })
    }

    /// Reads the next bytes, `end` with the last; true when [`Self::decide`] may decide by them.
    ///
    /// # Errors
    /// When they are no such message.
    pub(crate) fn read(&mut self, bytes: &[u8], end: bool) -> Result<bool, ScanError> {
        let progress = self.scanner.read(bytes, end)?;
        self.complete = matches!(progress, Progress::Complete | Progress::Missing);
        Ok(progress != Progress::Reading)
    }

    /// Decides by what was read. `wants_session`: the policy of a service depends on the session, which
    /// is the last field of a message of `agentplatform`.
    ///
    /// # Errors
    /// The status that the caller gets: the call goes nowhere.
    pub(crate) fn decide(
        &self,
        pinned: Option<&Arc<str>>,
        snapshot: &DirectorySnapshot,
        wants_session: impl Fn(&str) -> bool,
    ) -> Result<Decision, Status> {
        let id = self.scanner.id();
        if id.is_none() && !self.complete {
            return Ok(Decision::ReadMessage(self.fields));
        }
        if !snapshot.ready() {
            return Ok(Decision::AwaitDirectory);
        }
        let by_authority = || match &self.authority {
            Authority::Known(service) => service.clone(),
            Authority::Host(host) => route::by_host(snapshot, host.as_deref()),
        };
        let service = match id {
            Some(id) => route::by_id(snapshot, id)?,
            None => by_authority().ok_or_else(|| route::missing_id(self.fields))?,
        };
        let session = match &self.session {
            Some(session) => session,
            None if !self.complete && wants_session(&service) => {
                return Ok(Decision::ReadMessage(self.fields));
            }
            None => self.scanner.session().unwrap_or_default(),
        };
        Ok(forward(service, session, pinned))
    }

    /// The scanner, which reads the rest of the request.
    pub(crate) fn into_scanner(self) -> Box<Scanner> {
        self.scanner
    }
}

fn forward(service: Arc<str>, session: &str, pinned: Option<&Arc<str>>) -> Decision {
    let target = Target {
        service,
        session: None,
        instance: pinned.cloned(),
    };
    Decision::Forward(target.session(session))
}

#[cfg(test)]
mod tests;
