//! Which service an id names, and what a service is called.

use std::borrow::Cow;

use crate::{Instance, ServiceKind};

/// The Consul name in the id of a request: `echo-agent` means `agent-echo`, and `tool` and `worker`
/// are turned around alike. Any other id is taken as it is.
///
/// ```
/// assert_eq!(mesh_discovery::consul_name("weather-tool"), "tool-weather");
/// assert_eq!(mesh_discovery::consul_name("orders"), "orders");
/// ```
#[must_use]
pub fn consul_name(id: &str) -> Cow<'_, str> {
    [ServiceKind::Agent, ServiceKind::Tool, ServiceKind::Worker]
        .iter()
        .find_map(|kind| {
            let name = id.strip_suffix(kind.name())?.strip_suffix('-')?;
            (!name.is_empty()).then(|| Cow::Owned(format!("{}-{name}", kind.name())))
        })
        .unwrap_or(Cow::Borrowed(id))
}

/// The service that an id names. A Consul name comes first, then `echo-agent` for `agent-echo`,
/// then what instances claim in `Meta.public_id`: so nobody takes a name that is another's by
/// right.
///
/// `named` finds a service by its Consul name, `claimed` one by what its instances claim.
pub fn resolve<T>(
    id: &str,
    named: impl Fn(&str) -> Option<T>,
    claimed: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    named(id)
        .or_else(|| named(&consul_name(id)))
        .or_else(|| claimed(id))
}

/// What a service is, and its public id: both as its representative instance says, else as its tags
/// in the catalog and its name do.
#[must_use]
pub fn identity(
    service: &str,
    tags: &[String],
    representative: Option<&Instance>,
) -> (ServiceKind, String) {
    representative.map_or_else(
        || {
            let kind = ServiceKind::from_tags(tags);
            let id = kind.public_id(service);
            (kind, id.unwrap_or_else(|| service.to_owned()))
        },
        |instance| (instance.kind(), instance.public_id()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_id_names_its_consul_service() {
        for (id, name) in [
            ("docs-tool", "tool-docs"),
            ("code-agent", "agent-code"),
            ("two-words-worker", "worker-two-words"),
            ("tool-docs", "tool-docs"),
            ("pricing", "pricing"),
            ("-tool", "-tool"),
            ("tool", "tool"),
        ] {
            assert_eq!(consul_name(id), name);
        }
    }

    #[test]
    fn nobody_takes_a_name_that_is_anothers_by_right() {
        let services = ["agent-echo", "echo-tool", "tool-echo", "shop"];
        let claims = [
            ("agent-echo", "thief"),
            ("echo-agent", "thief"),
            ("parrot", "agent-echo"),
        ];
        let find = |id: &str| {
            resolve(
                id,
                |name| services.into_iter().find(|service| *service == name),
                |id| claims.iter().find(|(claim, _)| *claim == id).map(|it| it.1),
            )
        };
        for (id, service) in [
            ("agent-echo", Some("agent-echo")),
            ("echo-agent", Some("agent-echo")),
            // A Consul name comes before the form of another's.
            ("echo-tool", Some("echo-tool")),
            ("parrot", Some("agent-echo")),
            ("shop", Some("shop")),
            ("shop-agent", None),
            ("echo", None),
            ("", None),
        ] {
            assert_eq!(find(id), service, "{id}");
        }
    }

    #[test]
    fn a_service_without_instances_is_what_its_tags_say() {
        let identity = |service, tag: &str| identity(service, &[tag.to_owned()], None);
        assert_eq!(
            identity("agent-echo", "agent"),
            (ServiceKind::Agent, "echo-agent".to_owned())
        );
        assert_eq!(
            identity("orders", "grpc"),
            (ServiceKind::Service, "orders".to_owned())
        );
    }
}
