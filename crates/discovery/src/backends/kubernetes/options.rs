//! How to reach the API server of Kubernetes.

use std::{fs, path::Path, path::PathBuf};

use reqwest::Url;

use crate::{Error, validate};

/// What errors call this registry.
pub(super) const NAME: &str = "kubernetes";
/// Where a pod finds the token of its ServiceAccount.
pub const KUBERNETES_TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Where a pod finds the authority of the API server.
pub const KUBERNETES_CA_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
/// Where a pod finds its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace where nothing names one.
const DEFAULT_NAMESPACE: &str = "default";

/// How to reach the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesOptions {
    /// `host:port`, or a URL with `https`, or with `http` for an address of this machine, as
    /// `kubectl proxy` has one.
    pub address: String,
    /// The namespace of the mesh; `None`: that of the pod.
    pub namespace: Option<String>,
    /// File of the token. Read for each request, since Kubernetes replaces it every hour. It is not
    /// needed for `http`.
    pub token_file: PathBuf,
    /// PEM file of the authorities that sign the API server's certificate.
    pub ca_file: PathBuf,
}

impl KubernetesOptions {
    /// The API server at this address, with the files that a pod has.
    #[must_use]
    pub fn at(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            namespace: None,
            token_file: KUBERNETES_TOKEN_FILE.into(),
            ca_file: KUBERNETES_CA_FILE.into(),
        }
    }

    /// `address` as the URL that paths are added to, without a slash at its end.
    pub(super) fn url(&self) -> Result<String, Error> {
        let bad = |reason: &str| Error::Config {
            key: "kubernetes_api",
            reason: format!(
                "write {:?} as host:port or https://…: {reason}",
                self.address
            ),
        };
        let address = self.address.trim();
        let text = if address.contains("://") {
            address.to_owned()
        } else {
            format!("https://{address}")
        };
        let url = Url::parse(&text).map_err(|error| bad(&error.to_string()))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("remove what follows the path"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad(
                "remove the user: the token is in kubernetes_token_file",
            ));
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let near = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if near => {}
            "http" => return Err(bad("http is for this machine only, as of `kubectl proxy`")),
            _ => return Err(bad("no other scheme is supported")),
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    /// The namespace: as given, else the pod's, else `default`.
    pub(super) fn namespace(&self) -> Result<String, Error> {
        let of_pod = || fs::read_to_string(Path::new(NAMESPACE_FILE)).ok();
        let found = self.namespace.clone().or_else(of_pod);
        let name = found.as_deref().map_or(DEFAULT_NAMESPACE, str::trim);
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
            return Err(Error::Config {
                key: "kubernetes_namespace",
                reason: format!(
                    "{} is no namespace: use at most 63 small letters, digits and -",
                    validate::quoted(name)
                ),
            });
        }
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_unless_they_are_of_this_machine() {
        for (address, url) in [
            ("10.96.0.1:443", "https://10.96.0.1"),
            ("[fd00::1]:6443", "https://[fd00::1]:6443"),
            (
                "https://kubernetes.default.svc/",
                "https://kubernetes.default.svc",
            ),
            (
                "https://rancher/k8s/clusters/c-1",
                "https://rancher/k8s/clusters/c-1",
            ),
            ("http://127.0.0.1:8001", "http://127.0.0.1:8001"),
            ("http://[::1]:8001", "http://[::1]:8001"),
        ] {
            assert_eq!(KubernetesOptions::at(address).url().unwrap(), url);
        }
        for address in [
            "",
            "http://10.96.0.1",
            "ftp://h",
            "https://u:p@h",
            "https://h/?a",
            "h:port",
        ] {
            let error = KubernetesOptions::at(address).url().expect_err(address);
            assert!(
                error.to_string().contains(&format!("{address:?}")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_namespace_is_a_dns_label() {
        let named = |name: &str| KubernetesOptions {
            namespace: Some(name.to_owned()),
            ..KubernetesOptions::at("h")
        };
        assert_eq!(named("mesh-1").namespace().unwrap(), "mesh-1");
        for name in ["", "a/b", "../x", "A", "a b", &"x".repeat(64)] {
            let error = named(name).namespace().expect_err(name).to_string();
            assert!(error.contains("kubernetes_namespace"), "{error}");
        }
    }
}
