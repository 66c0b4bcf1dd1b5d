//! `meshctl mcp call`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::{Map, Value, json};

use super::{Access, elicitation::Person, tools};
use crate::{
    duration, json_arg,
    mcp::McpClient,
    output::{Output, Style, plain},
};

/// How long the result of an unusable kind is looked at.
const SHOWN: usize = 200;

/// Call a tool, and print its result. Exits with 1 when the tool says that it failed.
///
/// A call that becomes a task is followed to its end.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl mcp call weather-tool__get_weather location=Paris\n  \
    meshctl mcp call itinerary-worker --args '{\"destination\": \"Rome\", \"days\": \"2\"}'\n  \
    meshctl mcp call echo-agent input=hello --key order-17 --timeout 5s")]
pub(super) struct Call {
    /// The tool's name, as `meshctl mcp tools` shows it
    name: String,

    /// Arguments; the tool's schema says of what type each is
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    arguments: Vec<(String, String)>,

    /// All arguments as a JSON object, @file, or - for standard input
    #[arg(long, value_name = "JSON|-|@file")]
    args: Option<String>,

    /// What to answer where the tool asks back: a JSON object of fields; those left out have their
    /// defaults
    #[arg(long, value_name = "JSON|-|@file")]
    answer: Option<String>,

    /// How long the call may take, such as 500ms, 5s or 2m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Its idempotency key: a call that is sent again with this key is done once
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Call {
    pub(super) async fn run(self, access: &Access, out: &Output) -> anyhow::Result<ExitCode> {
        let given = match &self.args {
            Some(given) => object(given, "arguments").await?,
            None => Map::new(),
        };
        let answer = match &self.answer {
            Some(given) => Some(object(given, "answer").await?),
            None => None,
        };
        let mut client = access.client(Person { out, answer }).await?;
        let called = self.called(&mut client, given).await;
        out.progress("");
        client.close().await;
        print(out, &called?)
    }

    async fn called(
        &self,
        client: &mut McpClient<Person<'_>>,
        mut arguments: Map<String, Value>,
    ) -> anyhow::Result<Value> {
        let tools = client.tools().await?;
        let Some(tool) = tools.iter().find(|tool| tool["name"] == *self.name) else {
            bail!("{}", tools::unknown(&self.name, &tools));
        };
        for (key, text) in &self.arguments {
            let schema = &tool["inputSchema"]["properties"][key];
            arguments.insert(key.clone(), value(schema, text)?);
        }
        let mut params = json!({ "name": self.name, "arguments": arguments });
        let mut meta = Map::new();
        if let Some(timeout) = self.timeout {
            let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            meta.insert("mesh.v1/timeoutMs".to_owned(), ms.into());
        }
        if let Some(key) = &self.key {
            meta.insert("mesh.v1/idempotencyKey".to_owned(), key.as_str().into());
        }
        if client.responder.out.shows_progress() {
            meta.insert("progressToken".to_owned(), 1.into());
        }
        if !meta.is_empty() {
            params["_meta"] = meta.into();
        }
        let result = client.call(tool, params).await?;
        if result["resultType"] == "task" {
            return client.settle(&result).await;
        }
        Ok(result)
    }
}

fn print(out: &Output, result: &Value) -> anyhow::Result<ExitCode> {
    let failed = result["isError"] == true;
    if out.json {
        out.value(result)?;
    } else if failed {
        let mut text = out.paint_remark(Style::Bad, "error:");
        text += &format!(" {}", shown(result));
        out.remark(&text);
    } else {
        out.line(&shown(result))?;
    }
    Ok(match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// A result for people: its text, and what else there is.
fn shown(result: &Value) -> String {
    let blocks = result["content"].as_array().into_iter().flatten();
    let blocks: Vec<_> = blocks.map(block).collect();
    if blocks.is_empty() {
        return match &result["structuredContent"] {
            Value::Null => "(the result is empty)".to_owned(),
            content => plain(&format!("{content:#}")),
        };
    }
    blocks.join("\n")
}

fn block(block: &Value) -> String {
    let text = |value: &Value| plain(value.as_str().unwrap_or_default());
    match block["type"].as_str().unwrap_or_default() {
        "text" => text(&block["text"]),
        kind @ ("image" | "audio") => {
            let size = block["data"].as_str().map_or(0, |data| data.len() / 4 * 3);
            format!("({kind} {}, {size} bytes)", text(&block["mimeType"]))
        }
        "resource" if block["resource"]["text"].is_string() => text(&block["resource"]["text"]),
        "resource" => format!("(resource {})", text(&block["resource"]["uri"])),
        "resource_link" => format!("(resource {})", text(&block["uri"])),
        _ => plain(&block.to_string().chars().take(SHOWN).collect::<String>()),
    }
}

async fn object(given: &str, what: &str) -> anyhow::Result<Map<String, Value>> {
    let text = json_arg::read(given).await?;
    let value: Value = serde_json::from_str(&text)
        .with_context(|| format!("the {what} are not JSON: {}", json_arg::FORMS))?;
    match value {
        Value::Object(object) => Ok(object),
        _ => bail!("the {what} are no JSON object: {}", json_arg::FORMS),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// An argument of the type that the schema has for it; without a type, JSON where it is that.
fn value(schema: &Value, text: &str) -> anyhow::Result<Value> {
    let parsed = serde_json::from_str::<Value>(text).ok();
    let Some(kind) = schema["type"].as_str() else {
        return Ok(parsed.unwrap_or_else(|| text.into()));
    };
    if kind == "string" {
        return Ok(text.into());
    }
    let parsed = parsed.with_context(|| format!("{text:?} is not of type {kind}"))?;
    let fits = match kind {
        "integer" => parsed.is_i64() || parsed.is_u64(),
        "number" => parsed.is_number(),
        "boolean" => parsed.is_boolean(),
        "object" => parsed.is_object(),
        "array" => parsed.is_array(),
        _ => true,
    };
    ensure!(fits, "{text:?} is not of type {kind}");
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_the_type_of_the_schema() {
        let of = |kind: &str, text: &str| value(&json!({ "type": kind }), text);
        assert_eq!(of("string", "2").unwrap(), json!("2"));
        assert_eq!(of("integer", "2").unwrap(), json!(2));
        assert_eq!(of("array", "[1]").unwrap(), json!([1]));
        assert_eq!(value(&Value::Null, "true").unwrap(), json!(true));
        assert_eq!(value(&Value::Null, "Paris").unwrap(), json!("Paris"));
        for (kind, text) in [("integer", "two"), ("integer", "1.5"), ("boolean", "1")] {
            assert!(of(kind, text).is_err(), "{kind} {text}");
        }
        assert_eq!(pair("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
    }

    #[test]
    fn a_result_is_shown_as_text() {
        let result = json!({"content": [{"type": "text", "text": "a\u{1b}[2J"},
            {"type": "image", "mimeType": "image/png", "data": "AAAA"},
            {"type": "resource_link", "uri": "mount://x/y"}]});
        assert_eq!(
            shown(&result),
            "a [2J\n(image image/png, 3 bytes)\n(resource mount://x/y)"
        );
        assert_eq!(
            shown(&json!({"structuredContent": {"a": 1}})),
            "{\n  \"a\": 1\n}"
        );
        assert_eq!(shown(&json!({})), "(the result is empty)");
    }
}
