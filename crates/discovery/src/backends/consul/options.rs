//! How to reach Consul.

use std::{fmt, fs, net::Ipv6Addr, path::PathBuf, time::Duration};

use reqwest::{Certificate, Identity, Url};

use crate::Error;

/// What errors call this registry.
pub(super) const NAME: &str = "consul";
/// Consul's port for HTTP.
pub const CONSUL_PORT: u16 = 8500;

/// How to reach Consul.
#[derive(Clone, PartialEq, Eq)]
pub struct ConsulOptions {
    /// `host:port`, or a URL with `http` or `https`, as in `CONSUL_HTTP_ADDR`. The port of a bare
    /// host is [`CONSUL_PORT`], that of a URL is its scheme's.
    pub address: String,
    /// ACL token.
    pub token: Option<String>,
    /// PEM file of authorities for Consul's certificate, besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our own certificate, for a Consul that asks for one; needs `client_key`.
    pub client_cert: Option<PathBuf>,
    /// PEM file of the private key of `client_cert`, as PKCS #8.
    pub client_key: Option<PathBuf>,
    /// How long a blocking query waits for changes, 1 s to 9 min. Up to a tenth is added at random.
    pub wait: Duration,
    /// File where the last known set is kept, for a start while Consul is away.
    pub cache: Option<PathBuf>,
}

impl fmt::Debug for ConsulOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulOptions")
            .field("address", &self.address)
            // A secret: logs say only whether there is one.
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("ca_file", &self.ca_file)
            .field("client_cert", &self.client_cert)
            .field("client_key", &self.client_key)
            .field("wait", &self.wait)
            .field("cache", &self.cache)
            .finish()
    }
}

impl ConsulOptions {
    /// A Consul at this address: without a token, files of its own and a cache, and asked by
    /// blocking queries of 5 min.
    #[must_use]
    pub fn at(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            token: None,
            ca_file: None,
            client_cert: None,
            client_key: None,
            wait: Duration::from_secs(300),
            cache: None,
        }
    }

    /// The host and port of `address`. An IPv6 address is without brackets.
    ///
    /// # Errors
    /// [`Error::Config`] when `address` is not valid.
    pub fn host_and_port(&self) -> Result<(String, u16), Error> {
        let url = self.url()?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        Ok((
            host.to_owned(),
            url.port_or_known_default().unwrap_or(CONSUL_PORT),
        ))
    }

    /// `address` as the URL that paths are added to.
    ///
    /// # Errors
    /// [`Error::Config`] when `address` is not valid.
    pub fn url(&self) -> Result<Url, Error> {
        let bad = |reason: &str| Error::Config {
            key: "consul.address",
            reason: format!(
                "write {:?} as host:port, http://… or https://…: {reason}",
                self.address
            ),
        };
        let address = self.address.trim();
        let bare = !address.contains("://");
        let text = match address.parse::<Ipv6Addr>() {
            Ok(ip) => format!("http://[{ip}]"),
            Err(_) if bare => format!("http://{address}"),
            Err(_) => address.to_owned(),
        };
        let mut url = Url::parse(&text).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("no other scheme is supported"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("remove what follows the port"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("remove the user: the token is a key of its own"));
        }
        // `Url` drops the port 80 of `http://host:80` as the default, so ask the text for it.
        if bare && url.port().is_none() && !text.trim_end_matches('/').ends_with(":80") {
            url.set_port(Some(CONSUL_PORT))
                .map_err(|()| bad("it has no host"))?;
        }
        Ok(url)
    }

    /// The HTTP client. It uses no proxy of the environment and follows no redirects: Consul is
    /// near, and nobody else may get the token.
    ///
    /// # Errors
    /// [`Error::Config`] when a file of the options cannot be used.
    pub fn http(&self) -> Result<reqwest::Client, Error> {
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(1))
            .tcp_keepalive(Duration::from_secs(10))
            .pool_idle_timeout(Duration::from_secs(30));
        let encrypted = self.url()?.scheme() == "https";
        builder = if encrypted {
            builder.use_native_tls()
        } else {
            // Cleartext needs no TLS, but a client without TLS cannot be built. rustls without
            // roots is the smallest: OpenSSL takes 4 MB of memory, the public authorities 1.5 MB.
            builder.use_rustls_tls().tls_built_in_root_certs(false)
        };
        if let Some(path) = &self.ca_file {
            for certificate in certificates(path)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let Some(identity) = self.identity()?.filter(|_| encrypted) {
            builder = builder.identity(identity);
        }
        builder.build().map_err(|error| config("consul", error))
    }

    /// Our certificate with its key.
    fn identity(&self) -> Result<Option<Identity>, Error> {
        let (cert, key) = match (&self.client_cert, &self.client_key) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(config("consul.client_key", "give it with client_cert")),
            (None, Some(_)) => return Err(config("consul.client_cert", "give it with client_key")),
        };
        let (cert, key) = (
            read("consul.client_cert", cert)?,
            read("consul.client_key", key)?,
        );
        Identity::from_pkcs8_pem(&cert, &key)
            .map(Some)
            .map_err(|error| config("consul.client_key", error))
    }

    /// The token, which must fit in an HTTP header. An empty one is none.
    ///
    /// # Errors
    /// [`Error::Config`] when it has other characters.
    pub fn token(&self) -> Result<Option<String>, Error> {
        let token = self
            .token
            .as_deref()
            .map(str::trim)
            .filter(|token| !token.is_empty());
        if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(config(
                "consul.token",
                "it has characters that no token has",
            ));
        }
        Ok(token.map(str::to_owned))
    }

    pub(super) fn wait(&self) -> Result<Duration, Error> {
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(540));
        if !(least..=most).contains(&self.wait) {
            return Err(config("consul.wait", "choose from 1s to 9m"));
        }
        Ok(self.wait)
    }
}

