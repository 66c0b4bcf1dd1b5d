//! A tool under the name that it is to have, with what is declared of it.

use std::sync::Arc;

use directory::Service;
use proto::agentplatform::{ToolOperation, ToolParameter};

use super::{
    about::{About, sentences},
    build::ServiceTool,
    methods::Exposure,
};
use crate::{
    Annotations, ToolDefinition, ToolTarget, schema,
    text::{MAX_DESCRIPTION, MAX_TITLE, clean},
};

/// A method that is one tool or several, and what is declared of it.
pub(super) struct Named<'a> {
    service: &'a Service,
    pub(super) is_task: bool,
    pub(super) annotations: Annotations,
    path: String,
}

impl<'a> Named<'a> {
    pub(super) fn method(service: &'a Service, exposure: &Exposure, of: (&str, &str)) -> Self {
        let path = format!("{}/{}", of.0, of.1);
        let declared = |is: bool| is.then_some(true);
        let idempotent = service.representative();
        let idempotent = idempotent.is_some_and(|instance| instance.is_idempotent(&path));
        Self {
            service,
            is_task: exposure.is_task(of.0, of.1),
            annotations: Annotations {
                read_only: declared(exposure.is_read_only(of.0, of.1)),
                destructive: declared(exposure.is_destructive(of.0, of.1)),
                idempotent: declared(idempotent),
                open_world: None,
            },
            path,
        }
    }

    /// The tool that stands for the whole service.
    pub(super) fn whole(&self, definition: ToolDefinition, target: ToolTarget) -> ServiceTool {
        let id = self.service.public_id.clone();
        self.tool(definition, target, &self.path, id.clone(), id)
    }

    /// A tool of a mounted server.
    pub(super) fn mounted(&self, name: &str, definition: ToolDefinition) -> ServiceTool {
        let target = ToolTarget::Mounted { tool: name.into() };
        self.one_of_several(definition, target, name)
    }

    /// An operation of a tool.
    pub(super) fn operation(&self, about: &About, operation: ToolOperation) -> ServiceTool {
        let parameters: Arc<[ToolParameter]> = operation.parameters.into();
        let name = operation.name;
        let title = format!("{}: {name}", about.name);
        let texts = [operation.description.as_str(), &about.description];
        let definition = ToolDefinition {
            title: clean(&title, MAX_TITLE),
            description: clean(&sentences(texts), MAX_DESCRIPTION),
            input_schema: schema::operation_input_schema(&parameters, false),
            output_schema: schema::operation_output_schema(&operation.output_schema),
            annotations: Annotations {
                read_only: operation.read_only,
                destructive: operation.destructive,
                idempotent: operation.idempotent,
                open_world: None,
            },
            ..ToolDefinition::default()
        };
        let target = ToolTarget::ToolOperation {
            operation: Some(name.as_str().into()),
            parameters,
        };
        self.one_of_several(definition, target, &name)
    }

    /// One of the tools that the method stands for.
    fn one_of_several(
        &self,
        definition: ToolDefinition,
        target: ToolTarget,
        name: &str,
    ) -> ServiceTool {
        let identity = format!("{}#{name}", self.path);
        let wanted = format!("{}__{name}", self.service.public_id);
        self.tool(definition, target, &identity, wanted, name.to_owned())
    }

    /// A tool. What its definition declares comes before what is declared of the method.
    pub(super) fn tool(
        &self,
        definition: ToolDefinition,
        target: ToolTarget,
        identity: &str,
        wanted: String,
        local: String,
    ) -> ServiceTool {
        let definition = ToolDefinition {
            name: wanted,
            annotations: definition.annotations.or(self.annotations),
            ..definition
        };
        let public_id = self.service.public_id.as_str().into();
        let mut tool = definition.tool(&self.service.name, &public_id, target);
        tool.is_task = self.is_task;
        ServiceTool {
            identity: format!("{}/{identity}", self.service.name),
            local,
            tool: Arc::new(tool),
        }
    }
}
