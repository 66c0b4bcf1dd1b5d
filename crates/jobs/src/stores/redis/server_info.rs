//! What a Redis says about itself.

use redis::Value;

/// Facts about the server, or servers, that a connection leads to. Who may not ask has none.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct ServerInfo {
    /// Which process it is: another one after a restart or a failover.
    pub(super) runs: Vec<String>,
    /// What it does when its memory is full.
    pub(super) policies: Vec<String>,
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
        for line in text.lines() {
            match line.split_once(':') {
                Some(("run_id", run)) => self.runs.push(run.trim().to_owned()),
                Some(("maxmemory_policy", policy)) => self.policies.push(policy.trim().to_owned()),
                _ => {}
            }
        }
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
