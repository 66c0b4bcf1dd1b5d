//! Calls of tools.

use dynamic::DynamicClient;
use serde_json::{Map, Value};

use crate::{
    CallContext, CallError, CallOutcome, MeshTool, ProgressSink, Tasks, ToolKeys,
    schema::MAX_MESSAGES,
};

/// Calls tools. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ToolCaller {
    tasks: Option<Tasks>,
}

impl ToolCaller {
    /// Calls by `client`; long calls as jobs where there are `tasks`.
    #[must_use]
    pub fn new(_: DynamicClient, tasks: Option<Tasks>, _: &ToolKeys) -> Self {
        Self { tasks }
    }

    /// The jobs that long calls are.
    #[must_use]
    pub const fn tasks(&self) -> Option<&Tasks> {
        self.tasks.as_ref()
    }

    /// Calls a tool. A failure of the tool, of its service or of the mesh is a result that says so. To
    /// cancel the call, drop the future.
    ///
    /// # Errors
    /// For a tool that is gone, and for what is no tool of a service.
    pub async fn call(
        &self,
        tool: &MeshTool,
        _: Map<String, Value>,
        _: &CallContext,
        _: &mut impl ProgressSink,
    ) -> Result<CallOutcome, CallError> {
        let text = format!("{} cannot be called yet ({MAX_MESSAGES})", tool.name);
        Err(CallError::internal(text))
    }
}
