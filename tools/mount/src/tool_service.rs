//! The server's tools as operations of one tool, for callers of gRPC.

use std::{fmt::Write as _, sync::Arc};

use proto::{
    agentplatform::{
        ListToolsRequest, ListToolsResponse, RegistrationResponse, ToolInfo, ToolOperation,
        ToolParameter, ToolRequest, ToolResponse,
        tool_service_server::{ToolService, ToolServiceServer},
    },
    error_info::{self, Reason},
};
use serde_json::{Map, Value, json};
use tonic::{Code, Request, Response, Status};

use crate::{
    arguments::{arguments, type_of},
    asks::Capabilities,
    definitions::Definition,
    headers,
    link::{Era, Gone, Next, Outgoing},
    message::{Fields, Outcome, cut, error_code, error_text, raw, to_raw},
    modern::next,
    mount::Mount,
    replies::gone_status,
};

/// Answers for the server.
#[derive(Debug)]
pub(crate) struct MountedTool(Arc<Mount>);

/// The service of a mount.
pub(crate) fn server(mount: &Arc<Mount>, most: usize) -> ToolServiceServer<MountedTool> {
    let tool = MountedTool(Arc::clone(mount));
    ToolServiceServer::new(tool).max_decoding_message_size(most)
}

#[async_trait::async_trait]
impl ToolService for MountedTool {
    async fn execute_tool(
        &self,
        request: Request<ToolRequest>,
    ) -> Result<Response<ToolResponse>, Status> {
        let ToolRequest {
            operation,
            parameters,
            session_id,
            ..
        } = request.into_inner();
        let mut answer = ToolResponse {
            session_id,
            ..ToolResponse::default()
        };
        match self.execute(operation.trim(), parameters).await? {
            Ok(result) => (answer.success, answer.result) = (true, result),
            Err(error) => answer.error = error,
        }
        Ok(Response::new(answer))
    }

    async fn list_tools(
        &self,
        request: Request<ListToolsRequest>,
    ) -> Result<Response<ListToolsResponse>, Status> {
        if !self.0.context.matches(&request.get_ref().filter) {
            return Ok(Response::new(ListToolsResponse::default()));
        }
        let Some(known) = self.0.tools.first(self.0.keys.mount_wait).await else {
            let why = self.0.upstream.problem();
            let why = why.unwrap_or_else(|| "it has not listed them yet".to_owned());
            let text = format!("the tools of the mounted server are not known: {why}");
            return Err(away(text));
        };
        let tools = known
            .values()
            .filter(|it| self.0.tools.blocked(&it.name).is_none());
        let info = self.info(&tools.map(|it| &**it).collect::<Vec<_>>());
        Ok(Response::new(ListToolsResponse { tools: vec![info] }))
    }

    async fn register_tool(
        &self,
        _request: Request<ToolInfo>,
    ) -> Result<Response<RegistrationResponse>, Status> {
        Err(self.0.context.no_registrar())
    }
}

impl MountedTool {
    /// Calls a tool: its text, or the tool's own words about the failure.
    async fn execute(
        &self,
        name: &str,
        parameters: std::collections::HashMap<String, String>,
    ) -> Result<Result<String, String>, Status> {
        let mount = &*self.0;
        // One that is started again tells its tools anew.
        mount
            .upstream
            .link()
            .await
            .map_err(|gone| gone_status(&gone))?;
        let Some(known) = mount.tools.first(mount.keys.mount_wait).await else {
            let why = mount.upstream.problem().unwrap_or_default();
            return Err(away(format!("the mounted server does not answer: {why}")));
        };
        let Some(tool) = known.get(name) else {
            let names: Vec<&str> = known.keys().map(String::as_str).take(50).collect();
            let names = names.join(", ");
            let name = cut(name);
            return Ok(Err(format!(
                "unknown operation {name:?}: give one of {names}"
            )));
        };
        if let Some(reason) = mount.tools.blocked(name) {
            return Ok(Err(reason));
        }
        let arguments = match arguments(tool.schema(), &parameters) {
            Ok(arguments) => arguments,
            Err(error) => return Ok(Err(error)),
        };
        let outcome = match self.call(tool, arguments).await {
            Ok(outcome) => outcome,
            Err(gone) => return Err(gone_status(&gone)),
        };
        Ok(match outcome {
            Ok(result) => result_text(&serde_json::from_str(result.get()).unwrap_or_default()),
            Err(error) => Err(format!("{} ({})", error_text(&error), error_code(&error))),
        })
    }

    async fn call(&self, tool: &Definition, given: Map<String, Value>) -> Result<Outcome, Gone> {
        let mount = &*self.0;
        let link = mount.upstream.link().await?;
        let mut params = Fields::new();
        if link.facts().era == Era::Modern {
            // Nobody is here whom the server could ask.
            let meta = crate::handshake::modern_meta(
                &link.facts().version,
                &crate::handshake::client_info(),
                &Map::new(),
            );
            params.insert("_meta".to_owned(), to_raw(&meta));
        }
        params.insert("name".to_owned(), raw(&Value::from(tool.name.as_str())));
        let given = Value::Object(given);
        params.insert("arguments".to_owned(), raw(&given));
        let request = Outgoing {
            method: "tools/call".to_owned(),
            params,
            progress: false,
            capabilities: Capabilities::default(),
            client: mount.client(),
            headers: headers::of_arguments(&tool.headers, &given),
        };
        let answered = async {
            let mut exchange = mount.in_time(link.request(request)).await?;
            loop {
                match next(mount, &mut exchange).await? {
                    Next::Event(_) => {}
                    Next::Done(outcome) => return Ok(outcome),
                    Next::Gone => return Err(Gone::Lost),
                }
            }
        };
        let ended = answered.await;
        mount.metrics.request("tools/call", ended.as_ref().ok());
        ended
    }

