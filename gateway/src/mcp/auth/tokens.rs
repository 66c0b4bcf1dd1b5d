//! Tokens of a file: their SHA-256, and what each allows. The file is read again when it changes; one
//! that cannot be read keeps what is known.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use parking_lot::RwLock;
use serde::Deserialize;
use service::Context;
use sha2::{Digest as _, Sha256};

use super::{Denial, Grant, grant::Allows};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

type Hash = [u8; 32];

/// The tokens of a file.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    calls: usize,
    known: RwLock<HashMap<Hash, Arc<Grant>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    name: String,
    sha256: String,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    tools: Vec<String>,
    rate: Option<f64>,
    expires: Option<String>,
}

impl TokenFile {
    /// Reads a file. `calls` may be in flight for each token.
    pub(super) fn open(path: PathBuf, calls: usize) -> anyhow::Result<Self> {
        let file = Self {
            path,
            calls,
            known: RwLock::default(),
        };
        let text = std::fs::read_to_string(&file.path)
            .with_context(|| format!("read mcp_tokens = {}", file.path.display()))?;
        file.take(&text)?;
        Ok(file)
    }

    /// Reads it again when it changes, until the program ends.
    pub(super) fn followed(self, context: &Context) -> Arc<Self> {
        let file = Arc::new(self);
        let (following, shutdown) = (Arc::clone(&file), context.shutdown.clone());
        context.tracker.spawn(async move {
            shutdown.run_until_cancelled(following.follow()).await;
        });
        file
    }

    async fn follow(&self) {
        let mut seen = None;
        loop {
            let state = tokio::fs::metadata(&self.path).await;
            let state = state.ok().map(|it| (it.modified().ok(), it.len()));
            if seen.is_some() && state != seen.flatten() {
                match tokio::fs::read_to_string(&self.path).await {
                    Ok(text) => self.again(&text),
                    Err(error) => self.keep(&error.into()),
                }
            }
            seen = Some(state);
            tokio::time::sleep(LOOK).await;
        }
    }

    fn again(&self, text: &str) {
        match self.take(text) {
            Ok(tokens) => {
                tracing::info!(tokens, path = %self.path.display(), "read the tokens again")
            }
            Err(error) => self.keep(&error),
        }
    }

    fn keep(&self, error: &anyhow::Error) {
        let path = self.path.display();
        tracing::warn!(%path, error = %format!("{error:#}"), "the tokens stay as they were");
    }

    fn take(&self, text: &str) -> anyhow::Result<usize> {
        let name = self.path.display();
        let file: File = toml::from_str(text).with_context(|| format!("read {name}"))?;
        let mut known = HashMap::new();
        for token in file.token {
            let at = || format!("{name}: token {:?}", token.name);
            anyhow::ensure!(
                is_name(&token.name),
                "{}: a name is 1 to 100 printable characters",
                at()
            );
            let hash = unhex(&token.sha256)
                .with_context(|| format!("{}: sha256 must be 64 hexadecimal digits", at()))?;
            let expires = token.expires.as_deref().map(|text| {
                let read = DateTime::parse_from_rfc3339(text);
                read.with_context(|| format!("{}: expires must be as 2027-01-01T00:00:00Z", at()))
            });
            let expires = expires
                .transpose()?
                .map(|time| time.with_timezone(&Utc).into());
            anyhow::ensure!(
                token.rate.is_none_or(|rate| rate.is_finite() && rate > 0.0),
                "{}: rate must be calls per second above 0",
                at()
            );
            let allows = Allows::Listed {
                services: token.services,
                tools: token.tools,
            };
            let grant = Grant::new(&token.name, allows, self.calls);
            let grant = grant.at_rate(token.rate).until(expires);
            let twice = known.insert(hash, Arc::new(grant));
            anyhow::ensure!(
                twice.is_none(),
                "{}: another token has the same sha256",
                at()
            );
        }
        let tokens = known.len();
        *self.known.write() = known;
        Ok(tokens)
    }

    /// What a token allows.
    pub(super) fn grant(&self, token: &str, now: SystemTime) -> Result<Arc<Grant>, Denial> {
        let hash: Hash = Sha256::digest(token.as_bytes()).into();
        let known = self.known.read();
        let grant = known
            .get(&hash)
            .ok_or_else(|| Denial::Invalid("the token is not known".to_owned()))?;
        if grant.has_expired(now) {
            return Err(Denial::Invalid("the token has expired".to_owned()));
        }
        Ok(Arc::clone(grant))
    }
}

/// It goes into a header.
fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
}

fn unhex(text: &str) -> Option<Hash> {
    let digits = text.trim().as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `secret`.
    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn file(text: &str) -> anyhow::Result<TokenFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        std::fs::write(&path, text).unwrap();
        TokenFile::open(path, 10)
    }

    #[test]
    fn a_token_is_known_by_its_hash_until_it_expires() {
        let text = format!(
            "[[token]]\nname = \"ann\"\nsha256 = \"{HASH}\"\nexpires = \"2030-01-01T00:00:00Z\"\n"
        );
        let file = file(&text).unwrap();
        let early: SystemTime = "2029-12-31T23:59:59Z"
            .parse::<DateTime<Utc>>()
            .unwrap()
            .into();
        assert_eq!(&*file.grant("secret", early).unwrap().caller, "ann");
        let late = early + Duration::from_secs(1);
        assert!(matches!(
            file.grant("secret", late),
            Err(Denial::Invalid(_))
        ));
        assert!(matches!(
            file.grant("other", early),
            Err(Denial::Invalid(_))
        ));
        // What is wrong changes nothing, and what is right does at once.
        file.again("[[token]]\nname = 7");
        assert!(file.grant("secret", early).is_ok());
        file.again("");
        assert!(file.grant("secret", early).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_token_is_told_by_its_name() {
        for (fields, part) in [
            ("sha256 = \"ab\"", "sha256"),
            (&*format!("sha256 = \"{HASH}\"\nrate = 0.0"), "rate"),
            (
                &*format!("sha256 = \"{HASH}\"\nexpires = \"tomorrow\""),
                "expires",
            ),
            (&*format!("sha256 = \"{HASH}\"\nother = 1"), "other"),
        ] {
            let error = file(&format!("[[token]]\nname = \"ann\"\n{fields}")).unwrap_err();
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }
}
