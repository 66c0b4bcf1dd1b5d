//! Forms of approvals: JSON Schemas of what people give with a decision.

use serde_json::Value;

use crate::Mistake;

/// Most mistakes that are told.
const MOST: usize = 50;

/// Checks what was given with a decision against the form that asked for it. No form: anything fits.
///
/// # Errors
/// Every place that does not fit.
pub fn check_form(form: &Value, data: &Value) -> Result<(), Vec<Mistake>> {
    if form.is_null() {
        return Ok(());
    }
    let wrong = |path: &str, message: String| Mistake {
        path: path.to_owned(),
        message,
    };
    let validator = jsonschema::validator_for(form)
        .map_err(|error| vec![wrong("", format!("the form is no JSON Schema: {error}"))])?;
    let errors = validator.iter_errors(data).take(MOST);
    let mistakes: Vec<_> = errors
        .map(|error| wrong(error.instance_path().as_str(), error.to_string()))
        .collect();
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(mistakes)
    }
}

/// Whether a form can be one.
pub(crate) fn check_schema(form: &Value) -> Result<(), String> {
    if !form.is_object() {
        return Err("`form` has to be a JSON Schema, an object".to_owned());
    }
    match jsonschema::validator_for(form) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("`form` is no JSON Schema: {error}")),
    }
}
