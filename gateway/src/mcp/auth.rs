//! Who calls, and what they may use: a token of a file, or a JSON Web Token of an authorization server
//! (RFC 9068, RFC 8725). Tokens end here; services get the caller's name.

mod grant;
mod jwks;
mod jwt;
mod tokens;

use std::{sync::Arc, time::SystemTime};

use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use service::Context;

use super::{
    answer,
    keys::{Auth, McpKeys},
};

pub(crate) use grant::Grant;
use jwt::JwtVerifier;
use tokens::TokenFile;

/// Where RFC 9728 wants the description of a protected resource.
pub(crate) const METADATA: &str = "/.well-known/oauth-protected-resource";
/// What tokens may allow.
const SCOPES: [&str; 2] = ["mesh:read", "mesh:tools"];
/// The longest token that is looked at, bytes.
const MAX_TOKEN: usize = 16 << 10;

/// Knows who may call.
#[derive(Debug)]
pub(crate) struct Access {
    kind: Kind,
    /// What a refusal says besides its reason.
    challenge: String,
    /// The description of the resource, where there is an authorization server.
    metadata: Option<String>,
}

#[derive(Debug)]
enum Kind {
    Open,
    Tokens(Arc<TokenFile>),
    Jwt(Box<JwtVerifier>),
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// There is no token.
    Missing,
    /// It is not valid.
    Invalid(String),
    /// It does not allow that; this scope would.
    Scope(String),
    /// Its rate is spent, for so many seconds.
    Rate(u64),
    /// Who knows cannot be asked.
    Unknown(String),
}

impl Access {
    pub(crate) fn new(context: &Context, keys: &McpKeys) -> anyhow::Result<Self> {
        let kind = match (keys.mcp_auth, &keys.mcp_tokens) {
            (Auth::Token, Some(path)) => {
                let file = TokenFile::open(path.clone(), keys.mcp_token_calls)?;
                Kind::Tokens(file.followed(context))
            }
            (Auth::Jwt, _) => Kind::Jwt(Box::new(JwtVerifier::new(context, keys)?)),
            (Auth::None | Auth::Token, _) => Kind::Open,
        };
        let resource = keys.mcp_resource.as_deref().unwrap_or_default();
        let is_jwt = matches!(kind, Kind::Jwt(_));
        let challenge = match metadata_url(resource).filter(|_| is_jwt) {
            Some(url) => format!("Bearer realm=\"mesh\", resource_metadata=\"{url}\""),
            None => "Bearer realm=\"mesh\"".to_owned(),
        };
        let metadata = json!({
            "resource": resource,
            "resource_name": "The mesh",
            "authorization_servers": [keys.mcp_issuer],
            "scopes_supported": SCOPES,
            "bearer_methods_supported": ["header"],
        });
        Ok(Self {
            kind,
            challenge,
            metadata: is_jwt.then(|| metadata.to_string()),
        })
    }

    /// The description of the resource (RFC 9728).
    pub(crate) fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref()
    }

    /// Whether every caller sees the same.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.kind, Kind::Open)
    }

    /// What the caller of a request may; `None` for everything, where nobody has to prove anything.
    pub(crate) async fn grant(&self, headers: &HeaderMap) -> Result<Option<Arc<Grant>>, Denial> {
        let now = SystemTime::now;
        match &self.kind {
            Kind::Open => Ok(None),
            Kind::Tokens(file) => file.grant(bearer(headers)?, now()).map(Some),
            Kind::Jwt(verifier) => verifier.grant(bearer(headers)?, now()).await.map(Some),
        }
    }

    /// The answer to who may not.
    pub(crate) fn refuse(&self, denial: &Denial) -> Response {
        let Self { challenge, .. } = self;
        let (status, error, text) = match denial {
            Denial::Missing => (StatusCode::UNAUTHORIZED, None, "send Authorization: Bearer"),
            Denial::Invalid(why) => (StatusCode::UNAUTHORIZED, Some("invalid_token"), &**why),
            Denial::Scope(_) => {
                let text = "the token does not allow this";
                (StatusCode::FORBIDDEN, Some("insufficient_scope"), text)
            }
            Denial::Rate(_) => {
                let text = "the token's calls come faster than it allows";
                (StatusCode::TOO_MANY_REQUESTS, None, text)
            }
            Denial::Unknown(why) => (StatusCode::SERVICE_UNAVAILABLE, None, &**why),
        };
        let mut said = challenge.clone();
        if let Some(error) = error {
            said = format!(
                "{said}, error=\"{error}\", error_description=\"{}\"",
                quoted(text)
            );
        }
        match denial {
            Denial::Scope(scope) => said = format!("{said}, scope=\"{}\"", quoted(scope)),
            Denial::Missing if self.metadata.is_some() => {
                said = format!("{said}, scope=\"{}\"", SCOPES.join(" "));
            }
            _ => {}
        }
        let body = json!({"error": error.unwrap_or("refused"), "error_description": text});
        let mut response = answer::json(status, body.to_string());
        let headers = response.headers_mut();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            && let Ok(said) = HeaderValue::try_from(said)
        {
            headers.insert(header::WWW_AUTHENTICATE, said);
        }
        match denial {
            Denial::Rate(seconds) => drop(headers.insert(header::RETRY_AFTER, (*seconds).into())),
            Denial::Unknown(_) => drop(headers.insert(header::RETRY_AFTER, 1.into())),
            _ => {}
        }
        response
    }
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Result<&str, Denial> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Denial::Missing);
    };
    let invalid = |text: &str| Err(Denial::Invalid(text.to_owned()));
    if values.next().is_some() {
        return invalid("Authorization is given twice");
    }
    let text = value.to_str().unwrap_or_default();
    let Some((scheme, token)) = text.split_once(' ') else {
        return invalid("Authorization has no Bearer token");
    };
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return invalid("Authorization has no Bearer token");
    }
    if token.len() > MAX_TOKEN {
        return invalid("the token is too long");
    }
    Ok(token)
}

/// Where the description of a resource is: its path comes after the well-known one.
fn metadata_url(resource: &str) -> Option<String> {
    let uri: http::Uri = resource.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let path = uri.path().trim_end_matches('/');
    Some(format!("{scheme}://{authority}{METADATA}{path}"))
}

/// A text as the value of a parameter of a header.
fn quoted(text: &str) -> String {
    let plain = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    text.chars()
        .map(|c| if plain(c) { c } else { '\'' })
        .collect()
}

/// A member of a JSON object that is a text.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_once_behind_its_scheme() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read(&["bearer  abc"]), Ok("abc".to_owned()));
        assert_eq!(read(&[]), Err(Denial::Missing));
        for bad in [
            &["abc"][..],
            &["Basic abc"],
            &["Bearer "],
            &["Bearer a", "Bearer a"],
        ] {
            assert!(matches!(read(bad), Err(Denial::Invalid(_))), "{bad:?}");
        }
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN + 1));
        assert!(matches!(read(&[&long]), Err(Denial::Invalid(_))));
    }

    #[test]
    fn the_description_of_a_resource_is_beside_its_path() {
        assert_eq!(
            metadata_url("https://mcp.example:8443/mcp/").unwrap(),
            "https://mcp.example:8443/.well-known/oauth-protected-resource/mcp"
        );
    }
}
