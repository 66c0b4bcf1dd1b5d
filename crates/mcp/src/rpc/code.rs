//! The numbers of errors.

/// The bytes are no JSON.
pub const PARSE_ERROR: i32 = -32700;
/// The JSON is no message.
pub const INVALID_REQUEST: i32 = -32600;
/// The method is not known.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// The parameters do not fit the method; an unknown tool, resource, prompt or task too.
pub const INVALID_PARAMS: i32 = -32602;
/// The fault is ours.
pub const INTERNAL_ERROR: i32 = -32603;
/// An unknown resource, in the revisions before 2026-07-28.
pub const RESOURCE_NOT_FOUND: i32 = -32002;
/// The headers of a request say something else than its body.
pub const HEADER_MISMATCH: i32 = -32020;
/// The request needs a capability that the client has not declared.
pub const MISSING_CAPABILITY: i32 = -32021;
/// The revision is not served.
pub const UNSUPPORTED_VERSION: i32 = -32022;
