//! What a web page may ask of an HTTP port. A browser lets any page send requests to any address
//! that it can reach, this machine's included, and sends many of them without asking first.
//!
//! Two headers tell such a page: `Host` carries the name that the page's address has, so that one
//! whose name was pointed at us (DNS rebinding) is seen; `Origin` says which page sends.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request::Parts};

use config::list;

use crate::Context;

config::keys! {
    /// What web pages may ask of an HTTP port.
    #[derive(Clone, Debug)]
    pub(crate) struct WebKeys: "Web pages", absent: "does not serve HTTP to web pages" {
        /// Names that requests may carry as `Host`, beside IP addresses, localhost and `service_host`.
        allowed_hosts: Vec<String> = list().only(
            |text| all(text, |entry| Pattern::parse(entry).is_some()),
            "names such as gateway.example, gateway.example:8443 or *.example.com",
        ),
        /// Origins of web pages that may change things and follow events, beside the port's own.
        allowed_origins: Vec<String> = list().only(
            |text| all(text, |entry| Origin::parse(entry).is_some()),
            "origins such as https://console.example",
        ),
    }
}

/// How browsers say where a request comes from when they send no `Origin`.
const FETCH_SITE: &str = "sec-fetch-site";
/// How much of a name is repeated in an answer.
const SHOWN: usize = 100;

/// The names and pages that a port answers.
#[derive(Clone, Debug, Default)]
pub struct WebPolicy {
    hosts: Vec<Pattern>,
    origins: Vec<Origin>,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebRefusal {
    /// HTTP/1.1 asks for one `Host`, and there is none, or there are several.
    #[error("send exactly one Host header")]
    NoHost,
    /// The name is not ours.
    #[error(
        "the host name {0:?} is not served here: use an IP address or localhost, or list the name \
         in allowed_hosts"
    )]
    Host(String),
    /// The page may not do this.
    #[error("pages of {0} may not do this: list the page's origin in allowed_origins to allow it")]
    Origin(String),
}

/// What load balancers ask.
const PROBES: [&str; 3] = ["/readyz", "/healthz", "/livez"];

impl WebRefusal {
    /// 400, 421 or 403.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::Host(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin(_) => StatusCode::FORBIDDEN,
        }
    }
}

impl WebPolicy {
    /// What the keys and the announced address allow.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        let announced = host_and_port(&context.endpoint).map(|(host, _)| host);
        let keys = WebKeys::from_config(&context.config);
        Self::with(announced.as_deref(), &keys.allowed_hosts, &keys.allowed_origins)
    }

    fn with(announced: Option<&str>, hosts: &[String], origins: &[String]) -> Self {
        let hosts = hosts.iter().map(String::as_str).chain(announced);
        Self {
            hosts: hosts.filter_map(Pattern::parse).collect(),
            origins: origins.iter().filter_map(|it| Origin::parse(it)).collect(),
        }
    }

    /// Whether a request is answered. `guarded` says that a page of another origin must not send
    /// it although its method is safe, as for a stream of events; upgrades are found here.
    ///
    /// # Errors
    /// A [`WebRefusal`].
    pub fn check(&self, request: &Parts, guarded: bool) -> Result<(), WebRefusal> {
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&request.method);
        // Load balancers ask by whatever name they have for us, and the answer is no secret.
        if safe && PROBES.contains(&request.uri.path()) {
            return Ok(());
        }
        let authority = self.host(request)?;
        if safe && !guarded && !request.headers.contains_key(header::UPGRADE) {
            return Ok(());
        }
        match self.sender(&request.headers, authority) {
            Sender::OtherOrigin(origin) => Err(WebRefusal::Origin(shortened(&origin))),
            Sender::None | Sender::SameOrigin | Sender::Listed(_) => Ok(()),
        }
    }

    /// The listed origin that a request comes from: its answer says so, as CORS wants it.
    #[must_use]
    pub fn cors(&self, request: &Parts) -> Option<HeaderValue> {
        if !request.headers.contains_key(header::ORIGIN) {
            return None;
        }
        let authority = self.host(request).ok()?;
        match self.sender(&request.headers, authority) {
            Sender::Listed(origin) => Some(origin),
            Sender::None | Sender::SameOrigin | Sender::OtherOrigin(_) => None,
        }
    }

    /// Whether any page of another origin is allowed anything.
    #[must_use]
    pub const fn has_origins(&self) -> bool {
        !self.origins.is_empty()
    }

    /// The authority that the request is for; every name that it carries has to be allowed.
    fn host<'a>(&self, request: &'a Parts) -> Result<Option<&'a str>, WebRefusal> {
        let mut hosts = request.headers.get_all(header::HOST).iter();
        let (host, second) = (hosts.next(), hosts.next());
        if second.is_some() {
            return Err(WebRefusal::NoHost);
        }
        let host = host.map(|host| host.to_str().unwrap_or("?"));
        // An absolute target in HTTP/1, and `:authority` in HTTP/2, come before the header.
        let target = request.uri.authority().map(http::uri::Authority::as_str);
        for name in target.iter().chain(&host) {
            if !self.allows(name) {
                return Err(WebRefusal::Host(shortened(name)));
            }
        }
        match target.or(host) {
            None if request.version == Version::HTTP_11 => Err(WebRefusal::NoHost),
            authority => Ok(authority),
        }
    }

    fn allows(&self, authority: &str) -> bool {
        host_and_port(authority).is_some_and(|(host, port)| {
            is_address(&host)
                || host == "localhost"
                || self.hosts.iter().any(|pattern| pattern.matches(&host, port))
        })
    }

    fn sender(&self, headers: &HeaderMap, authority: Option<&str>) -> Sender {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(value) = origins.next() else {
            let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
            return match site {
                Some(site @ (b"cross-site" | b"same-site")) => Sender::OtherOrigin(format!(
                    "another origin ({})",
                    String::from_utf8_lossy(site)
                )),
                _ => Sender::None,
            };
        };
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let (None, Some(origin)) = (origins.next(), Origin::parse(&text)) else {
            return Sender::OtherOrigin(text);
        };
        if self.origins.contains(&origin) {
            return Sender::Listed(value.clone());
        }
        match authority.and_then(host_and_port) {
            Some((host, port)) if origin.is_same_origin(&host, port) => Sender::SameOrigin,
            _ => Sender::OtherOrigin(text),
        }
    }
}

