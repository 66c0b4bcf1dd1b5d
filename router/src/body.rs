//! The body of a request on its way through: read as far as routing needs, then inspected as it
//! streams by. What arrived is what is forwarded.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tonic::Status;

use crate::scanner::{FrameMeter, Progress, ScanError, Scanner};

/// What looks at the bytes.
#[derive(Debug)]
pub(crate) enum Inspector {
    /// Message sizes only.
    Meter(FrameMeter),
    /// The routing fields of the first message, and message sizes.
    Scan(Box<Scanner>),
}

/// A request body under inspection.
#[derive(Debug)]
pub(crate) struct Inspected {
    incoming: Incoming,
    /// Read for routing, and not yet forwarded.
    held: VecDeque<Frame<Bytes>>,
    inspector: Inspector,
    ended: bool,
}

impl Inspected {
    /// Inspects a body.
    pub(crate) fn new(incoming: Incoming, inspector: Inspector) -> Self {
        Self {
            incoming,
            held: VecDeque::new(),
            inspector,
            ended: false,
        }
    }

    /// Reads until the first message's id is known, or its end shows that it has none; with
    /// `whole`, until the first message is complete.
    ///
    /// # Errors
    /// When the bytes are no such message, or the client is gone.
    pub(crate) async fn identify(&mut self, whole: bool) -> Result<(), Status> {
        loop {
            let progress = match &mut self.inspector {
                Inspector::Meter(_) => return Ok(()),
                // Feeding nothing asks for the present state.
                Inspector::Scan(scanner) => scanner.feed(&[]).map_err(|e| e.status())?,
            };
            match progress {
                Progress::Complete | Progress::Missing => return Ok(()),
                Progress::Identified if !whole => return Ok(()),
                Progress::Identified | Progress::Reading => {}
            }
            match self.incoming.frame().await {
                Some(frame) => {
                    let frame = self.inspect(frame)?;
                    self.held.push_back(frame);
                }
                None => self.finish()?,
            }
        }
    }

    /// The scanner, when there is one.
    pub(crate) fn scanner(&self) -> Option<&Scanner> {
        match &self.inspector {
            Inspector::Scan(scanner) => Some(scanner),
            Inspector::Meter(_) => None,
        }
    }

    fn inspect(&mut self, frame: hyper::Result<Frame<Bytes>>) -> Result<Frame<Bytes>, Status> {
        let frame =
            frame.map_err(|error| Status::cancelled(format!("the client left: {error}")))?;
        if let Some(data) = frame.data_ref() {
            match &mut self.inspector {
                Inspector::Meter(meter) => meter.feed(data),
                Inspector::Scan(scanner) => scanner.feed(data).map(drop),
            }
            .map_err(|error: ScanError| error.status())?;
        }
        if self.incoming.is_end_stream() {
            // hyper asks for nothing more after such a frame.
            self.finish()?;
        }
        Ok(frame)
    }

    fn finish(&mut self) -> Result<(), Status> {
        self.ended = true;
        match &mut self.inspector {
            // What an instance makes of half a message is its own business.
            Inspector::Meter(_) => Ok(()),
            Inspector::Scan(scanner) => scanner.finish().map(drop).map_err(|e| e.status()),
        }
    }
}

impl Body for Inspected {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Some(frame) = this.held.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(Pin::new(&mut this.incoming).poll_frame(cx)) {
            Some(frame) => Some(this.inspect(frame)),
            None => this.finish().err().map(Err),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.ended
    }
}
