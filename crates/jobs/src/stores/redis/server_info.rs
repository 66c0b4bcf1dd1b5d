//! What a Redis says about itself.

use redis::Value;

use crate::store::StoreUsage;

/// Facts about the server, or servers, that a connection leads to. Who may not ask has none.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct ServerInfo {
    /// Which process it is: another one after a restart or a failover.
    pub(super) runs: Vec<String>,
    /// What it does when its memory is full.
    pub(super) policies: Vec<String>,
    /// How full the fullest is.
    pub(super) usage: StoreUsage,
}

impl ServerInfo {
    /// Reads an answer to INFO, one of many nodes too.
    pub(super) fn read(answer: &Value) -> Self {
        let mut server_info = Self::default();
        server_info.add(answer);
        server_info.runs.sort();
        server_info.policies.sort();
        server_info.policies.dedup();
        server_info
    }

    fn add(&mut self, answer: &Value) {
        let text = match answer {
            Value::BulkString(bytes) => String::from_utf8_lossy(bytes),
            Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.into(),
            Value::Array(values) => return values.iter().for_each(|value| self.add(value)),
            Value::Map(pairs) => return pairs.iter().for_each(|(_, value)| self.add(value)),
            _ => return,
        };
        let mut usage = StoreUsage::default();
        for line in text.lines() {
            match line.split_once(':') {
                Some(("run_id", run)) => self.runs.push(run.trim().to_owned()),
                Some(("maxmemory_policy", policy)) => self.policies.push(policy.trim().to_owned()),
                Some(("used_memory", bytes)) => usage.memory = bytes.trim().parse().ok(),
                // 0 stands for no limit.
                Some(("maxmemory", bytes)) => {
                    usage.memory_limit = bytes.trim().parse().ok().filter(|bytes| *bytes > 0);
                }
                Some(("connected_clients", count)) => usage.clients = count.trim().parse().ok(),
                Some(("maxclients", count)) => usage.clients_limit = count.trim().parse().ok(),
                _ => {}
            }
        }
        self.usage = self.usage.fuller(usage);
    }

    /// A warning for people, before it goes wrong.
    pub(super) fn warning(&self) -> Option<String> {
        let policy = self
            .policies
            .iter()
            .find(|policy| *policy != "noeviction")?;
        Some(format!(
            "it may evict keys when its memory is full (maxmemory-policy {policy}), and with them \
             jobs vanish: set maxmemory-policy noeviction, and keep caches in another Redis"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_of_several_nodes_counts() {
        let node = |memory: u64, limit: u64, clients: u64| {
            let text = format!(
                "used_memory:{memory}\r\nmaxmemory:{limit}\r\n\
                 connected_clients:{clients}\r\nmaxclients:100\r\n"
            );
            (Value::Nil, Value::BulkString(text.into_bytes()))
        };
        let nodes = vec![node(900, 10_000, 90), node(500, 1000, 7), node(2000, 0, 8)];
        let usage = ServerInfo::read(&Value::Map(nodes)).usage;
        assert_eq!((usage.memory, usage.memory_limit), (Some(500), Some(1000)));
        assert_eq!((usage.clients, usage.clients_limit), (Some(90), Some(100)));
        let silent = ServerInfo::read(&Value::Nil).usage;
        assert_eq!(silent, StoreUsage::default());
    }

    #[test]
    fn a_policy_that_evicts_is_warned_of_on_whichever_node() {
        let node = |policy: &str| {
            let text = format!("# Server\r\nrun_id:{policy}1\r\nmaxmemory_policy:{policy}\r\n");
            (Value::Nil, Value::BulkString(text.into_bytes()))
        };
        let calm = ServerInfo::read(&Value::Map(vec![node("noeviction"), node("noeviction")]));
        assert_eq!((calm.runs.len(), calm.warning()), (2, None));
        let mixed = ServerInfo::read(&Value::Map(vec![node("noeviction"), node("volatile-lru")]));
        assert!(mixed.warning().unwrap().contains("volatile-lru"));
    }
}
