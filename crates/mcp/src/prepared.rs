//! Methods that are called without looking anything up.

use std::sync::Arc;

use prost_reflect::MethodDescriptor;
use tonic::Status;

/// The way to a method of a service.
#[derive(Clone, Debug)]
pub struct MethodRoute {
    service: Arc<str>,
}

/// A method of a service and the way to it.
#[derive(Clone, Debug)]
pub struct PreparedCall {
    route: MethodRoute,
    method: MethodDescriptor,
}

impl MethodRoute {
    /// The way to a method, `pkg.Service/Method`, of a service by its Consul name.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when no call can have this method.
    pub fn new(service: &Arc<str>, _: &str) -> Result<Self, Status> {
        let service = Arc::clone(service);
        Ok(Self { service })
    }
}

impl PreparedCall {
    /// A method of a service by its Consul name.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when no call can have the method's name.
    pub fn new(service: &Arc<str>, method: MethodDescriptor) -> Result<Self, Status> {
        let route = MethodRoute::new(service, "")?;
        Ok(Self { route, method })
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &MethodDescriptor {
        &self.method
    }

    /// The way to it.
    #[must_use]
    pub const fn route(&self) -> &MethodRoute {
        &self.route
    }

    /// Consul name of the service.
    #[must_use]
    pub const fn service(&self) -> &Arc<str> {
        &self.route.service
    }
}
