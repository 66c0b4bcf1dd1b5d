//! Tasks of mounted servers among everything: an id says which mount has it.

use std::sync::Arc;

use bytes::Bytes;
use mcp::{CatalogView, MeshTool, catalog::forward::mount_name, rpc::Request};
use serde_json::{Map, Value};

use super::{
    McpServer,
    call::Permit,
    methods::{Asker, Failure, Started},
    mounted::with_member,
};

const MARK: &str = "mount.";

/// The id of a task of a mount's own, as it is known among everything.
fn marked(service: &str, id: &str) -> String {
    format!("{MARK}{}.{id}", mount_name(service))
}

/// The tool of a mount that has a task, and the id that the mount knows.
fn mount_of<'a>(view: &CatalogView, id: &'a str) -> Option<(Arc<MeshTool>, &'a str)> {
    let rest = id.strip_prefix(MARK)?;
    view.mounted_tools().find_map(|tool| {
        let inner = rest.strip_prefix(mount_name(&tool.service))?;
        let inner = inner.strip_prefix('.')?;
        Some((Arc::clone(tool), inner))
    })
}

/// A message of a mount, in which the id of a task says which mount has it.
pub(super) fn with_mark(message: Vec<u8>, service: &str) -> Vec<u8> {
    const TASK_ID: &str = "taskId";
    let has_task = message
        .windows(TASK_ID.len())
        .any(|part| part == TASK_ID.as_bytes());
    if !has_task {
        return message;
    }
    let Ok(mut read) = serde_json::from_slice::<Map<String, Value>>(&message) else {
        return message;
    };
    let mut members = ["result", "params"].into_iter();
    let task = members.find_map(|name| {
        let id = read.get(name)?.get(TASK_ID)?.as_str()?;
        Some((name, marked(service, id)))
    });
    let Some((name, id)) = task else {
        return message;
    };
    if let Some(member) = read.get_mut(name) {
        member[TASK_ID] = id.into();
    }
    Value::Object(read).to_string().into_bytes()
}

impl McpServer {
    /// A question about a task of a mount; `None` where it is another's.
    pub(super) async fn mounted_task(
        &self,
        asker: &Asker,
        request: &Request<'_>,
        id: &str,
    ) -> Result<Option<Started>, Failure> {
        if !id.starts_with(MARK) {
            return Ok(None);
        }
        let view = self.view(&asker.scope).await?;
        let known = mount_of(&view, id).filter(|(tool, _)| self.sees(asker, &tool.service));
        let Some((tool, inner)) = known else {
            return Ok(None);
        };
        let message: Bytes = with_member(request, "taskId", inner)?;
        let permit = Permit::free();
        Ok(Some(Started::Mounted {
            tool,
            message,
            permit,
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_of_a_task_says_which_mount_has_it() {
        let message = |value: Value| value.to_string().into_bytes();
        let result = json!({"jsonrpc": "2.0", "id": 1,
            "result": {"resultType": "task", "taskId": "a.b", "content": [{"taskId": "x"}]}});
        let read: Value =
            serde_json::from_slice(&with_mark(message(result), "tool-small")).unwrap();
        assert_eq!(read["result"]["taskId"], "mount.small.a.b");
        assert_eq!(read["result"]["content"][0]["taskId"], "x");
        for other in [
            json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"taskId": "x"}]}}),
            json!({"jsonrpc": "2.0", "id": 1, "result": {"taskId": 7}}),
            json!({"jsonrpc": "2.0", "id": 1, "error": {"data": {"taskId": "x"}}}),
        ] {
            let before = message(other);
            assert_eq!(with_mark(before.clone(), "tool-small"), before);
        }
    }
}
