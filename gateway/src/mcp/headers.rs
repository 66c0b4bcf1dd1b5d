//! What the headers of a request say of its body. Proxies route by them, so both have to agree.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};
use mcp::rpc::{Era, Meta, Params, RpcError, Version, code};
use serde_json::{Map, Value};

use super::answer::SESSION_ID;

pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const PARAM: &str = "mcp-param-";
/// How values are written that a header cannot carry as they are.
const BASE64: (&str, &str) = ("=?base64?", "?=");

/// A parameter of a tool that a header repeats (`x-mcp-header`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParamHeader {
    /// Where it is in the arguments.
    path: Vec<String>,
    /// The header, `mcp-param-…`.
    name: HeaderName,
}

fn mismatch(text: impl Into<String>) -> RpcError {
    RpcError::new(code::HEADER_MISMATCH, text)
}

/// The one value of a header.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, RpcError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(mismatch(format!("the header {name} is given twice")));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(mismatch(format!(
            "the header {name} has characters that need base64"
        ))),
    }
}

/// A value, decoded where it says that it is encoded.
fn decoded<'a>(name: &HeaderName, value: &'a str) -> Result<Cow<'a, str>, RpcError> {
    let inner = value
        .strip_prefix(BASE64.0)
        .and_then(|rest| rest.strip_suffix(BASE64.1));
    let Some(inner) = inner else {
        return Ok(Cow::Borrowed(value));
    };
    let text = STANDARD.decode(inner).ok().map(String::from_utf8);
    match text {
        Some(Ok(text)) => Ok(Cow::Owned(text)),
        _ => Err(mismatch(format!(
            "the header {name} is not valid base64 of UTF-8"
        ))),
    }
}

/// The session that a request names.
pub(crate) fn session(headers: &HeaderMap) -> Result<Option<&str>, RpcError> {
    Ok(single(headers, &SESSION_ID)?.filter(|id| !id.is_empty()))
}

/// The revision that a request is of.
///
/// # Errors
/// [`code::HEADER_MISMATCH`], [`code::UNSUPPORTED_VERSION`], or [`code::INVALID_PARAMS`] where a
/// request of the modern era does not say what it has to.
pub(crate) fn era(
    headers: &HeaderMap,
    method: &str,
    meta: &Meta<'_>,
    of_session: Option<Version>,
) -> Result<Era, RpcError> {
    let header = single(headers, &PROTOCOL_VERSION)?;
    let incomplete = |meta: &Meta<'_>| {
        let missing = meta.missing().join(", ");
        RpcError::params(format!("params._meta has no valid {missing}"))
    };
    let Some(said) = meta.version.as_deref() else {
        if method == "initialize" {
            return Ok(Era::Legacy(Version::LATEST_LEGACY));
        }
        return match header.map(|text| (text, Version::parse(text))) {
            None if method == "server/discover" => Err(incomplete(meta)),
            None => Ok(Era::Legacy(of_session.unwrap_or(Version::UNSAID))),
            Some((text, None)) => Err(RpcError::version(text)),
            Some((_, Some(version))) if version.is_modern() => Err(incomplete(meta)),
            Some((_, Some(version))) => Ok(Era::Legacy(of_session.unwrap_or(version))),
        };
    };
    match header {
        Some(header) if header != said => Err(mismatch(format!(
            "the header MCP-Protocol-Version ({header}) differs from params._meta ({said})"
        ))),
        None => Err(mismatch(
            "the header MCP-Protocol-Version is missing, and params._meta has the version",
        )),
        Some(_) => match Version::parse(said) {
            None => Err(RpcError::version(said)),
            Some(version) if !version.is_modern() => Ok(Era::Legacy(version)),
            Some(_) if meta.missing().is_empty() => Ok(Era::Modern),
            Some(_) => Err(incomplete(meta)),
        },
    }
}

/// Checks the version of a handshake, where the header has one too.
///
/// # Errors
/// [`code::HEADER_MISMATCH`].
pub(crate) fn check_handshake(headers: &HeaderMap, asked: &str) -> Result<(), RpcError> {
    match single(headers, &PROTOCOL_VERSION)? {
        Some(said) if said != asked => Err(mismatch(format!(
            "the header MCP-Protocol-Version ({said}) differs from params.protocolVersion ({asked})"
        ))),
        _ => Ok(()),
    }
}

/// Whether the header says that a message is of the modern era.
pub(crate) fn is_modern(headers: &HeaderMap) -> bool {
    let header = single(headers, &PROTOCOL_VERSION).ok().flatten();
    header
        .and_then(Version::parse)
        .is_some_and(Version::is_modern)
}

