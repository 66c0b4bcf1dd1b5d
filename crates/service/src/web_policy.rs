//! Which requests of web pages an HTTP port answers. A browser lets any page send requests to any
//! address it can reach, this machine's included, and sends many of them without a preflight.
//!
//! Two headers identify the page. `Host` has the name in the page's address, which detects DNS
//! rebinding: a foreign name that was pointed at us. `Origin` names the page that sends.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request::Parts};

use config::list;

use crate::probes;

config::keys! {
    /// What web pages may ask of an HTTP port.
    #[derive(Clone, Debug)]
    pub(crate) struct WebKeys: "Web pages", absent: "does not serve HTTP to web pages" {
        /// Names that requests may carry as `Host`, beside IP addresses, localhost and
        /// `service_host`.
        allowed_hosts: Vec<String> = list().only(
            WebPolicy::are_hosts,
            "names such as gateway.example, gateway.example:8443 or *.example.com",
        ),
        /// Origins of web pages that may change things and follow events, beside the port's own.
        allowed_origins: Vec<String> = list().only(
            WebPolicy::are_origins,
            "origins such as https://console.example",
        ),
    }
}

/// How browsers tell where a request without `Origin` comes from.
const FETCH_SITE: &str = "sec-fetch-site";
/// Characters of a name that an error repeats.
const SHOWN: usize = 100;

/// The host names and origins that a port answers.
#[derive(Clone, Debug, Default)]
pub struct WebPolicy {
    hosts: Vec<Pattern>,
    origins: Vec<Origin>,
    /// Whether IP addresses and localhost are not names of ours by themselves.
    is_strict: bool,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebRefusal {
    /// There is no `Host`, or there are several; HTTP/1.1 requires one.
    #[error("send exactly one Host header")]
    NoHost,
    /// The host name is not allowed.
    #[error(
        "the host name {0:?} is not served here: use an IP address or localhost, or list the name \
         in allowed_hosts"
    )]
    Host(String),
    /// The page's origin is not allowed.
    #[error("the origin {0} is not allowed: add it to allowed_origins")]
    Origin(String),
}

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
    /// The policy of the keys and the advertised address.
    pub(crate) fn new(endpoint: &str, keys: &WebKeys) -> Self {
        let announced = host_and_port(endpoint).map(|(host, _)| host);
        Self::with(
            announced.as_deref(),
            &keys.allowed_hosts,
            &keys.allowed_origins,
        )
    }

    fn with(announced: Option<&str>, hosts: &[String], origins: &[String]) -> Self {
        let hosts = hosts.iter().map(String::as_str).chain(announced);
        Self {
            hosts: hosts.filter_map(Pattern::parse).collect(),
            origins: origins.iter().filter_map(|it| Origin::parse(it)).collect(),
            is_strict: false,
        }
    }

    /// A policy that answers no hosts but these, such as `mcp.example` and `127.0.0.1`.
    #[must_use]
    pub fn only(hosts: &[String], origins: &[String]) -> Self {
        let policy = Self::with(None, hosts, origins);
        Self {
            is_strict: true,
            ..policy
        }
    }

    /// Whether each entry of a list is a host, as [`WebPolicy::only`] takes it.
    #[must_use]
    pub fn are_hosts(text: &str) -> bool {
        all(text, |entry| Pattern::parse(entry).is_some())
    }

    /// Whether each entry of a list is an origin.
    #[must_use]
    pub fn are_origins(text: &str) -> bool {
        all(text, |entry| Origin::parse(entry).is_some())
    }

    /// Checks a request. `guarded` is for safe methods that another origin must not use, such as a
    /// stream of events; upgrades are always guarded.
    ///
    /// # Errors
    /// A [`WebRefusal`].
    pub fn check(&self, request: &Parts, guarded: bool) -> Result<(), WebRefusal> {
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&request.method);
        // Load balancers use any name for us, and the answer is no secret.
        if probes::is_health_check(&request.method, request.uri.path()) {
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

    /// The allowed origin that a request comes from, for `Access-Control-Allow-Origin`.
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

    /// Whether any other origin is allowed.
    #[must_use]
    pub const fn has_origins(&self) -> bool {
        !self.origins.is_empty()
    }

    /// The authority of a request. Every name that it carries has to be allowed.
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
            !self.is_strict && (is_address(&host) || host == "localhost")
                || self
                    .hosts
                    .iter()
                    .any(|pattern| pattern.matches(&host, port))
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

/// Where a request comes from.
enum Sender {
    /// No page: a program, or the address bar of a browser.
    None,
    /// A page of this port.
    SameOrigin,
    /// A page of an allowed origin.
    Listed(HeaderValue),
    /// Any other page.
    OtherOrigin(String),
}

/// A host name, or all subdomains of one (`*.`), on any port or on one.
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
    /// `None` for `null` and for malformed origins.
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

    /// Whether it is the origin of this authority. Whether a proxy in front speaks TLS is not
    /// known, so a missing port is the scheme's default.
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

/// The parts of `host`, `host:port` or `[address]:port`. The host is in lower case, without the
/// trailing dot and without brackets.
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
