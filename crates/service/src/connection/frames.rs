//! Follows the frames of one direction of an HTTP/2 connection, in whatever pieces they come.

use mesh_relay::frame::{FrameType, HEADER_BYTES, Head, flag};

/// The position of one direction.
#[derive(Debug, Default)]
pub(super) struct FrameTracker {
    /// The current frame's header and, for padded DATA, the length of the padding.
    head: [u8; HEADER_BYTES + 1],
    have: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
    /// The last frame belongs to a header block.
    heads: bool,
}

/// A frame whose header is complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) head: Head,
    /// DATA that has no content.
    pub(super) empty: bool,
}

impl FrameTracker {
    /// Consumes the next bytes, and reports each frame that begins in them.
    pub(super) fn follow(&mut self, mut bytes: &[u8], mut begins: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let payload = self.left.min(bytes.len());
            self.left -= payload;
            bytes = &bytes[payload..];
            if bytes.is_empty() {
                return;
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            let Some(head) = Head::read(&self.head[..self.have]) else {
                continue;
            };
            let padded = head.kind == FrameType::Data && head.has(flag::PADDED) && head.length > 0;
            let padding = match (padded, self.have - HEADER_BYTES) {
                (true, 0) => continue,
                (true, _) => 1 + usize::from(self.head[HEADER_BYTES]),
                (false, _) => 0,
            };
            self.left = head.length - usize::from(padded);
            self.have = 0;
            self.heads = matches!(head.kind, FrameType::Headers | FrameType::Continuation);
            let empty = head.kind == FrameType::Data && head.length <= padding;
            begins(Frame { head, empty });
        }
    }

    /// Whether a frame of a header block is incomplete.
    pub(super) fn in_head(&self) -> bool {
        self.left > 0 && self.heads
    }

    /// Whether no frame is incomplete.
    pub(super) fn between(&self) -> bool {
        self.have == 0 && self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_alike_however_they_are_split() {
        let bytes = [
            &[0, 0, 3, 0, 1, 0, 0, 0, 1, b'a', b'b', b'c'][..],
            // Three bytes: the length of the padding, and two of padding.
            &[0, 0, 3, 0, 8, 0, 0, 0, 1, 2, 0, 0],
            &[0, 0, 0, 4, 1, 0, 0, 0, 0],
            &[0, 0, 0, 0, 8, 0, 0, 0, 3],
        ]
        .concat();
        let expected = [
            (FrameType::Data, 1, 3, false),
            (FrameType::Data, 1, 3, true),
            (FrameType::Settings, 0, 0, false),
            (FrameType::Data, 3, 0, true),
        ];
        for piece in 1..=bytes.len() {
            let (mut frames, mut told) = (FrameTracker::default(), Vec::new());
            for part in bytes.chunks(piece) {
                frames.follow(part, |Frame { head, empty }| {
                    told.push((head.kind, head.stream, head.length, empty));
                });
            }
            assert_eq!(told, expected, "{piece}");
            assert!(frames.between());
        }
        let mut frames = FrameTracker::default();
        frames.follow(&bytes[..10], |_| {});
        assert!(!frames.between());
    }
}
