//! SETTINGS (RFC 9113, section 6.5): what each side allows the other.

use crate::frame::{DEFAULT_MAX_BYTES, ErrorCode};

/// The largest window, and the largest value of a credit.
pub const MAX_WINDOW: u32 = (1 << 31) - 1;
/// The window of a connection and of a stream before anybody says otherwise.
pub const DEFAULT_WINDOW: u32 = 65_535;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// What one side allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of the dynamic table its decoder keeps.
    pub header_table: u32,
    /// Streams the other side may have open.
    pub max_streams: u32,
    /// Bytes the other side may send on a new stream.
    pub window: u32,
    /// Payload of the largest frame it takes.
    pub max_frame: u32,
    /// Largest header list it takes, bytes.
    pub max_header_list: u32,
}

impl Default for Settings {
    /// What holds before the first SETTINGS.
    fn default() -> Self {
        Self {
            header_table: 4096,
            max_streams: u32::MAX,
            window: DEFAULT_WINDOW,
            max_frame: DEFAULT_MAX_BYTES as u32,
            max_header_list: u32::MAX,
        }
    }
}

impl Settings {
    /// The values of a SETTINGS frame that announces these; nobody is allowed to push.
    #[must_use]
    pub fn to_wire(&self) -> [(u16, u32); 6] {
        [
            (HEADER_TABLE_SIZE, self.header_table),
            (ENABLE_PUSH, 0),
            (MAX_CONCURRENT_STREAMS, self.max_streams),
            (INITIAL_WINDOW_SIZE, self.window),
            (MAX_FRAME_SIZE, self.max_frame),
            (MAX_HEADER_LIST_SIZE, self.max_header_list),
        ]
    }

    /// Takes over a SETTINGS payload, whose length is a multiple of six.
    ///
    /// # Errors
    /// The code that ends the connection when a value is out of its range.
    pub fn apply(&mut self, payload: &[u8]) -> Result<(), ErrorCode> {
        for chunk in payload.chunks_exact(6) {
            let id = u16::from_be_bytes([chunk[0], chunk[1]]);
            let value = u32::from_be_bytes([chunk[2], chunk[3], chunk[4], chunk[5]]);
            match id {
                HEADER_TABLE_SIZE => self.header_table = value,
                ENABLE_PUSH if value > 1 => return Err(ErrorCode::ProtocolError),
                MAX_CONCURRENT_STREAMS => self.max_streams = value,
                INITIAL_WINDOW_SIZE if value > MAX_WINDOW => {
                    return Err(ErrorCode::FlowControlError);
                }
                INITIAL_WINDOW_SIZE => self.window = value,
                MAX_FRAME_SIZE if !(DEFAULT_MAX_BYTES as u32..1 << 24).contains(&value) => {
                    return Err(ErrorCode::ProtocolError);
                }
                MAX_FRAME_SIZE => self.max_frame = value,
                MAX_HEADER_LIST_SIZE => self.max_header_list = value,
                // Unknown settings are ignored.
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_is_what_is_read() {
        let ours = Settings {
            max_streams: 7,
            window: 1 << 20,
            max_frame: 1 << 16,
            ..Settings::default()
        };
        let mut wire = Vec::new();
        for (id, value) in ours.to_wire() {
            wire.extend_from_slice(&id.to_be_bytes());
            wire.extend_from_slice(&value.to_be_bytes());
        }
        let mut theirs = Settings::default();
        theirs.apply(&wire).unwrap();
        assert_eq!(theirs, ours);
    }

    #[test]
    fn values_out_of_range_end_the_connection() {
        let apply = |id: u16, value: u32| {
            let mut wire = id.to_be_bytes().to_vec();
            wire.extend_from_slice(&value.to_be_bytes());
            Settings::default().apply(&wire)
        };
        assert_eq!(apply(2, 2), Err(ErrorCode::ProtocolError));
        assert_eq!(apply(4, 1 << 31), Err(ErrorCode::FlowControlError));
        assert_eq!(apply(5, 16_383), Err(ErrorCode::ProtocolError));
        assert_eq!(apply(5, 1 << 24), Err(ErrorCode::ProtocolError));
        assert_eq!(apply(99, 5), Ok(()));
    }
}
