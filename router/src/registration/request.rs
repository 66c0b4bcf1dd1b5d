//! What someone asks to have registered, checked and turned into a registration.

use std::{collections::BTreeMap, time::Duration};

use discovery::{Check, Registration, ServiceKind};
use http::uri::Authority;
use proto::agentplatform::{AgentInfo, ToolInfo};
use proto::error_info::{self, Reason};
use tonic::{Code, Status};

use super::AddressPolicy;

/// Consul's DNS shows names of at most this many letters, digits and dashes.
const MAX_NAME_BYTES: usize = 63;
/// A `Meta` value holds this many bytes.
const MAX_META_BYTES: usize = 512;
const MAX_TAGS: usize = 32;
const MAX_TAG_BYTES: usize = 64;

/// A service that asks to be registered.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    kind: ServiceKind,
    id_field: &'static str,
    id: String,
    endpoint: String,
    name: String,
    description: String,
    version: String,
    tags: Vec<String>,
}

impl From<AgentInfo> for Candidate {
    fn from(info: AgentInfo) -> Self {
        Self {
            kind: ServiceKind::Agent,
            id_field: "agent_id",
            id: info.agent_id,
            endpoint: info.endpoint,
            name: info.name,
            description: info.description,
            version: info.version,
            tags: info.capabilities,
        }
    }
}

impl From<ToolInfo> for Candidate {
    fn from(info: ToolInfo) -> Self {
        Self {
            kind: ServiceKind::Tool,
            id_field: "tool_id",
            id: info.tool_id,
            endpoint: info.endpoint,
            name: info.name,
            description: info.description,
            version: info.version,
            tags: Vec::new(),
        }
    }
}

impl Candidate {
    /// The registration that is asked for.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, naming the field and what it should be.
    pub(super) async fn registration(
        &self,
        addresses: &AddressPolicy,
    ) -> Result<Registration, Status> {
        let stem = self.stem()?;
        let (host, port) = self.address()?;
        let tags = self.tags()?;
        let host = addresses.resolve(&host, port).await?.ip().to_string();
        let kind = self.kind.name();
        let meta = [
            ("kind", kind.to_owned()),
            ("public_id", format!("{stem}-{kind}")),
            ("version", self.version.clone()),
            ("name", self.name.clone()),
            ("description", self.description.clone()),
        ];
        let meta: BTreeMap<String, String> = meta
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), cut(value)))
            .collect();
        Ok(Registration {
            // The same service at the same address is the same instance, whoever asks.
            id: format!("{stem}-{kind}-{}-{port}", host.replace([':', '%'], "-")),
            service: format!("{kind}-{stem}"),
            host,
            port,
            tags,
            meta,
            weight_passing: 1,
            weight_warning: 1,
            check: Check::Tcp,
            check_interval: Duration::from_secs(10),
            deregister_after: Duration::from_secs(60),
        })
    }

    /// `echo` of `echo-agent`, `agent-echo` or `echo`.
    fn stem(&self) -> Result<String, Status> {
        let (field, kind) = (self.id_field, self.kind.name());
        let id = self.id.to_ascii_lowercase();
        let (prefix, suffix) = (format!("{kind}-"), format!("-{kind}"));
        let stem = id
            .strip_suffix(&suffix)
            .or_else(|| id.strip_prefix(&prefix))
            .unwrap_or(&id);
        let is_name = !stem.is_empty()
            && prefix.len() + stem.len() <= MAX_NAME_BYTES
            && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !stem.starts_with('-')
            && !stem.ends_with('-');
        if !is_name {
            let most = MAX_NAME_BYTES - prefix.len();
            return Err(bad(
                field,
                format!(
                    "{field} {id:?} is no name: use at most {most} letters, digits and inner dashes"
                ),
            ));
        }
        let others =
            [ServiceKind::Agent, ServiceKind::Tool, ServiceKind::Worker].map(ServiceKind::name);
        let is_other = others
            .into_iter()
            .filter(|other| *other != kind)
            .find(|other| {
                stem.starts_with(&format!("{other}-")) || stem.ends_with(&format!("-{other}"))
            });
        if let Some(other) = is_other {
            return Err(bad(
                field,
                format!("{field} {id:?} names a {other}, and not a {kind}"),
            ));
        }
        Ok(stem.to_owned())
    }

    fn address(&self) -> Result<(String, u16), Status> {
        let wrong = || {
            let endpoint = &self.endpoint;
            bad(
                "endpoint",
                format!("endpoint {endpoint:?} is no address: give it as host:port"),
            )
        };
        let address = self
            .endpoint
            .strip_prefix("http://")
            .unwrap_or(&self.endpoint);
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.contains('@') {
            return Err(wrong());
        }
        let authority: Authority = address.parse().map_err(|_| wrong())?;
        let port = authority
            .port_u16()
            .filter(|port| *port > 0)
            .ok_or_else(wrong)?;
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() || host.len() > 253 {
            return Err(wrong());
        }
        Ok((host.to_ascii_lowercase(), port))
    }

    /// The kind, and what the candidate can do. A kind that it has not would send it calls that are
    /// not for it, and `router` would hide it.
    fn tags(&self) -> Result<Vec<String>, Status> {
        let mut tags = vec![self.kind.name().to_owned()];
        for tag in &self.tags {
            let fits = !tag.is_empty()
                && tag.len() <= MAX_TAG_BYTES
                && tag.bytes().all(|byte| byte.is_ascii_graphic());
            if !fits || tags.len() >= MAX_TAGS {
                return Err(bad(
                    "capabilities",
                    format!(
                        "capability {tag:?} is no tag: use at most {MAX_TAGS} of at most \
                     {MAX_TAG_BYTES} ASCII characters without spaces"
                    ),
                ));
            }
            if tag != self.kind.name() && ServiceKind::from_name(tag).is_some() {
                return Err(bad(
                    "capabilities",
                    format!("capability {tag:?} is the name of a kind"),
                ));
            }
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        Ok(tags)
    }
}

/// As much of a value as `Meta` holds, cut between characters.
fn cut(mut value: String) -> String {
    let mut end = value.len().min(MAX_META_BYTES);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.truncate(end);
    value
}

pub(super) fn bad(field: &str, message: String) -> Status {
    let facts = [("field", field.to_owned())];
    error_info::status(Code::InvalidArgument, Reason::InvalidField, message, facts)
}
