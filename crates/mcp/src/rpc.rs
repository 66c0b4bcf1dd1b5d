//! JSON-RPC as MCP uses it.

/// The numbers of errors.
pub mod code {
    /// The bytes are no JSON.
    pub const PARSE_ERROR: i32 = -32700;
    /// The JSON is no request.
    pub const INVALID_REQUEST: i32 = -32600;
    /// There is no such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// The parameters are wrong: an unknown tool, resource or prompt, too.
    pub const INVALID_PARAMS: i32 = -32602;
    /// A failure of ours.
    pub const INTERNAL_ERROR: i32 = -32603;
    /// An unknown resource, up to revision 2025-11-25.
    pub const RESOURCE_NOT_FOUND: i32 = -32002;
    /// Headers and body disagree.
    pub const HEADER_MISMATCH: i32 = -32020;
    /// The request needs a capability that the client does not declare.
    pub const MISSING_CAPABILITY: i32 = -32021;
    /// A revision that is not served.
    pub const UNSUPPORTED_VERSION: i32 = -32022;
}
