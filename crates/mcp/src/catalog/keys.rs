//! The keys of the catalog.

use config::{integer, keys, list};

keys! {
    /// Which tools there are, and what they are called.
    #[derive(Clone, Debug)]
    pub struct CatalogKeys: "Catalog of MCP" {
        /// Longest name of a tool. A longer one is cut, and ends in 6 characters of a hash: clients put names of
        /// their own before it, and providers take 64.
        mcp_max_name: usize = integer(50, 16..=128, "characters"),
        /// Tools at most. Those of further services are left out.
        mcp_max_tools: usize = integer(10_000, 1..=1_000_000, "tools"),
        /// Files with encoded `google.protobuf.FileDescriptorSet`s. Their comments describe services whose own
        /// descriptors have none, and they stand in for services without reflection. They
        /// are read again when they change.
        mcp_descriptor_sets: Vec<String> = list(),
    }
}
