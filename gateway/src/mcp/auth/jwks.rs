//! The public keys of an authorization server (RFC 7517). They are fetched when a token names one that
//! is not known, and kept while the server does not answer.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fetch::{EgressPolicy, FetchLimits, HttpClient, Request};
use parking_lot::Mutex;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::Value;
use service::Config;
use url::Url;

use super::{Denial, member};

/// Keys are fetched again after this time at the latest.
const KEPT: Duration = Duration::from_secs(600);
/// How soon they may be fetched again for a token whose key is not known.
const SOON: Duration = Duration::from_secs(10);
/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicKey {
    id: Option<String>,
    algorithm: &'static str,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
    /// An uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// The keys of a server.
#[derive(Debug)]
pub(super) struct Jwks {
    url: Url,
    client: HttpClient,
    known: Mutex<Known>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Vec<PublicKey>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

impl Jwks {
    pub(super) fn new(url: &str, config: &Config) -> anyhow::Result<Self> {
        let url: Url = url.parse().context("mcp_jwks_url")?;
        let host = url.host_str().unwrap_or_default();
        let host = match url.port_or_known_default() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        // The operator names this one server; where a redirect leads is not its word.
        let policy = EgressPolicy::new(true, &[host]);
        let limits = FetchLimits {
            redirects: 0,
            body: 1 << 20,
            time: PATIENCE,
            ..FetchLimits::from_config(config)
        };
        Ok(Self {
            url,
            client: HttpClient::new(policy, limits)?,
            known: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        })
    }

    /// The key that a token names.
    pub(super) async fn key(&self, id: Option<&str>, algorithm: &str) -> Result<PublicKey, Denial> {
        if !["ES256", "RS256", "EdDSA"].contains(&algorithm) {
            let text = "the token's algorithm is not ES256, RS256 or EdDSA";
            return Err(Denial::Invalid(text.to_owned()));
        }
        let find = |known: &Known| {
            let fits = |key: &&PublicKey| {
                key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id)
            };
            let mut fitting = known.keys.iter().filter(fits);
            // Without an id there must be no doubt.
            let first = fitting.next().cloned();
            first.filter(|_| id.is_some() || fitting.next().is_none())
        };
        let now = Instant::now();
        let (found, is_fresh, tried) = {
            let known = self.known.lock();
            let fresh = known
                .fetched
                .is_some_and(|it| now.duration_since(it) < KEPT);
            (find(&known), fresh, known.tried)
        };
        if let Some(key) = &found
            && is_fresh
        {
            return Ok(key.clone());
        }
        if tried.is_none_or(|it| now.duration_since(it) >= SOON) {
            self.fetch(tried).await;
        }
        let known = self.known.lock();
        match find(&known) {
            Some(key) => Ok(key),
            None if known.fetched.is_none() => {
                let text = "the keys of the authorization server are not known yet";
                Err(Denial::Unknown(text.to_owned()))
            }
            None => Err(Denial::Invalid("the token's key is not known".to_owned())),
        }
    }

    /// Fetches the keys, unless another has done so since `tried`.
    async fn fetch(&self, tried: Option<Instant>) {
        let _one = self.fetching.lock().await;
        if self.known.lock().tried != tried {
            return;
        }
        let answer = self.client.send(Request::get(self.url.clone())).await;
        let keys = match answer {
            Ok(answer) if answer.status.is_success() => read(&answer.body),
            Ok(answer) => Err(format!("status {}", answer.status)),
            Err(error) => Err(error.to_string()),
        };
        let now = Instant::now();
        let mut known = self.known.lock();
        known.tried = Some(now);
        match keys {
            Ok(keys) => {
                known.keys = keys;
                known.fetched = Some(now);
            }
            Err(error) => {
                let url = telemetry::redact(self.url.as_str()).into_owned();
                tracing::warn!(
                    url,
                    error,
                    "the keys of the authorization server stay as they were"
                );
            }
        }
    }
}

/// The keys of a set that can verify tokens. Others are left out.
fn read(body: &[u8]) -> Result<Vec<PublicKey>, String> {
    let set: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or_else(|| "there is no member keys".to_owned())?;
    Ok(keys.iter().filter_map(key).collect())
}

fn key(key: &Value) -> Option<PublicKey> {
    if member(key, "use").is_some_and(|it| it != "sig") {
        return None;
    }
    let bytes = |name: &str| {
        URL_SAFE_NO_PAD
            .decode(member(key, name)?.trim_end_matches('='))
            .ok()
    };
    let (algorithm, material) = match (member(key, "kty")?, member(key, "crv")) {
        ("RSA", _) => ("RS256", Material::Rsa(bytes("n")?, bytes("e")?)),
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != 32 || y.len() != 32 {
                return None;
            }
            ("ES256", Material::P256([&[4][..], &x, &y].concat()))
        }
        ("OKP", Some("Ed25519")) => ("EdDSA", Material::Ed25519(bytes("x")?)),
        _ => return None,
    };
    let said = member(key, "alg");
    (said.is_none() || said == Some(algorithm) || said == Some("Ed25519")).then(|| PublicKey {
        id: member(key, "kid").map(str::to_owned),
        algorithm,
        material,
    })
}

impl PublicKey {
    /// Whether a signature is this key's. The algorithm is the key's, whatever the token says.
    pub(super) fn verifies(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
        if algorithm != self.algorithm {
            return false;
        }
        let verified = match &self.material {
            Material::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed,
                signature,
            ),
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(signed, signature)
            }
        };
        verified.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn signatures_of_other_keys_or_algorithms_are_refused() {
        let random = SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ed = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = ec.public_key().as_ref();
        let set = json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": text(ed.public_key().as_ref())},
            {"kty": "EC", "crv": "P-256", "kid": "b", "x": text(&point[1..33]), "y": text(&point[33..])},
            {"kty": "EC", "crv": "P-384", "kid": "c", "x": "", "y": ""},
            {"kty": "oct", "kid": "d", "k": "c2VjcmV0"},
            {"kty": "OKP", "crv": "Ed25519", "kid": "e", "use": "enc", "x": ""}]});
        let keys = read(set.to_string().as_bytes()).unwrap();
        assert_eq!(keys.len(), 2);
        let (of_ed, of_ec) = (ed.sign(b"x"), ec.sign(&random, b"x").unwrap());
        assert!(keys[0].verifies("EdDSA", b"x", of_ed.as_ref()));
        assert!(keys[1].verifies("ES256", b"x", of_ec.as_ref()));
        assert!(!keys[0].verifies("EdDSA", b"y", of_ed.as_ref()));
        assert!(!keys[0].verifies("none", b"x", b""));
        assert!(!keys[1].verifies("RS256", b"x", of_ec.as_ref()));
        assert!(!keys[0].verifies("EdDSA", b"x", of_ec.as_ref()));
    }
}
