//! The kind `http`: a request to a server outside the mesh.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::FieldError;

/// The longest that a request may ask to take, in seconds.
pub const MAX_TIMEOUT: f64 = 30.0;

/// A request to be sent. Whether it may be is for the runner to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// An `http` or `https` URL.
    pub url: String,
    /// Its method; `GET`.
    #[serde(default = "get")]
    pub method: String,
    /// Its headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its body, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How many seconds it may take, redirects included; 10, at most [`MAX_TIMEOUT`].
    #[serde(default = "ten")]
    pub timeout: f64,
}

fn get() -> String {
    "GET".to_owned()
}

const fn ten() -> f64 {
    10.0
}

/// What belongs to the connection, not to the request.
const RESERVED: [HeaderName; 6] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
];

impl Http {
    /// How long it may take, redirects included.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout.min(MAX_TIMEOUT)).unwrap_or_default()
    }

    pub(crate) fn check(&self) -> Result<(), FieldError> {
        check_url(&self.url).map_err(|reason| FieldError::new("url", reason))?;
        match Method::try_from(self.method.as_str()) {
            Ok(method) if ![Method::CONNECT, Method::TRACE].contains(&method) => {}
            _ => {
                let reason = format!("{:?} is no method to send, such as GET", self.method);
                return Err(FieldError::new("method", reason));
            }
        }
        for (name, value) in &self.headers {
            let wrong = |reason| Err(FieldError::new(format!("headers.{name}"), reason));
            match HeaderName::try_from(name.as_str()) {
                Err(_) => return wrong("is no name of a header"),
                Ok(known) if RESERVED.contains(&known) => {
                    return wrong("the connection sets this itself");
                }
                Ok(_) if HeaderValue::try_from(value.as_str()).is_err() => {
                    return wrong("give printable text");
                }
                Ok(_) => {}
            }
        }
        if !(self.timeout > 0.0 && self.timeout <= MAX_TIMEOUT) {
            let reason = format!(
                "{} is not more than 0 and at most {MAX_TIMEOUT} seconds",
                self.timeout
            );
            return Err(FieldError::new("timeout", reason));
        }
        Ok(())
    }
}

fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{} is neither http nor https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL is logged, give credentials in a header".to_owned());
    }
    Ok(())
}
