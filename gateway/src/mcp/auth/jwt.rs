//! JSON Web Tokens: signed by a key of the authorization server, for this resource, now (RFC 7519).

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::Value;
use service::Context;
use sha2::{Digest as _, Sha256};

use super::{Denial, Grant, grant::Allows, jwks::Jwks, member};
use crate::mcp::keys::McpKeys;

/// How far clocks may differ.
const SKEW: Duration = Duration::from_secs(60);
/// Characters of a caller's name.
const MAX_NAME: usize = 100;
/// Verified tokens that are remembered: verifying one costs more than a call.
const MAX_KNOWN: usize = 10_000;
/// How long one is remembered: a key may be withdrawn.
const KNOWN: Duration = Duration::from_secs(60);

/// Verified tokens by their hash, with the time until which they are believed.
type Verified = HashMap<[u8; 32], (Arc<Grant>, SystemTime)>;

/// Verifies tokens.
#[derive(Debug)]
pub(super) struct JwtVerifier {
    keys: Jwks,
    issuer: String,
    audience: String,
    calls: usize,
    known: Mutex<Verified>,
}

impl JwtVerifier {
    pub(super) fn new(context: &Context, keys: &McpKeys) -> anyhow::Result<Self> {
        let url = keys.mcp_jwks_url.as_deref().unwrap_or_default();
        Ok(Self {
            keys: Jwks::new(url, &context.config)?,
            issuer: keys.mcp_issuer.clone().unwrap_or_default(),
            audience: keys.mcp_resource.clone().unwrap_or_default(),
            calls: keys.mcp_token_calls,
            known: Mutex::default(),
        })
    }

    /// What a token allows.
    pub(super) async fn grant(&self, token: &str, now: SystemTime) -> Result<Arc<Grant>, Denial> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some((grant, until)) = self.known.lock().get(&hash)
            && now < *until
        {
            return Ok(Arc::clone(grant));
        }
        let claims = self.verified(token).await?;
        let expires = check(&claims, &self.issuer, &self.audience, now)?;
        let caller = ["sub", "client_id", "azp"];
        let caller = caller.iter().find_map(|name| member(&claims, name));
        let grant = Grant::new(&named(caller), allows(&claims), self.calls).until(Some(expires));
        let grant = Arc::new(grant);
        let mut known = self.known.lock();
        if known.len() >= MAX_KNOWN {
            known.retain(|_, (_, until)| now < *until);
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
        }
        known.insert(hash, (Arc::clone(&grant), expires.min(now + KNOWN)));
        Ok(grant)
    }

    /// The claims of a token whose signature is good.
    async fn verified(&self, token: &str) -> Result<Value, Denial> {
        let invalid = |text: &str| Denial::Invalid(text.to_owned());
        let malformed = || invalid("the token is no JSON Web Token");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (head, body) = signed.split_once('.').ok_or_else(malformed)?;
        let head = part(head).ok_or_else(malformed)?;
        let claims = part(body).ok_or_else(malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed())?;
        if head.get("crit").is_some() {
            return Err(invalid("the token has critical extensions"));
        }
        let algorithm = member(&head, "alg").unwrap_or_default();
        let key = self.keys.key(member(&head, "kid"), algorithm).await?;
        if key.verifies(algorithm, signed.as_bytes(), &signature) {
            Ok(claims)
        } else {
            Err(invalid("the token's signature is not valid"))
        }
    }
}

/// An object of a token.
fn part(text: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    value.is_object().then_some(value)
}

/// Checks whose token it is, for whom and when. Gives the time until which it is valid.
fn check(
    claims: &Value,
    issuer: &str,
    audience: &str,
    now: SystemTime,
) -> Result<SystemTime, Denial> {
    let invalid = |text: &str| Err(Denial::Invalid(text.to_owned()));
    if member(claims, "iss") != Some(issuer) {
        return invalid("the token is of another issuer");
    }
    let is_ours = |value: &Value| value.as_str().is_some_and(|it| same(it, audience));
    let for_us = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    };
    if !for_us {
        return invalid("the token is for another audience");
    }
    let Some(expires) = time(claims, "exp") else {
        return invalid("the token has no exp");
    };
    let expires = expires + SKEW;
    if expires <= now {
        return invalid("the token has expired");
    }
    for name in ["nbf", "iat"] {
        if claims.get(name).is_some() && time(claims, name).is_none_or(|it| it > now + SKEW) {
            return invalid("the token is not valid yet");
        }
    }
    Ok(expires)
}

