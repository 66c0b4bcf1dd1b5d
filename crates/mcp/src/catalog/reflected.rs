//! The methods that a service describes by reflection, as tools.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use directory::{Descriptors, Service};
use prost_reflect::{MethodDescriptor, ServiceDescriptor};
use tonic::Status;

use super::{
    build::{LeftOut, MAX_METHODS, ServiceTool, ServiceTools, told},
    methods::{Exposure, Verdict},
    named::Named,
    pools::Pools,
    sets::DescriptorSets,
};
use crate::{
    PreparedCall, ToolDefinition, ToolTarget,
    schema::{self, SchemaOptions},
    text::{MAX_DESCRIPTION, MAX_TITLE, clean},
};

/// Which methods are looked for, and how they are shown.
pub(super) struct Question {
    pub(super) service: Arc<Service>,
    pub(super) exposure: Exposure,
    pub(super) sets: Arc<DescriptorSets>,
    pub(super) pools: Arc<Pools>,
    pub(super) schema: SchemaOptions,
    pub(super) wanted: BTreeSet<String>,
}

impl Question {
    pub(super) fn answer(&self, reflected: &Result<Arc<Descriptors>, Status>) -> ServiceTools {
        let mut found = ServiceTools::default();
        let files = match reflected {
            Ok(told) => {
                let files = told.files().map(|(_, bytes): (&str, &Bytes)| bytes.clone());
                self.pools.of(&self.sets.with_comments(files))
            }
            Err(_) => self.pools.of(&[]),
        };
        let missing = || match reflected {
            Err(status) => format!("its reflection does not answer: {}", told(status)),
            Ok(told) if told.files().next().is_none() => {
                "it has no reflection: give its files in mcp_descriptor_sets".to_owned()
            }
            Ok(_) => files.problem().map_or_else(
                || "its reflection does not describe it".to_owned(),
                |problem| format!("its reflection does not fit together: {problem}"),
            ),
        };
        if self.wanted.is_empty() {
            found.report(missing());
        }
        found.pool = Some(Arc::clone(&files));
        for name in &self.wanted {
            let described = files.pool.get_service_by_name(name).or_else(|| {
                let set = self.sets.describing(name)?;
                set.pool.get_service_by_name(name)
            });
            match described {
                Some(described) => self.service_methods(&described, &mut found),
                None => found.report(format!("{name}: {}", missing())),
            }
        }
        for (service, method) in self.exposure.names() {
            let is_of_pool = self.wanted.contains(service);
            let is_known = |pool: &ServiceDescriptor| pool.methods().any(|it| it.name() == method);
            let known = files.pool.get_service_by_name(service);
            if is_of_pool && known.is_some_and(|known| !is_known(&known)) {
                found.report(format!("{service} has no method {method}"));
            }
        }
        found
    }

    fn service_methods(&self, described: &ServiceDescriptor, found: &mut ServiceTools) {
        for method in described.methods() {
            let path = dynamic::path(&method);
            let left_out = |reason: &str| LeftOut {
                method: path.clone(),
                reason: reason.to_owned(),
            };
            match self.exposure.verdict(described.full_name(), method.name()) {
                Verdict::Unlisted => continue,
                Verdict::LeftOut(why) => {
                    found.left_out.push(left_out(why));
                    continue;
                }
                Verdict::Tool => {}
            }
            if found.tools.len() >= MAX_METHODS {
                found.report(format!("it has more than {MAX_METHODS} methods"));
                return;
            }
            match self.method(&method, &path) {
                Ok(tool) => found.tools.push(tool),
                Err(status) => found.left_out.push(left_out(status.message())),
            }
        }
    }

    fn method(&self, method: &MethodDescriptor, path: &str) -> Result<ServiceTool, Status> {
        let (service, parent) = (&self.service, method.parent_service());
        let name = format!("{}_{}", parent.name(), method.name());
        let comment = schema::method_comment(method);
        let description = match comment.is_empty() {
            true => format!("Calls {path} of {}.", service.name),
            false => comment,
        };
        let full = (parent.full_name(), method.name());
        let mut named = Named::method(service, &self.exposure, full);
        // A call that goes on as a job answers with the name of that.
        let output_schema =
            (!named.is_task).then(|| schema::method_output_schema(method, &self.schema));
        let definition = ToolDefinition {
            title: clean(&format!("{} {}", parent.name(), method.name()), MAX_TITLE),
            description: clean(&description, MAX_DESCRIPTION),
            input_schema: schema::method_input_schema(method, &self.schema),
            output_schema,
            ..ToolDefinition::default()
        };
        let target = ToolTarget::Method(PreparedCall::new(&service.name, method.clone())?);
        // What the proto file declares.
        let options = method.method_descriptor_proto().options.as_ref();
        let level = options.map_or("", |options| options.idempotency_level().as_str_name());
        if level == "NO_SIDE_EFFECTS" {
            named.annotations.read_only = Some(true);
        }
        if ["NO_SIDE_EFFECTS", "IDEMPOTENT"].contains(&level) {
            named.annotations.idempotent = Some(true);
        }
        let wanted = format!("{}__{name}", service.name);
        Ok(named.tool(definition, target, path, wanted, name))
    }
}