    fn info(&self, tools: &[&Definition]) -> ToolInfo {
        let context = &self.0.context;
        let link = self.0.upstream.present();
        let facts = link.map(|link| Arc::clone(link.facts()));
        let server = facts
            .as_ref()
            .map(|facts| facts.server.clone())
            .unwrap_or_default();
        let text = |name: &str| server[name].as_str().unwrap_or_default().to_owned();
        let name = [text("title"), text("name"), context.public_id()];
        let instructions = facts.and_then(|facts| facts.instructions.clone());
        let mut details = String::from("Operations: ");
        for tool in tools {
            // Never an error: it is a text.
            write!(
                details,
                "{}: {}; ",
                tool.name,
                first_line(tool.text("description"))
            )
            .ok();
        }
        ToolInfo {
            tool_id: context.public_id(),
            name: name.into_iter().find(|it| !it.is_empty()).unwrap_or_default(),
            description: match text("description").is_empty() {
                true => format!("The MCP server {} with {} tools", text("name"), tools.len()),
                false => text("description"),
            },
            endpoint: context.endpoint.clone(),
            parameters: vec![ToolParameter {
                name: "arguments".to_owned(),
                r#type: "object".to_owned(),
                required: false,
                description: "The arguments of the operation as a JSON object, or each as a parameter of its own"
                    .to_owned(),
            }],
            detailed_description: details.trim_end_matches([';', ' ']).to_owned(),
            how_it_works: instructions.unwrap_or_default(),
            return_format: "The structured content as JSON where the tool has one, else its text; \
                            other content as JSON"
                .to_owned(),
            version: text("version"),
            operations: tools.iter().map(|it| operation(it)).collect(),
            ..ToolInfo::default()
        }
    }
}

/// A tool as an operation: its arguments one by one, as far as they have names.
fn operation(tool: &Definition) -> ToolOperation {
    let schema = tool.schema();
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let parameters = properties.map(|(name, property)| ToolParameter {
        name: name.clone(),
        r#type: type_of(property, schema),
        required: required.iter().any(|it| it == name.as_str()),
        description: property["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    });
    // What is structured is the result, and then it is true to its schema.
    let output = tool.value.get("outputSchema").filter(|it| it.is_object());
    ToolOperation {
        name: tool.name.clone(),
        description: tool.text("description").to_owned(),
        parameters: parameters.collect(),
        read_only: tool.hint("readOnlyHint"),
        destructive: tool.hint("destructiveHint"),
        idempotent: tool.hint("idempotentHint"),
        output_schema: output.map(Value::to_string).unwrap_or_default(),
    }
}

/// What a result says: its structured content, else its texts, else its content as JSON.
fn result_text(result: &Value) -> Result<String, String> {
    let kind = result["resultType"].as_str().unwrap_or("complete");
    if kind != "complete" {
        return Err(format!(
            "the tool answers with {:?}, which a caller of gRPC cannot go on with",
            cut(kind)
        ));
    }
    let content = result["content"].as_array().cloned().unwrap_or_default();
    let texts: Option<Vec<&str>> = content.iter().map(|it| it["text"].as_str()).collect();
    let text = match (result.get("structuredContent"), texts) {
        (Some(structured), _) if !structured.is_null() && result["isError"] != json!(true) => {
            structured.to_string()
        }
        (_, Some(texts)) => texts.join("\n"),
        (_, None) => Value::Array(content.clone()).to_string(),
    };
    match result["isError"] == json!(true) {
        true if text.is_empty() => Err("the tool failed and does not say why".to_owned()),
        true => Err(text),
        false => Ok(text),
    }
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}

fn away(text: String) -> Status {
    error_info::status(Code::Unavailable, Reason::DependencyAway, text, [])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_its_structure_its_texts_or_its_content() {
        let table = [
            (
                json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
                Ok("a\nb"),
            ),
            (
                json!({"content": [{"type": "text", "text": "a"}], "structuredContent": {"n": 1}}),
                Ok("{\"n\":1}"),
            ),
            (
                json!({"content": [{"type": "image", "data": "x"}]}),
                Ok(r#"[{"data":"x","type":"image"}]"#),
            ),
            (
                json!({"content": [{"type": "text", "text": "no"}], "isError": true}),
                Err("no"),
            ),
            (
                json!({"content": [], "isError": true}),
                Err("the tool failed and does not say why"),
            ),
            (json!({"content": [], "resultType": "complete"}), Ok("")),
        ];
        for (result, expected) in table {
            let text = result_text(&result);
            assert_eq!(
                text.as_deref().map_err(String::as_str),
                expected,
                "{result}"
            );
        }
        assert!(result_text(&json!({"resultType": "input_required"})).is_err());
    }
}