/// A slash at the end makes no other resource.
fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn time(claims: &Value, name: &str) -> Option<SystemTime> {
    let seconds = claims.get(name)?.as_f64()?;
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    // Further away than any clock.
    (since < Duration::from_secs(1 << 40)).then(|| UNIX_EPOCH + since)
}

/// What the scopes allow: `scope` is a text of words, and with some servers `scp` a list.
fn allows(claims: &Value) -> Allows {
    let mut words: Vec<&str> = Vec::new();
    for name in ["scope", "scp"] {
        match claims.get(name) {
            Some(Value::String(text)) => words.extend(text.split_whitespace()),
            Some(Value::Array(list)) => words.extend(list.iter().filter_map(Value::as_str)),
            _ => {}
        }
    }
    let named = words
        .iter()
        .filter_map(|word| word.strip_prefix("mesh:tool:"));
    Allows::Scopes {
        read: words.contains(&"mesh:read"),
        tools: words.contains(&"mesh:tools"),
        named: named.map(str::to_owned).collect(),
    }
}

/// A name that fits a header. Sessions and tasks belong to it, so that what does not fit as it is ends in
/// a hash: two people have two names.
fn named(caller: Option<&str>) -> String {
    let given = caller.filter(|name| !name.is_empty());
    let given = given.unwrap_or("anonymous");
    let plain = |c: char| if matches!(c, '!'..='~') { c } else { '_' };
    let name: String = given.chars().take(MAX_NAME).map(plain).collect();
    if name == given {
        return name;
    }
    let hash = Sha256::digest(given.as_bytes());
    let hash: String = hash.iter().take(8).map(|it| format!("{it:02x}")).collect();
    format!("{name}~{hash}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_say_whose_for_whom_and_when() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let good = json!({"iss": "i", "aud": ["x", "r/"], "exp": 1_000_010, "nbf": 1_000_030});
        let verdict = |changes: Value| {
            let mut claims = good.as_object().unwrap().clone();
            for (name, value) in changes.as_object().unwrap() {
                claims.insert(name.clone(), value.clone());
            }
            check(&Value::Object(claims), "i", "r", now).is_ok()
        };
        assert!(verdict(json!({})) && verdict(json!({"exp": 999_941, "aud": "r"})));
        for bad in [
            json!({"iss": "other"}),
            json!({"aud": "x"}),
            json!({"aud": null}),
            json!({"exp": 999_940}),
            json!({"exp": "never"}),
            json!({"exp": 1e300}),
            json!({"nbf": 1_000_061}),
            json!({"iat": 1_000_061}),
            json!({"nbf": "x"}),
        ] {
            assert!(!verdict(bad.clone()), "{bad}");
        }
    }

    #[test]
    fn two_callers_have_two_names() {
        assert_eq!(named(Some("auth0|ann")), "auth0|ann");
        assert_eq!(
            (named(None), named(Some(""))),
            ("anonymous".into(), "anonymous".into())
        );
        let long = "x".repeat(MAX_NAME);
        let pairs = [
            ("müller", "möller"),
            ("ann b", "ann_b"),
            (&*format!("{long}1"), &*format!("{long}2")),
            (&*long, &*format!("{long}x")),
        ];
        for (one, other) in pairs {
            assert_ne!(named(Some(one)), named(Some(other)), "{one}");
            assert!(named(Some(one)).bytes().all(|it| it.is_ascii_graphic()));
        }
    }

    #[test]
    fn scopes_are_words() {
        let Allows::Scopes { read, tools, named } =
            allows(&json!({"scope": "a mesh:read mesh:tool:echo"}))
        else {
            panic!("scopes")
        };
        assert_eq!((read, tools, named), (true, false, vec!["echo".to_owned()]));
    }
}
