//! Calls of methods that were found before.

use std::{sync::Arc, time::Duration};

use channel::Target;
use http::uri::PathAndQuery;
use prost_reflect::MethodDescriptor;
use tonic::{Status, metadata::MetadataMap};

use crate::invoke;

/// The way to a method of a service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MethodRoute {
    /// What a router is told that the call is for.
    pub(crate) service: Arc<str>,
    pub(crate) target: Target,
    pub(crate) path: PathAndQuery,
}

/// A method of a service and the way to it: calling it looks nothing up. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PreparedCall {
    route: MethodRoute,
    method: MethodDescriptor,
}

/// What a call brings beside its messages.
#[derive(Clone, Debug, Default)]
pub struct CallHead {
    /// Longest time for the whole call; `None` for no limit.
    pub timeout: Option<Duration>,
    /// Metadata of the request, such as `traceparent`.
    pub metadata: MetadataMap,
    /// The session that the call belongs to, for balancing; empty for none.
    pub session: String,
}

impl MethodRoute {
    /// The way to a method, `pkg.Service/Method`, of a service by its Consul name.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when no call can have this method.
    pub fn new(service: &Arc<str>, method: &str) -> Result<Self, Status> {
        Self::named(Arc::clone(service), Arc::clone(service), method)
    }

    /// The same to a service that a router is told by another name.
    pub(crate) fn named(
        service: Arc<str>,
        consul_name: Arc<str>,
        method: &str,
    ) -> Result<Self, Status> {
        Ok(Self {
            service,
            target: Target {
                service: consul_name,
                session: None,
                instance: None,
            },
            path: invoke::path(method)?,
        })
    }

    /// Consul name of the service.
    #[must_use]
    pub const fn service(&self) -> &Arc<str> {
        &self.target.service
    }

    /// The method: `pkg.Service/Method`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.path.path().trim_start_matches('/')
    }
}

impl PreparedCall {
    /// A method of a service by its Consul name.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when no call can have the method's name: descriptors may come from anywhere.
    pub fn new(service: &Arc<str>, method: MethodDescriptor) -> Result<Self, Status> {
        let route = MethodRoute::new(service, &crate::path(&method))?;
        Ok(Self { route, method })
    }

    pub(crate) const fn along(route: MethodRoute, method: MethodDescriptor) -> Self {
        Self { route, method }
    }

    /// The descriptor of the method, which has those of its messages.
    #[must_use]
    pub const fn method(&self) -> &MethodDescriptor {
        &self.method
    }

    /// The way to the method.
    #[must_use]
    pub const fn route(&self) -> &MethodRoute {
        &self.route
    }

    /// Consul name of the service.
    #[must_use]
    pub const fn service(&self) -> &Arc<str> {
        self.route.service()
    }
}
