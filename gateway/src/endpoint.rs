//! What an endpoint is: a path, a method, its handler, and what is checked before that runs.

use axum::{
    handler::Handler,
    routing::{MethodFilter, MethodRouter, on},
};
use http::Method;
use utoipa::openapi::OpenApi as Document;

use crate::{query, rules::Rules, state::App};

/// An endpoint: one method of one path.
pub(crate) struct Endpoint {
    /// Such as `/api/v1/jobs/{id}`.
    pub(crate) path: String,
    method: Method,
    pub(crate) route: MethodRouter<App>,
    /// The part of the API's description that is about it; `None` where it is not described.
    pub(crate) document: Option<Document>,
    /// The query parameters that it takes; `None` where it is not described.
    query_params: Option<Vec<String>>,
    is_rate_limited: bool,
    pub(crate) streams_events: bool,
    pub(crate) names_errors: bool,
    ports: &'static [Port],
}

/// A port of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// `GATEWAY_PORT`.
    Main,
    /// `TASKS_PORT`.
    Tasks,
    /// `WORKFLOWS_PORT`.
    Workflows,
    /// `FANOUT_PORT`: approvals, and the events of a user's runs.
    Fanout,
    /// `MCP_PORT`: nothing but MCP.
    Mcp,
}

impl Endpoint {
    /// An endpoint with the path and the method of its description.
    pub(crate) fn described<H, T>(document: Document, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let (path, item) = document
            .paths
            .paths
            .first_key_value()
            .expect("it has a path");
        let operations = [
            (Method::GET, &item.get),
            (Method::POST, &item.post),
            (Method::PATCH, &item.patch),
            (Method::DELETE, &item.delete),
        ];
        let described = operations
            .into_iter()
            .find_map(|(method, it)| Some((method, it.as_ref()?)));
        let (method, operation) = described.expect("it has one of these methods");
        let query_params = Some(query::names(operation));
        let endpoint = Self::new(method, path, handler);
        Self {
            query_params,
            document: Some(document),
            ..endpoint
        }
    }

    /// A GET that the description leaves out: for machines, or for the description itself.
    pub(crate) fn get<H: Handler<T, App>, T: 'static>(path: &str, handler: H) -> Self {
        Self::new(Method::GET, path, handler)
    }

    fn new<H: Handler<T, App>, T: 'static>(method: Method, path: &str, handler: H) -> Self {
        let filter = MethodFilter::try_from(method.clone()).expect("it is a method of HTTP");
        Self {
            path: path.to_owned(),
            route: on(filter, handler),
            method,
            document: None,
            query_params: None,
            is_rate_limited: true,
            streams_events: false,
            names_errors: false,
            ports: &[Port::Main],
        }
    }

    /// It is on both ports.
    pub(crate) fn on_both_ports(mut self) -> Self {
        self.ports = &[Port::Main, Port::Tasks];
        self
    }

    /// It is on every port.
    pub(crate) fn on_every_port(mut self) -> Self {
        self.ports = &[
            Port::Main,
            Port::Tasks,
            Port::Workflows,
            Port::Fanout,
            Port::Mcp,
        ];
        self
    }

    /// It is on the port of tasks alone.
    pub(crate) fn on_tasks_port(mut self) -> Self {
        self.ports = &[Port::Tasks];
        self
    }

    /// It is on this port alone.
    pub(crate) fn on_port_alone(mut self, port: Port) -> Self {
        self.ports = match port {
            Port::Main => &[Port::Main],
            Port::Tasks => &[Port::Tasks],
            Port::Workflows => &[Port::Workflows],
            Port::Fanout => &[Port::Fanout],
            Port::Mcp => &[Port::Mcp],
        };
        self
    }

    /// It is about workflows: on their port too, and its problems carry `error` and `message`.
    pub(crate) fn of_workflows(mut self) -> Self {
        self.ports = &[Port::Main, Port::Workflows];
        self.names_errors = true;
        self
    }

    /// It is on the ports of workflows and of their events.
    pub(crate) fn on_fanout_port(mut self) -> Self {
        self.ports = &[Port::Main, Port::Workflows, Port::Fanout];
        self.names_errors = true;
        self
    }

    /// `request_rate` does not count its requests: machines send them, and must not be refused.
    pub(crate) fn not_rate_limited(mut self) -> Self {
        self.is_rate_limited = false;
        self
    }

    /// It streams events. A page of another origin could hold streams open, so it is refused.
    pub(crate) fn streams_events(mut self) -> Self {
        self.streams_events = true;
        self
    }

    pub(crate) fn is_on(&self, port: Port) -> bool {
        self.ports.contains(&port)
    }

    /// Adds what is checked before it.
    pub(crate) fn add_to(self, rules: &mut Rules) {
        let rule = rules.entry(self.path).or_default();
        rule.is_rate_limited |= self.is_rate_limited;
        rule.streams_events |= self.streams_events;
        rule.names_errors |= self.names_errors;
        let of_method = self.query_params.map(|params| (self.method, params));
        rule.query_params.extend(of_method);
    }
}
