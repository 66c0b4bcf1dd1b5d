//! The key of programs that call through a router or straight.

use config::{keys, optional};

keys! {
    /// How JSON calls reach services.
    #[derive(Clone, Debug)]
    pub struct RouterKeys: "Calls through a router" {
        /// Router that calls go through. Empty: straight to the instances.
        mcp_router_addr: Option<String> = optional(),
    }
}
