//! An HTTP/2 relay engine without I/O: bytes in, bytes out, timers.
//!
//! What is here so far is the bottom of it: frames and
//! SETTINGS, the parser that turns a connection's bytes into steps, and header blocks that are decoded
//! into entries which carry their bytes ready to be written again.

pub mod frame;
pub mod hpack;
pub mod parser;
pub mod settings;