/// Checks `Mcp-Method` and `Mcp-Name`, which every request of the modern era has.
///
/// # Errors
/// [`code::HEADER_MISMATCH`].
pub(crate) fn check(
    headers: &HeaderMap,
    method: &str,
    params: &Params<'_>,
) -> Result<(), RpcError> {
    match single(headers, &METHOD)? {
        Some(said) if said == method => {}
        Some(said) => {
            let text = format!("the header Mcp-Method ({said}) differs from the method ({method})");
            return Err(mismatch(text));
        }
        None => return Err(mismatch("the header Mcp-Method is missing")),
    }
    let named = match method {
        "tools/call" | "prompts/get" => params.name,
        "resources/read" => params.uri,
        "tasks/get" | "tasks/update" | "tasks/cancel" => params.task_id,
        _ => None,
    };
    let Some(named) = named.and_then(mcp::rpc::text) else {
        return Ok(());
    };
    let Some(said) = single(headers, &NAME)? else {
        return Err(mismatch(format!(
            "the header Mcp-Name is missing, which {method} needs"
        )));
    };
    let said = decoded(&NAME, said)?;
    if said != named {
        let text = format!("the header Mcp-Name ({said}) differs from the body ({named})");
        return Err(mismatch(text));
    }
    Ok(())
}

/// The parameters of a tool that headers repeat, by its input schema.
pub(crate) fn param_headers(schema: &Value) -> Vec<ParamHeader> {
    fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<ParamHeader>) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        for (name, property) in properties {
            path.push(name.clone());
            let header = property.get("x-mcp-header").and_then(Value::as_str);
            let header = header.and_then(|header| {
                let name = format!("{PARAM}{}", header.to_ascii_lowercase());
                HeaderName::try_from(name).ok()
            });
            if let Some(name) = header {
                let path = path.clone();
                found.push(ParamHeader { path, name });
            }
            collect(property, path, found);
            path.pop();
        }
    }
    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), &mut found);
    found
}

/// Checks the headers that repeat arguments.
///
/// # Errors
/// [`code::HEADER_MISMATCH`].
pub(crate) fn check_params(
    headers: &HeaderMap,
    params: &[ParamHeader],
    arguments: &Map<String, Value>,
) -> Result<(), RpcError> {
    for ParamHeader { path, name } in params {
        let said = single(headers, name)?;
        let said = said.map(|said| decoded(name, said)).transpose()?;
        let mut steps = path.iter();
        let first = steps.next().and_then(|step| arguments.get(step));
        let given = first.and_then(|first| steps.try_fold(first, |value, step| value.get(step)));
        let given = given.filter(|given| !given.is_null());
        let path = path.join(".");
        match (said, given) {
            (None, None) => {}
            (Some(_), None) => {
                return Err(mismatch(format!(
                    "the header {name} is given, but no {path}"
                )));
            }
            (None, Some(_)) => {
                return Err(mismatch(format!(
                    "the header {name} is missing, but {path} is given"
                )));
            }
            (Some(said), Some(given)) if equals(&said, given) => {}
            (Some(said), Some(_)) => {
                return Err(mismatch(format!(
                    "the header {name} ({said}) differs from {path}"
                )));
            }
        }
    }
    Ok(())
}

