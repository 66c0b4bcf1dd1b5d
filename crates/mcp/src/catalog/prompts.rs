//! A prompt for each agent, from what people use it for.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    about::About,
    snapshot::{CatalogView, MeshPrompt},
};
use crate::{
    CallError, MeshTool, ToolTarget,
    text::{MAX_DESCRIPTION, clean},
};

/// Longest use case, characters.
const MAX_USE_CASE: usize = 200;
/// The prompt's one argument.
const INPUT: &str = "input";

/// Whether a tool is an agent, which has a prompt.
pub(super) const fn is_for(tool: &MeshTool) -> bool {
    matches!(tool.target, ToolTarget::Agent)
}

/// The prompt of an agent that is called by `tool`.
pub(super) fn of(about: &About, tool: &Arc<MeshTool>) -> MeshPrompt {
    let use_cases = about.use_cases.iter();
    let use_cases: Vec<String> = use_cases.map(|it| clean(it, MAX_USE_CASE)).collect();
    let examples = match use_cases.as_slice() {
        [] => "What the agent is to do".to_owned(),
        cases => format!("What the agent is to do, such as: {}", cases.join("; ")),
    };
    let (title, description) = (
        tool.title.clone(),
        clean(&about.description, MAX_DESCRIPTION),
    );
    let entry = json!({
        "name": tool.name,
        "title": title,
        "description": description,
        "arguments": [{
            "name": INPUT,
            "title": "Task",
            "description": clean(&examples, MAX_DESCRIPTION),
            "required": true,
        }],
    });
    MeshPrompt {
        name: tool.name.clone(),
        of_server: None,
        title,
        description,
        use_cases,
        json: entry.to_string().into(),
        service: Arc::clone(&tool.service),
    }
}

/// The answer to `prompts/get`.
///
/// # Errors
/// `INVALID_PARAMS` for a prompt that is not there, and for one without its argument.
pub fn get(
    view: &CatalogView,
    name: &str,
    arguments: &Map<String, Value>,
) -> Result<Value, CallError> {
    let prompt = view
        .prompt(name)
        .ok_or_else(|| CallError::invalid_params(format!("there is no prompt {name:?}")))?;
    let input = arguments
        .get(INPUT)
        .and_then(Value::as_str)
        .unwrap_or_default();
    if input.trim().is_empty() {
        let text = format!("the prompt {name:?} needs the argument {INPUT:?}, a text");
        return Err(CallError::invalid_params(text));
    }
    let mut text = format!("Have {} do this by the tool `{name}`", prompt.title);
    text.push_str(": ");
    text.push_str(input);
    if !prompt.description.is_empty() {
        text.push_str("\n\nWhat it does: ");
        text.push_str(&prompt.description);
    }
    Ok(json!({
        "description": prompt.description,
        "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
    }))
}

/// What the argument of a prompt may be, for what is typed so far.
#[must_use]
pub fn complete(view: &CatalogView, name: &str, argument: &str, typed: &str) -> Vec<String> {
    let Some(prompt) = view.prompt(name).filter(|_| argument == INPUT) else {
        return Vec::new();
    };
    let typed = typed.to_lowercase();
    let cases = prompt.use_cases.iter();
    let begun = cases.filter(|case| case.to_lowercase().starts_with(&typed));
    begun.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ToolDefinition, schema};

    fn view() -> CatalogView {
        let definition = ToolDefinition {
            name: "code-agent".to_owned(),
            title: "Code Agent".to_owned(),
            input_schema: schema::agent_input_schema(),
            ..ToolDefinition::default()
        };
        let (service, id) = ("agent-code".into(), "code-agent".into());
        let tool = Arc::new(definition.tool(&service, &id, ToolTarget::Agent));
        let about = About {
            description: "Writes code".to_owned(),
            use_cases: vec!["Write a parser".to_owned(), "Fix a\u{200b} bug".to_owned()],
            ..About::default()
        };
        CatalogView {
            prompts: vec![Arc::new(of(&about, &tool))],
            ..CatalogView::default()
        }
    }

    #[test]
    fn an_agents_prompt_names_its_tool_and_completes_its_use_cases() {
        let view = view();
        let entry: Value = serde_json::from_slice(&view.prompts[0].json).unwrap();
        let about = entry["arguments"][0]["description"].as_str().unwrap();
        assert!(about.ends_with("Write a parser; Fix a bug"), "{about}");
        let given = json!({"input": "a lexer"});
        let got = get(&view, "code-agent", given.as_object().unwrap()).unwrap();
        let text = got["messages"][0]["content"]["text"].as_str().unwrap();
        assert!(text.contains("`code-agent`: a lexer"), "{text}");
        assert_eq!(
            complete(&view, "code-agent", "input", "write"),
            ["Write a parser"]
        );
        assert_eq!(complete(&view, "code-agent", "input", "").len(), 2);
        assert!(complete(&view, "nobody", "input", "").is_empty());
    }

    #[test]
    fn a_prompt_without_its_argument_or_of_nobody_is_refused() {
        let view = view();
        for (name, given, expected) in [
            ("nobody", json!({"input": "x"}), "there is no prompt"),
            ("code-agent", json!({}), "needs the argument"),
            ("code-agent", json!({"input": 7}), "needs the argument"),
        ] {
            let error = get(&view, name, given.as_object().unwrap()).unwrap_err();
            assert!(error.message.contains(expected), "{error}");
        }
    }
}
