//! Header blocks: HEADERS and the CONTINUATIONs that follow it.

use super::{ConnectionError, Event, Parser, Progress, State};
use crate::frame::{ErrorCode, Head, flag};

/// A header block that is longer, coded, ends its connection. One over the limit of lists alone is
/// decoded all the same, so that what follows it can be, and only its call ends.
pub(crate) const LONGEST_BLOCK: usize = 4 << 20;

impl Parser {
    pub(super) fn headers(
        &mut self,
        head: Head,
        mut payload: &[u8],
    ) -> Result<Progress, ConnectionError> {
        if head.has(flag::PADDED) {
            let Some((pad, rest)) = payload.split_first() else {
                return Err(ConnectionError::frame_size(
                    "HEADERS has no room for its padding",
                ));
            };
            let Some(length) = rest.len().checked_sub(usize::from(*pad)) else {
                return Err(ConnectionError::protocol(
                    "padding is longer than its frame",
                ));
            };
            payload = &rest[..length];
        }
        let mut depends_on = None;
        if head.has(flag::PRIORITY) {
            let Some((priority, rest)) = payload.split_first_chunk::<5>() else {
                return Err(ConnectionError::frame_size(
                    "HEADERS has no room for its priority",
                ));
            };
            let [a, b, c, d, _] = *priority;
            depends_on = Some(u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff);
            payload = rest;
        }
        let (stream, end_stream) = (head.stream, head.has(flag::END_STREAM));
        if head.has(flag::END_HEADERS) {
            return self.decode(payload, stream, end_stream, depends_on);
        }
        self.blocks += 1;
        self.fragments.clear();
        self.fragments.extend_from_slice(payload);
        self.state = State::Block {
            stream,
            end_stream,
            depends_on,
        };
        Ok(Progress::Again)
    }

    pub(super) fn continuation(
        &mut self,
        head: Head,
        payload: &[u8],
    ) -> Result<Progress, ConnectionError> {
        let State::Block {
            stream,
            end_stream,
            depends_on,
        } = self.state
        else {
            return Err(ConnectionError::protocol(
                "CONTINUATION without a header block",
            ));
        };
        // Empty ones make no progress: a flood of them costs the sender nothing.
        let endless = payload.is_empty() && !head.has(flag::END_HEADERS);
        if endless
            || self.fragments.len() + payload.len() > LONGEST_BLOCK.max(2 * self.max_header_list)
        {
            return Err(ConnectionError::calm("a header block does not end"));
        }
        self.fragments.extend_from_slice(payload);
        if !head.has(flag::END_HEADERS) {
            return Ok(Progress::Again);
        }
        self.state = State::Frame;
        let fragments = std::mem::take(&mut self.fragments);
        self.decode(&fragments, stream, end_stream, depends_on)
    }

    fn decode(
        &mut self,
        block: &[u8],
        stream: u32,
        end_stream: bool,
        depends_on: Option<u32>,
    ) -> Result<Progress, ConnectionError> {
        let (cache, limit) = (&mut self.block_cache, self.max_header_list);
        cache.decode(&mut self.decoder, block, limit).map_err(|_| {
            let reason = "a header block cannot be decoded";
            ConnectionError::new(ErrorCode::CompressionError, reason)
        })?;
        Ok(Progress::Event(Event::Headers {
            stream,
            end_stream,
            depends_on,
        }))
    }
}
