//! Which method a name means: `pkg.Service/Method`, `Service/Method`, `pkg.Service.Method`, or
//! `Method` alone where only one gRPC service has it.

use anyhow::bail;
use dynamic::{Reflection, path};
use prost_reflect::{MethodDescriptor, ServiceDescriptor};
use tonic::{Code, Status, transport::Channel};

/// Finds the method that a name means.
///
/// # Errors
/// When there is none, or more than one.
pub(crate) async fn find(
    reflection: &mut Reflection<Channel>,
    name: &str,
) -> anyhow::Result<MethodDescriptor> {
    let (service, method) = split(name);
    let services = services(reflection, service).await?;
    let mut found: Vec<MethodDescriptor> = services
        .iter()
        .flat_map(ServiceDescriptor::methods)
        .filter(|candidate| candidate.name() == method)
        .collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 if services.is_empty() => bail!(
            "nobody in the mesh serves {service}; there are {}",
            reflection.services().await?.join(", ")
        ),
        0 => bail!(
            "no method is called {method}; there are {}",
            paths(services.iter().flat_map(ServiceDescriptor::methods))
        ),
        _ => bail!(
            "{name} is ambiguous: say which of {}",
            paths(found.into_iter())
        ),
    }
}

/// The gRPC services with this name, full or not; all of them for an empty one.
async fn services(
    reflection: &mut Reflection<Channel>,
    name: &str,
) -> anyhow::Result<Vec<ServiceDescriptor>> {
    let mut names = reflection.services().await?;
    names.retain(|service| is_named(service, name));
    if names.is_empty() && name.contains('.') {
        // Not announced, yet perhaps described.
        names.push(name.to_owned());
    }
    let mut services = Vec::new();
    for name in names {
        match reflection.pool(&name).await {
            Ok(pool) => services.extend(pool.get_service_by_name(&name)),
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(services)
}

/// Whether reflection says that nobody describes what was asked for.
pub(crate) fn is_not_found(error: &Status) -> bool {
    error.code() == Code::NotFound
}

/// Whether a full name ends with these whole parts.
pub(crate) fn is_named(full: &str, name: &str) -> bool {
    full.strip_suffix(name)
        .is_some_and(|rest| name.is_empty() || rest.is_empty() || rest.ends_with('.'))
}

fn split(name: &str) -> (&str, &str) {
    let name = name.trim_start_matches('/');
    name.rsplit_once('/')
        .or_else(|| name.rsplit_once('.'))
        .unwrap_or(("", name))
}

fn paths(methods: impl Iterator<Item = MethodDescriptor>) -> String {
    methods
        .map(|method| path(&method))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_may_be_written_in_four_ways() {
        for (name, expected) in [
            ("/a.B/C", ("a.B", "C")),
            ("a.B/C", ("a.B", "C")),
            ("a.B.C", ("a.B", "C")),
            ("B/C", ("B", "C")),
            ("C", ("", "C")),
        ] {
            assert_eq!(split(name), expected);
        }
    }

    #[test]
    fn a_short_service_name_is_whole_parts_of_the_full_one() {
        assert!(is_named("a.b.C", "C") && is_named("a.b.C", "b.C") && is_named("a.b.C", ""));
        assert!(is_named("a.b.C", "a.b.C") && !is_named("a.b.CC", "C"));
    }
}
