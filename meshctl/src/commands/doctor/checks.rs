//! The table of checks. To add one: a file, a `mod`, a row.

mod certificates;
mod clocks;
mod collector;
mod consul;
mod disks;
mod file_limits;
mod grpc_names;
mod haproxy;
mod instances;
mod mcp_auth;
mod mcp_keys;
mod mcp_pins;
mod mounts;
mod reachable;
mod ready;
mod redis;
mod redis_aof;
mod redis_eviction;
mod registry;
mod router;
mod settings;
mod token;
mod versions;

use super::check::Check;

/// Every check, in the order of the answer.
pub(super) const CHECKS: &[Check] = &[
    consul::CHECK,
    token::CHECK,
    registry::CHECK,
    router::CHECK,
    haproxy::CHECK,
    instances::CHECK,
    reachable::CHECK,
    ready::CHECK,
    grpc_names::CHECK,
    versions::CHECK,
    settings::CHECK,
    clocks::CHECK,
    redis::CHECK,
    redis_eviction::CHECK,
    redis_aof::CHECK,
    mcp_auth::CHECK,
    mcp_keys::CHECK,
    mounts::CHECK,
    mcp_pins::CHECK,
    collector::CHECK,
    disks::CHECK,
    file_limits::CHECK,
    certificates::CHECK,
];

/// Their names.
pub(super) fn codes() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|check| check.code)
}

/// The list of them, for `--help`.
pub(super) fn help() -> String {
    let width = codes().map(str::len).max().unwrap_or(0);
    let row = |check: &Check| format!("  {:<width$}  {}", check.code, check.about);
    let rows: Vec<String> = CHECKS.iter().map(row).collect();
    format!("Checks:\n{}", rows.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_has_a_code_of_its_own_and_says_what_it_looks_for() {
        assert_eq!(codes().collect::<BTreeSet<_>>().len(), CHECKS.len());
        for check in CHECKS {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(check.code.bytes().all(plain), "{}", check.code);
            assert!(check.about.len() > 10, "{}", check.code);
        }
    }
}
