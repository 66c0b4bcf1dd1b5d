//! What one token allows.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use mcp::MeshTool;
use parking_lot::Mutex;
use service::{TokenBucket, TokenRate};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Denial;

/// What one token allows.
#[derive(Debug)]
pub(crate) struct Grant {
    /// Whose it is: services get it as `x-mesh-caller`, and sessions and tasks belong to it.
    pub(crate) caller: Arc<str>,
    allows: Allows,
    expires: Option<SystemTime>,
    rate: Option<(TokenRate, Mutex<TokenBucket>)>,
    calls: Arc<Semaphore>,
}

/// Which tools.
#[derive(Debug)]
pub(super) enum Allows {
    /// Those whose service and name fit.
    Listed {
        /// Patterns of services; empty for all.
        services: Vec<String>,
        /// Patterns of tools; empty for all.
        tools: Vec<String>,
    },
    /// What the scopes of a JSON Web Token say.
    Scopes {
        /// `mesh:read`
        read: bool,
        /// `mesh:tools`
        tools: bool,
        /// `mesh:tool:<name>`
        named: Vec<String>,
    },
}

impl Grant {
    pub(super) fn new(caller: &str, allows: Allows, calls: usize) -> Self {
        Self {
            caller: caller.into(),
            allows,
            expires: None,
            rate: None,
            calls: Arc::new(Semaphore::new(calls)),
        }
    }

    pub(super) fn until(mut self, expires: Option<SystemTime>) -> Self {
        self.expires = expires;
        self
    }

    /// At most so many calls each second, and a second's worth at once.
    pub(super) fn at_rate(mut self, per_second: Option<f64>) -> Self {
        self.rate = per_second.filter(|rate| *rate > 0.0).map(|rate| {
            let full = TokenBucket::full(Instant::now());
            (TokenRate::new(rate, rate.max(1.0)), Mutex::new(full))
        });
        self
    }

    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether it sees less than everything, so that lists are made for it.
    pub(crate) fn filters(&self) -> bool {
        match &self.allows {
            Allows::Listed { services, tools } => !services.is_empty() || !tools.is_empty(),
            Allows::Scopes { read, tools, .. } => !read && !tools,
        }
    }

    /// Whether a list shows it this tool.
    pub(crate) fn sees(&self, tool: &MeshTool) -> bool {
        match &self.allows {
            Allows::Listed { services, tools } => {
                let service = [&*tool.service, &*tool.public_id];
                (services.is_empty() || service.iter().any(|name| fits(services, name)))
                    && (tools.is_empty() || fits(tools, &tool.global_name))
            }
            Allows::Scopes { read, tools, named } => {
                *read || *tools || named.iter().any(|name| **name == *tool.global_name)
            }
        }
    }

    /// Whether it sees a service as a whole: its resources and prompts.
    pub(crate) fn sees_service(&self, service: &str, public_id: &str) -> bool {
        match &self.allows {
            Allows::Listed { services, .. } => {
                services.is_empty() || fits(services, service) || fits(services, public_id)
            }
            Allows::Scopes { read, tools, .. } => *read || *tools,
        }
    }

    /// Whether it may call a tool. What it does not see does not exist for it.
    ///
    /// # Errors
    /// The scope that it lacks.
    pub(crate) fn may_call(&self, tool: &MeshTool) -> Result<bool, Denial> {
        match &self.allows {
            Allows::Listed { .. } => Ok(self.sees(tool)),
            Allows::Scopes { tools, named, .. } => {
                if *tools || named.iter().any(|name| **name == *tool.global_name) {
                    return Ok(true);
                }
                Err(Denial::Scope(format!("mesh:tool:{}", tool.global_name)))
            }
        }
    }

    /// Whether it may call every tool, also one that is not known here.
    pub(crate) fn may_call_all(&self) -> bool {
        match &self.allows {
            Allows::Listed { services, tools } => services.is_empty() && tools.is_empty(),
            Allows::Scopes { tools, .. } => *tools,
        }
    }

    /// Whether it may read lists, resources and prompts.
    ///
    /// # Errors
    /// The scope that it lacks.
    pub(crate) fn may_read(&self) -> Result<(), Denial> {
        match &self.allows {
            Allows::Scopes {
                read: false,
                tools: false,
                named,
            } if named.is_empty() => Err(Denial::Scope("mesh:read".to_owned())),
            Allows::Scopes { .. } | Allows::Listed { .. } => Ok(()),
        }
    }

    /// Begins a call.
    ///
    /// # Errors
    /// When its rate or its calls in flight are spent.
    pub(crate) fn begin(&self, now: Instant) -> Result<OwnedSemaphorePermit, Denial> {
        if let Some((rate, bucket)) = &self.rate {
            let taken = bucket.lock().take(*rate, now);
            taken.map_err(|wait| Denial::Rate(wait.as_secs() + 1))?;
        }
        let permit = Arc::clone(&self.calls).try_acquire_owned();
        permit.map_err(|_| Denial::Rate(1))
    }
}

/// Whether a name is one of the patterns. A pattern may end in `*`.
fn fits(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => name == pattern,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_may_end_in_a_star() {
        let patterns = ["agent-*".to_owned(), "tool-weather".to_owned()];
        assert!(fits(&patterns, "agent-echo") && fits(&patterns, "tool-weather"));
        assert!(!fits(&patterns, "tool-weather2") && !fits(&patterns, "my-agent-echo"));
        assert!(fits(&["*".to_owned()], ""));
    }

    #[test]
    fn calls_come_at_the_rate_and_so_many_at_once() {
        let all = Allows::Listed {
            services: Vec::new(),
            tools: Vec::new(),
        };
        let grant = Grant::new("ann", all, 2).at_rate(Some(4.0));
        let now = Instant::now();
        let held = [grant.begin(now).unwrap(), grant.begin(now).unwrap()];
        assert_eq!(
            grant.begin(now).unwrap_err(),
            Denial::Rate(1),
            "two are in flight"
        );
        drop(held);
        assert!(grant.begin(now).is_ok());
        assert_eq!(
            grant.begin(now).unwrap_err(),
            Denial::Rate(1),
            "four a second"
        );
        assert!(!grant.filters());
    }
}