/// Which page sends a request.
enum Sender {
    /// None, as far as can be told: a program, or the address line of a browser.
    None,
    /// One of this very port.
    SameOrigin,
    /// One that the operator lists.
    Listed(HeaderValue),
    /// Any other.
    OtherOrigin(String),
}

/// A name, or with a star all names below one; with a port only there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    name: String,
    below: bool,
    port: Option<u16>,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let (name, port) = host_and_port(name)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        let good = name.chars().all(plain) && !name.starts_with('.');
        good.then_some(Self { name, below, port })
    }

    fn matches(&self, host: &str, port: Option<u16>) -> bool {
        let named = match self.below {
            true => host
                .strip_suffix(&self.name)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            false => host == self.name,
        };
        named && self.port.is_none_or(|only| port == Some(only))
    }
}

/// An origin, as RFC 6454 writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// `None` for `null`, and for whatever else names no page.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let (host, port) = host_and_port(authority)?;
        let good = !scheme.is_empty()
            && scheme.chars().all(known)
            && !host.contains(['/', '?', '#', '*', ' ']);
        let scheme = scheme.to_ascii_lowercase();
        let port = port.or_else(|| default_port(&scheme));
        good.then_some(Self { scheme, host, port })
    }

    /// Whether its pages come from this authority. Whether a proxy before us speaks TLS does not
    /// show, so that a port that is not told is the scheme's own.
    fn is_same_origin(&self, host: &str, port: Option<u16>) -> bool {
        let default = default_port(&self.scheme);
        default.is_some() && self.host == host && self.port == port.or(default)
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The parts of `host`, `host:port` or `[address]:port`: the host in lower case, without the root's
/// dot and without brackets.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            let port = match rest {
                "" => "",
                rest => rest.strip_prefix(':')?,
            };
            (address.to_string(), port)
        }
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            let host = host.strip_suffix('.').unwrap_or(host);
            (host.to_ascii_lowercase(), port)
        }
    };
    let port = match port {
        "" => None,
        port if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        _ => return None,
    };
    (!host.is_empty() && !host.contains('@')).then_some((host, port))
}

fn is_address(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok()
}

fn all(text: &str, good: impl Fn(&str) -> bool) -> bool {
    let mut entries = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    entries.all(good)
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
