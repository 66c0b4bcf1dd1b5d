//! Which method a name means: `pkg.Service/Method`, `Service/Method`, `pkg.Service.Method`, or
//! `Method` alone where only one gRPC service has it.

use anyhow::bail;
use dynamic::{ReflectionClient, path};
use prost_reflect::{MethodDescriptor, ServiceDescriptor};
use tonic::{Code, Status};

use crate::router::Channel;

/// Finds the method that a name means.
pub(crate) async fn find(
    reflection: &mut ReflectionClient<Channel>,
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
        0 if services.is_empty() => {
            let known = reflection.services().await?;
            let near = suggest(service, known.iter().map(String::as_str));
            bail!(
                "nobody in the mesh serves {service}{near}; there are {}",
                known.join(", ")
            )
        }
        0 => {
            let known: Vec<_> = services
                .iter()
                .flat_map(ServiceDescriptor::methods)
                .collect();
            let near = suggest(method, known.iter().map(MethodDescriptor::name));
            bail!(
                "no method is called {method}{near}; there are {}",
                paths(known.into_iter())
            )
        }
        _ => bail!(
            "{name} is ambiguous: say which of {}",
            paths(found.into_iter())
        ),
    }
}

/// ` (did you mean NAME?)` for a name that is nearly one that is known, whatever its case; else
/// nothing. Of a full name its last part alone may be meant.
pub(crate) fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let forms = |full: &'a str| {
        let short = full.rsplit('.').next().unwrap_or(full);
        [(full.to_lowercase(), full), (short.to_lowercase(), full)]
    };
    let known: Vec<_> = known.flat_map(forms).collect();
    let lower = known.iter().map(|(lower, _)| lower.as_str());
    let near = service::config::nearest(&name.to_lowercase(), lower);
    let near = near.and_then(|near| known.iter().find(|(lower, _)| lower == near));
    near.map_or_else(String::new, |(_, name)| format!(" (did you mean {name}?)"))
}

/// The gRPC services with this name, full or not; all of them for an empty one.
async fn services(
    reflection: &mut ReflectionClient<Channel>,
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
    fn a_name_that_is_nearly_right_is_told_the_right_one() {
        let known = ["ExecuteTask", "StreamTask", "GetStatus"];
        let near = |name| suggest(name, known.into_iter());
        assert_eq!(near("ExecTask"), " (did you mean ExecuteTask?)");
        assert_eq!(near("executetask"), " (did you mean ExecuteTask?)");
        assert_eq!(near("Sing"), "");
        let full = ["agentplatform.AgentService"];
        let near = |name| suggest(name, full.into_iter());
        assert_eq!(
            near("AgentServise"),
            " (did you mean agentplatform.AgentService?)"
        );
    }

    #[test]
    fn a_short_service_name_is_whole_parts_of_the_full_one() {
        assert!(is_named("a.b.C", "C") && is_named("a.b.C", "b.C") && is_named("a.b.C", ""));
        assert!(is_named("a.b.C", "a.b.C") && !is_named("a.b.CC", "C"));
    }
}