fn equals(said: &str, given: &Value) -> bool {
    match given {
        Value::String(text) => text == said,
        Value::Bool(value) => said == if *value { "true" } else { "false" },
        Value::Number(number) => {
            let same = |said: f64| Some(said) == number.as_f64();
            number.to_string() == said || said.parse::<f64>().is_ok_and(same)
        }
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, value::RawValue};

    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        map
    }

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).unwrap()
    }

    /// The era, or the code of the error.
    fn era_of(fields: &[(&'static str, &str)], method: &str, meta: Value) -> Result<Era, i32> {
        let params = raw(&json!({ "_meta": meta }));
        let params = Params::read(Some(&params)).unwrap();
        let meta = params.meta().unwrap();
        era(&map(fields), method, &meta, None).map_err(|error| error.code)
    }

    #[test]
    fn version_and_era_follow_from_header_and_body() {
        let modern = ("mcp-protocol-version", "2026-07-28");
        let full = || {
            json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {}})
        };
        let version = |text: &str| {
            json!({"io.modelcontextprotocol/protocolVersion": text,
                "io.modelcontextprotocol/clientCapabilities": {}})
        };
        assert_eq!(era_of(&[modern], "tools/list", full()), Ok(Era::Modern));
        let bare = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
        assert_eq!(
            era_of(&[modern], "tools/list", bare),
            Err(code::INVALID_PARAMS)
        );
        assert_eq!(
            era_of(&[modern], "tools/list", json!({})),
            Err(code::INVALID_PARAMS)
        );
        assert_eq!(
            era_of(&[], "server/discover", json!({})),
            Err(code::INVALID_PARAMS)
        );
        assert_eq!(
            era_of(&[], "tools/list", full()),
            Err(code::HEADER_MISMATCH)
        );
        assert_eq!(
            era_of(&[modern], "x", version("v999")),
            Err(code::HEADER_MISMATCH)
        );
        assert_eq!(
            era_of(&[modern, modern], "x", full()),
            Err(code::HEADER_MISMATCH)
        );
        let unknown = ("mcp-protocol-version", "v999");
        assert_eq!(
            era_of(&[unknown], "x", version("v999")),
            Err(code::UNSUPPORTED_VERSION)
        );
        assert_eq!(
            era_of(&[unknown], "x", json!({})),
            Err(code::UNSUPPORTED_VERSION)
        );
        let legacy = ("mcp-protocol-version", "2025-06-18");
        let expected = Era::Legacy(Version::V2025_06_18);
        assert_eq!(era_of(&[legacy], "tools/list", json!({})), Ok(expected));
        let expected = Era::Legacy(Version::UNSAID);
        assert_eq!(era_of(&[], "tools/list", json!({})), Ok(expected));
        assert!(matches!(
            era_of(&[], "initialize", json!({})),
            Ok(Era::Legacy(_))
        ));
        assert_eq!(era_of(&[modern], "initialize", full()), Ok(Era::Modern));
    }

    fn checked(fields: &[(&'static str, &str)], method: &str, params: &Value) -> bool {
        let params = raw(params);
        check(&map(fields), method, &Params::read(Some(&params)).unwrap()).is_ok()
    }

    #[test]
    fn method_and_name_repeat_the_body() {
        let (list, call) = (("mcp-method", "tools/list"), ("mcp-method", "tools/call"));
        assert!(checked(&[list], "tools/list", &json!({})));
        assert!(!checked(&[], "tools/list", &json!({})));
        assert!(!checked(
            &[("mcp-method", "TOOLS/LIST")],
            "tools/list",
            &json!({})
        ));
        assert!(!checked(&[list, list], "tools/list", &json!({})));
        let params = json!({"name": "é"});
        assert!(!checked(&[call], "tools/call", &params));
        assert!(!checked(&[call, ("mcp-name", "e")], "tools/call", &params));
        assert!(checked(
            &[call, ("mcp-name", "=?base64?w6k=?=")],
            "tools/call",
            &params
        ));
        assert!(!checked(
            &[call, ("mcp-name", "=?base64?w6k?=")],
            "tools/call",
            &params
        ));
        assert!(!checked(
            &[call, ("mcp-name", "=?base64?!!?=")],
            "tools/call",
            &params
        ));
        let literal = json!({"name": "=?base64?w6k="});
        assert!(checked(
            &[call, ("mcp-name", "=?base64?w6k=")],
            "tools/call",
            &literal
        ));
        let task = json!({"taskId": "t"});
        let get = ("mcp-method", "tasks/get");
        assert!(checked(&[get, ("mcp-name", "t")], "tasks/get", &task));
        assert!(!checked(&[get, ("mcp-name", "u")], "tasks/get", &task));
    }

    #[test]
    fn headers_repeat_the_arguments_that_the_schema_marks() {
        let schema = json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "bad": {"type": "string", "x-mcp-header": "a b"}, "plain": {}}});
        let params = param_headers(&schema);
        assert_eq!(params.len(), 2);
        let good = |fields: &[(&'static str, &str)], arguments: Value| {
            let arguments = arguments.as_object().unwrap().clone();
            check_params(&map(fields), &params, &arguments).is_ok()
        };
        let region = ("mcp-param-region", "eu");
        assert!(good(&[], json!({})) && good(&[], json!({"region": null, "plain": 1})));
        assert!(good(&[region], json!({"region": "eu"})));
        assert!(!good(&[region], json!({})) && !good(&[], json!({"region": "eu"})));
        assert!(!good(&[region, region], json!({"region": "eu"})));
        assert!(!good(&[region], json!({"region": "us"})));
        assert!(good(&[("mcp-param-n", "7")], json!({"deep": {"n": 7}})));
        assert!(good(&[("mcp-param-n", "7")], json!({"deep": {"n": 7.0}})));
        assert!(!good(&[("mcp-param-n", "7")], json!({"deep": {"n": [7]}})));
    }
}