/// Every certificate of a PEM file. The TLS library reads only the first.
fn certificates(path: &PathBuf) -> Result<Vec<Certificate>, Error> {
    const KEY: &str = "consul.ca_file";
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let bytes = read(KEY, path)?;
    let text = String::from_utf8_lossy(&bytes);
    let found: Vec<_> = text
        .split(BEGIN)
        .skip(1)
        .map(|body| Certificate::from_pem(format!("{BEGIN}{body}").as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|error| config(KEY, error))?;
    if found.is_empty() {
        return Err(config(
            KEY,
            format!("{} has no PEM certificate", path.display()),
        ));
    }
    Ok(found)
}

fn read(key: &'static str, path: &PathBuf) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| config(key, format!("cannot read {}: {error}", path.display())))
}

fn config(key: &'static str, reason: impl fmt::Display) -> Error {
    Error::Config {
        key,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_with_and_without_a_scheme() {
        for (address, url) in [
            ("127.0.0.1:8500", "http://127.0.0.1:8500/"),
            ("consul", "http://consul:8500/"),
            ("consul:80", "http://consul/"),
            ("http://consul:8500/", "http://consul:8500/"),
            ("http://consul", "http://consul/"),
            ("https://consul:8501", "https://consul:8501/"),
            ("https://consul", "https://consul/"),
            ("[::1]:8500", "http://[::1]:8500/"),
            ("::1", "http://[::1]:8500/"),
            (" consul:9 ", "http://consul:9/"),
        ] {
            assert_eq!(
                ConsulOptions::at(address).url().unwrap().as_str(),
                url,
                "{address}"
            );
        }
    }

    #[test]
    fn an_address_that_is_none_is_quoted() {
        for address in [
            "",
            "consul:port",
            "unix:///run/consul.sock",
            "http://c/ui",
            "u:p@consul:1",
        ] {
            let error = ConsulOptions::at(address)
                .url()
                .expect_err(address)
                .to_string();
            assert!(error.contains(&format!("{address:?}")), "{error}");
        }
    }

    #[test]
    fn host_and_port_come_without_brackets() {
        assert_eq!(
            ConsulOptions::at("[::1]:8500").host_and_port().unwrap(),
            ("::1".to_owned(), 8500)
        );
        assert_eq!(
            ConsulOptions::at("https://consul").host_and_port().unwrap(),
            ("consul".to_owned(), 443)
        );
    }

    #[test]
    fn unusable_options_name_their_key() {
        let key = |options: ConsulOptions| {
            let token = options.token().map(drop);
            let error = token.and_then(|()| options.wait().map(drop));
            error
                .and_then(|()| options.http().map(drop))
                .expect_err("unusable")
                .to_string()
        };
        let good = || ConsulOptions::at("127.0.0.1");
        assert!(
            key(ConsulOptions {
                token: Some("a\nb".into()),
                ..good()
            })
            .contains("token")
        );
        assert!(
            key(ConsulOptions {
                wait: Duration::ZERO,
                ..good()
            })
            .contains("wait")
        );
        assert!(
            key(ConsulOptions {
                ca_file: Some("/none".into()),
                ..good()
            })
            .contains("ca_file")
        );
        let half = ConsulOptions {
            client_cert: Some("/none".into()),
            ..good()
        };
        assert!(key(half).contains("client_key"));
    }

    #[test]
    fn the_token_is_not_in_debug_output() {
        let options = ConsulOptions {
            token: Some("secret".into()),
            ..ConsulOptions::at("127.0.0.1")
        };
        assert!(!format!("{options:?}").contains("secret"));
    }
}
