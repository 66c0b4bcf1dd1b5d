//! HPACK (RFC 7541), for a relay: decoding with the peer's dynamic table, encoding without one.
//!
//! A decoded field carries its bytes as they will be written to the next connection, so that
//! forwarding a header block is copying; a field that repeats costs one copy in all.

mod block;
mod decoder;
mod huffman;
mod integer;
mod static_table;
mod table;
mod token;

pub use block::{Block, Field};
pub use decoder::Decoder;
pub use token::{Token, is_authority};

/// Why a header block cannot be decoded. All end the connection, since the dynamic table is no longer
/// the peer's (RFC 9113, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The block ends inside a field.
    #[error("the header block ends inside a field")]
    Truncated,
    /// An integer that fits nothing.
    #[error("an integer of the header block is too large")]
    Integer,
    /// An index beyond the static and the dynamic table.
    #[error("the header block refers to a field that does not exist")]
    Index,
    /// A string that is no Huffman code.
    #[error("a string of the header block is not Huffman coded")]
    Huffman,
    /// A table size above what we allow, or not at the block's start.
    #[error("the header block changes the table size where it may not")]
    TableSize,
}
