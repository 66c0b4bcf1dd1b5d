//! Which servers may be asked.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use crate::{AddressClass, Connector, Error, classify};

/// Decides which servers may be asked.
#[derive(Debug, Clone, Default)]
pub struct EgressPolicy {
    external: bool,
    hosts: Vec<(String, Option<u16>)>,
}

impl EgressPolicy {
    /// A policy that allows requests to the outside if `external`. Then it also allows those to the
    /// listed hosts, each `host` or `host:port`, even with internal addresses.
    #[must_use]
    pub fn new(external: bool, hosts: &[String]) -> Self {
        let hosts = hosts.iter().map(|entry| entry_of(entry)).collect();
        Self { external, hosts }
    }

    /// Whether anything may be asked at all.
    ///
    /// # Errors
    /// [`Error::Disabled`].
    pub const fn check_enabled(&self) -> Result<(), Error> {
        if self.external {
            Ok(())
        } else {
            Err(Error::Disabled)
        }
    }

    /// The addresses to connect to for a URL, each one checked; never empty.
    ///
    /// # Errors
    /// [`Error::Disabled`], [`Error::BadUrl`], [`Error::Forbidden`] when no address of the host may
    /// be asked, [`Error::Unresolved`].
    pub async fn addresses(
        &self,
        url: &Url,
        connector: &dyn Connector,
    ) -> Result<Vec<SocketAddr>, Error> {
        self.check_enabled()?;
        let bad = |reason: &str| Error::BadUrl {
            url: telemetry::redact(url.as_str()).into_owned(),
            reason: reason.to_owned(),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("has credentials: send them in a header"));
        }
        let host = url.host().ok_or_else(|| bad("has no host"))?;
        let port = url
            .port_or_known_default()
            .ok_or_else(|| bad("names no port"))?;
        // The URL has read `2130706433`, `0x7f.1` and `0177.0.0.1` as the addresses they are.
        let addresses = match host {
            Host::Ipv4(address) => vec![IpAddr::V4(address)],
            Host::Ipv6(address) => vec![IpAddr::V6(address)],
            Host::Domain(name) => connector.resolve(name, port).await.map_err(|error| {
                let (host, reason) = (name.to_owned(), error.to_string());
                Error::Unresolved { host, reason }
            })?,
        };
        let name = canonical(&host.to_string());
        let listed = self
            .hosts
            .iter()
            .any(|(host, only)| *host == name && only.is_none_or(|only| only == port));
        let mut refused = None;
        let mut open = Vec::new();
        for address in addresses {
            let far = match classify(address) {
                AddressClass::Public if connector.is_own(address) => {
                    AddressClass::Internal("this host's own")
                }
                far => far,
            };
            match far {
                AddressClass::Public => open.push(SocketAddr::new(address, port)),
                AddressClass::Internal(_) if listed => open.push(SocketAddr::new(address, port)),
                AddressClass::Internal(what) => refused = Some((address, what, true)),
                AddressClass::Forbidden(what) => refused = Some((address, what, false)),
            }
        }
        match refused {
            Some((address, what, listable)) if open.is_empty() => Err(Error::Forbidden {
                host: name,
                address,
                what,
                hint: if listable {
                    ": list the host in external_allow_hosts if it is meant"
                } else {
                    ""
                },
            }),
            None if open.is_empty() => Err(Error::Unresolved {
                host: name,
                reason: "it has no address".to_owned(),
            }),
            _ => Ok(open),
        }
    }
}

fn entry_of(entry: &str) -> (String, Option<u16>) {
    // `[::1]:80` and `host:80` have a port, `::1` and `[::1]` have none.
    let port = entry
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || host.ends_with(']'))
        .and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match port {
        Some((host, port)) => (canonical(host), Some(port)),
        None => (canonical(entry), None),
    }
}

/// As a URL has it: lower case, IPv6 in brackets, without the root's dot.
fn canonical(host: &str) -> String {
    let bracketed = host.parse::<std::net::Ipv6Addr>().is_ok();
    let host = if bracketed {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let parsed = Host::parse(&host).map_or(host, |host| host.to_string());
    parsed.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_the_list_are_read_as_urls_name_hosts() {
        let table = [
            ("Intra.Example.", ("intra.example", None)),
            ("intra:8080", ("intra", Some(8080))),
            ("127.0.0.1:80", ("127.0.0.1", Some(80))),
            ("::1", ("[::1]", None)),
            ("[::1]:80", ("[::1]", Some(80))),
            ("0:0:0:0:0:0:0:1", ("[::1]", None)),
        ];
        for (entry, (host, port)) in table {
            assert_eq!(entry_of(entry), (host.to_owned(), port), "{entry}");
        }
    }
}
