//! Which calls a tap shows, as `/tap?service=…` and `meshctl tap --service …` say it.

use telemetry::rpc;

use crate::call_log::FinishedCall;

/// Names of metadata whose values one tap may ask for.
const MOST_HEADERS: usize = 8;
/// The codes of gRPC.
const CODES: std::ops::RangeInclusive<i32> = 0..=16;

/// Which calls a tap shows. An empty one shows all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TapQuery {
    service: Option<String>,
    method: Option<String>,
    instance: Option<String>,
    /// One of these; empty for any.
    statuses: Vec<i32>,
    sample: Option<f64>,
    headers: Vec<String>,
}

/// A parameter that is no such, with what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} is `{value}`: expected {expected}")]
pub struct InvalidQuery {
    key: String,
    value: String,
    expected: String,
}

impl InvalidQuery {
    /// What a value of this parameter has to be.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

impl TapQuery {
    /// The parameters that it has.
    pub const KEYS: [&str; 6] = [
        "service", "method", "instance", "status", "sample", "header",
    ];

    /// Sets one parameter; an empty value says nothing.
    ///
    /// # Errors
    /// When there is no such parameter, or its value cannot be used.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), InvalidQuery> {
        let value = value.trim();
        let refuse = |expected: &str| InvalidQuery {
            key: key.to_owned(),
            value: value.chars().take(64).collect(),
            expected: expected.to_owned(),
        };
        if !Self::KEYS.contains(&key) {
            return Err(InvalidQuery {
                key: "parameter".to_owned(),
                value: key.chars().take(64).collect(),
                expected: format!("one of {}", Self::KEYS.join(", ")),
            });
        }
        if value.is_empty() {
            return Ok(());
        }
        let text = || Some(value.to_owned());
        match key {
            "service" => self.service = text(),
            "method" => self.method = text(),
            "instance" => self.instance = text(),
            "status" => {
                for name in value.split(',') {
                    let code = code(name.trim());
                    let code = code.ok_or_else(|| refuse(
                        "a code of gRPC by name or number, such as UNAVAILABLE or 14, or several with commas, or errors",
                    ))?;
                    self.statuses.extend(code);
                }
            }
            "sample" => {
                let part = value
                    .parse()
                    .ok()
                    .filter(|part| *part > 0.0 && *part <= 1.0);
                self.sample = Some(part.ok_or_else(|| {
                    refuse("a part of the calls above 0, at most 1, such as 0.01")
                })?);
            }
            _ => {
                for name in value.split(',') {
                    let name = http::HeaderName::try_from(name.trim()).ok();
                    let name =
                        name.ok_or_else(|| refuse("the name of a header, such as x-tenant"))?;
                    if self.headers.len() == MOST_HEADERS {
                        return Err(refuse(&format!("at most {MOST_HEADERS} names")));
                    }
                    self.headers.push(name.as_str().to_owned());
                }
            }
        }
        Ok(())
    }

    /// The names of metadata whose values are shown.
    pub(crate) fn headers(&self) -> &[String] {
        &self.headers
    }

    /// Whether a call is shown.
    pub(super) fn matches(&self, call: &FinishedCall<'_>) -> bool {
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == value
        };
        is(&self.service, call.service)
            && is(&self.instance, call.instance)
            && (self.statuses.is_empty() || self.statuses.contains(&call.status))
            && self
                .method
                .as_deref()
                .is_none_or(|wanted| is_method(wanted, call.method))
            && self.sample.is_none_or(|part| rand::random::<f64>() < part)
    }
}

/// Whether a name means this method: `pkg.Service/Method`, `pkg.Service` or `Method`.
fn is_method(wanted: &str, method: &str) -> bool {
    let parts = method.rsplit_once('/');
    wanted == method || parts.is_some_and(|(service, name)| wanted == service || wanted == name)
}

/// The codes that a word stands for.
fn code(name: &str) -> Option<Vec<i32>> {
    if name.eq_ignore_ascii_case("errors") {
        return Some(CODES.skip(1).collect());
    }
    let by_number = name.parse().ok().filter(|code| CODES.contains(code));
    let code = by_number.or_else(|| {
        CODES
            .into_iter()
            .find(|code| rpc::code_name(*code).eq_ignore_ascii_case(name))
    });
    code.map(|code| vec![code])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(parameters: &[(&str, &str)]) -> Result<TapQuery, InvalidQuery> {
        let mut query = TapQuery::default();
        for (key, value) in parameters {
            query.set(key, value)?;
        }
        Ok(query)
    }

    #[test]
    fn a_tap_shows_what_all_its_parameters_name() {
        let call = FinishedCall {
            method: "pkg.Service/Method",
            service: Some("agent-echo"),
            instance: Some("echo-1"),
            status: 14,
            ..FinishedCall::default()
        };
        let good = FinishedCall { status: 0, ..call };
        for (parameters, bad_shown, good_shown) in [
            (&[][..], true, true),
            (
                &[("service", "agent-echo"), ("instance", "echo-1")],
                true,
                true,
            ),
            (&[("service", "agent")], false, false),
            (&[("instance", "echo-2")], false, false),
            (&[("method", "pkg.Service/Method")], true, true),
            (&[("method", "Method")], true, true),
            (&[("method", "pkg.Service")], true, true),
            (&[("method", "Service")], false, false),
            (&[("status", "UNAVAILABLE")], true, false),
            (&[("status", "unavailable,ok")], true, true),
            (&[("status", "0")], false, true),
            (&[("status", "errors")], true, false),
            (&[("status", ""), ("service", "")], true, true),
            (&[("sample", "1")], true, true),
        ] {
            let query = query(parameters).unwrap();
            let shown = (query.matches(&call), query.matches(&good));
            assert_eq!(shown, (bad_shown, good_shown), "{parameters:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_key_and_what_is_expected() {
        for (key, value, words) in [
            ("status", "FOO", "status is `FOO`: expected a code of gRPC"),
            ("status", "17", "status is `17`"),
            ("status", "-1", "status is `-1`"),
            ("sample", "0", "sample is `0`: expected a part"),
            ("sample", "2", "sample is `2`"),
            ("sample", "NaN", "sample is `NaN`"),
            (
                "header",
                "no name",
                "header is `no name`: expected the name of a header",
            ),
            ("header", "a,b,c,d,e,f,g,h,i", "at most 8 names"),
            (
                "colour",
                "red",
                "parameter is `colour`: expected one of service,",
            ),
        ] {
            let error = query(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let names = query(&[("header", "X-Tenant, b3")]).unwrap();
        assert_eq!(names.headers(), ["x-tenant", "b3"]);
    }
}
