//! The registration of an instance.

use std::{collections::BTreeMap, time::Duration};

use crate::{Error, validate};

/// Consul's limit for one value of `Meta`, in bytes.
const META_VALUE_BYTES: usize = 512;

/// The registry's health check of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// `grpc.health.v1.Health/Check` on the instance's own port.
    Grpc,
    /// `GET /readyz` over HTTP/1.1 on the instance's own port.
    Http,
    /// A TCP connection to the instance's own port.
    Tcp,
}

/// One instance to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Consul service ID, unique per process.
    pub id: String,
    /// Consul service name.
    pub service: String,
    /// Address to announce.
    pub host: String,
    /// TCP port to announce.
    pub port: u16,
    /// Tags.
    pub tags: Vec<String>,
    /// `Meta`: a value is at most 512 bytes.
    pub meta: BTreeMap<String, String>,
    /// Relative weight while passing, ≥ 1.
    pub weight_passing: u32,
    /// Relative weight while warning, ≥ 1.
    pub weight_warning: u32,
    /// Kind of check.
    pub check: Check,
    /// Time between two checks.
    pub check_interval: Duration,
    /// How long it may be critical before the registry removes it. Consul's minimum is one minute.
    pub deregister_after: Duration,
}

impl Registration {
    /// Checks for what a registry would refuse, or accept and never show.
    ///
    /// # Errors
    /// [`Error::Refused`] names the field and says why.
    pub fn validate(&self, registry: &'static str) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::Refused { registry, reason });
        for (field, value) in [
            ("id", &self.id),
            ("service", &self.service),
            ("host", &self.host),
        ] {
            if value.is_empty() {
                return refuse(format!("the registration's {field} is empty: name it"));
            }
        }
        if self.port == 0 {
            return refuse(
                "the registration's port is 0: give the port that the instance listens on"
                    .to_owned(),
            );
        }
        let usable = validate::name(&self.service)
            .and_then(|()| validate::id(&self.id))
            .and_then(|()| validate::host(&self.host));
        if let Err(reason) = usable {
            return refuse(format!(
                "instance {} cannot be called: {reason}",
                validate::quoted(&self.id)
            ));
        }
        for (key, value) in &self.meta {
            if value.len() > META_VALUE_BYTES {
                let length = value.len();
                return refuse(format!(
                    "the Meta value of {key:?} has {length} bytes: shorten it to {META_VALUE_BYTES}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A registration of `agent-echo` with every field set.
    pub(crate) fn registration(id: &str) -> Registration {
        Registration {
            id: id.to_owned(),
            service: "agent-echo".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 50052,
            tags: vec!["agent".to_owned(), "echo".to_owned()],
            meta: BTreeMap::from([("version".to_owned(), "1.0.0".to_owned())]),
            weight_passing: 10,
            weight_warning: 1,
            check: Check::Grpc,
            check_interval: Duration::from_secs(10),
            deregister_after: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_meta_value_over_the_limit_is_refused_by_its_key() {
        let mut it = registration("echo-1");
        it.meta
            .insert("grpc_services".to_owned(), "x".repeat(META_VALUE_BYTES));
        assert!(it.validate("consul").is_ok());
        it.meta
            .insert("grpc_services".to_owned(), "x".repeat(META_VALUE_BYTES + 1));
        let error = it
            .validate("consul")
            .expect_err("one byte too long")
            .to_string();
        assert!(
            error.contains("grpc_services") && error.contains("513"),
            "{error}"
        );
    }

    #[test]
    fn an_address_that_nobody_could_call_is_refused() {
        let no_port = Registration {
            port: 0,
            ..registration("echo-1")
        };
        assert!(no_port.validate("consul").is_err());
        let no_host = Registration {
            host: String::new(),
            ..registration("echo-1")
        };
        assert!(no_host.validate("consul").is_err());
    }
}
