//! Where OTLP goes: the collector's address, protocol, headers and certificate.

use std::{fmt, fs, path::PathBuf, str::FromStr};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use native_tls::{Certificate, TlsConnector};

use super::Signal;
use crate::Error;

/// How OTLP is carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC over HTTP/2.
    #[default]
    Grpc,
    /// Protocol Buffers over HTTP/1.1.
    HttpProtobuf,
}

/// The collector, as `OTEL_EXPORTER_OTLP_…` names it.
#[derive(Clone, Default)]
pub struct OtlpOptions {
    /// An `http` or `https` URL. By HTTP, `/v1/traces` is appended to its path.
    pub endpoint: String,
    /// How it is spoken to.
    pub protocol: OtlpProtocol,
    /// Headers of every request, as [`otlp_headers`] reads them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// PEM file of the authorities that sign its certificate; the system's when `None`.
    pub certificate: Option<PathBuf>,
}

impl OtlpProtocol {
    /// The protocols, by the names that OpenTelemetry has for them.
    pub const ALL: [(Self, &'static str); 2] =
        [(Self::Grpc, "grpc"), (Self::HttpProtobuf, "http/protobuf")];
}

impl FromStr for OtlpProtocol {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().find(|(_, known)| *known == name);
        known
            .map(|(protocol, _)| *protocol)
            .ok_or_else(|| "expected grpc or http/protobuf".to_owned())
    }
}

impl fmt::Debug for OtlpOptions {
    /// Without the headers, which are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpOptions")
            .field("endpoint", &crate::redact(&self.endpoint))
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// Reads headers written as `name=value,name=value`, in which values are percent-encoded. `None` when
/// they are not.
#[must_use]
pub fn otlp_headers(text: &str) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let pairs = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = HeaderValue::from_bytes(&decoded(value.trim())?).ok()?;
        Some((name.trim().parse().ok()?, value))
    };
    pairs.map(pair).collect()
}

/// Without percent-encoding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

/// What a connection to the collector needs.
pub(crate) struct Destination {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<tokio_native_tls::TlsConnector>,
    pub(super) protocol: OtlpProtocol,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

impl Destination {
    pub(crate) fn new(options: &OtlpOptions, signal: Signal) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Endpoint {
            endpoint: crate::redact(&options.endpoint).into_owned(),
            reason,
        };
        let endpoint: Uri = options
            .endpoint
            .parse()
            .map_err(|error| wrong(format!("{error}")))?;
        let is_tls = match endpoint.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("it has no scheme".to_owned())),
        };
        let host = endpoint.host().unwrap_or_default();
        let tls = if is_tls {
            Some(tls(options).map_err(wrong)?)
        } else {
            None
        };
        let (path, default_port) = match options.protocol {
            OtlpProtocol::Grpc => (signal.grpc_path().to_owned(), 4317),
            OtlpProtocol::HttpProtobuf => {
                let base = endpoint.path().trim_end_matches('/');
                (format!("{base}{}", signal.http_path()), 4318)
            }
        };
        let port = endpoint.port_u16().unwrap_or(default_port);
        let uri = Uri::builder()
            .scheme(if is_tls { "https" } else { "http" })
            .authority(format!("{host}:{port}"))
            .path_and_query(path)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let mut value = value.clone();
            value.set_sensitive(true);
            headers.append(name.clone(), value);
        }
        Ok(Self {
            // Brackets are the URL's, not the address's.
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            tls,
            protocol: options.protocol,
            uri,
            headers,
        })
    }
}

fn tls(options: &OtlpOptions) -> Result<tokio_native_tls::TlsConnector, String> {
    let mut builder = TlsConnector::builder();
    if options.protocol == OtlpProtocol::Grpc {
        builder.request_alpns(&["h2"]);
    }
    if let Some(path) = &options.certificate {
        let read = |error: String| format!("the certificate {}: {error}", path.display());
        let pem = fs::read(path).map_err(|error| read(error.to_string()))?;
        let authorities =
            Certificate::stack_from_pem(&pem).map_err(|error| read(error.to_string()))?;
        if authorities.is_empty() {
            return Err(read("it holds none".to_owned()));
        }
        for authority in authorities {
            builder.add_root_certificate(authority);
        }
    }
    let connector = builder.build().map_err(|error| error.to_string())?;
    Ok(connector.into())
}

impl Signal {
    fn grpc_path(self) -> &'static str {
        match self {
            Self::Spans => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    fn http_path(self) -> &'static str {
        match self {
            Self::Spans => "/v1/traces",
            Self::Logs => "/v1/logs",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_with_their_escapes() {
        let headers = otlp_headers("api-key=a%3Db%20c, x-team = mesh,").unwrap();
        let texts: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(texts, [("api-key", "a=b c"), ("x-team", "mesh")]);
        for bad in ["key", "a b=c", "a=%zz", "a=%1", "a=%0a"] {
            assert!(otlp_headers(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_endpoint_says_host_port_and_path() {
        let http = OtlpProtocol::HttpProtobuf;
        for (endpoint, protocol, uri, host) in [
            (
                "http://localhost:4317",
                OtlpProtocol::Grpc,
                "http://localhost:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                "localhost",
            ),
            (
                "http://localhost",
                http,
                "http://localhost:4318/v1/traces",
                "localhost",
            ),
            (
                "https://[::1]:9/otlp/",
                http,
                "https://[::1]:9/otlp/v1/traces",
                "::1",
            ),
        ] {
            let options = OtlpOptions {
                endpoint: endpoint.to_owned(),
                protocol,
                ..OtlpOptions::default()
            };
            let to = Destination::new(&options, Signal::Spans).unwrap();
            assert_eq!((&*to.uri.to_string(), &*to.host), (uri, host));
            assert_eq!(to.tls.is_some(), endpoint.starts_with("https"));
        }
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_named() {
        let options = OtlpOptions {
            endpoint: "https://localhost".to_owned(),
            certificate: Some("/nowhere/ca.pem".into()),
            ..OtlpOptions::default()
        };
        let error = Destination::new(&options, Signal::Spans).err().unwrap();
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}
