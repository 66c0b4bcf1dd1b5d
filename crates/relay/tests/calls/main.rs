//! Calls through the engine, frame by frame: the ordinary ones, and every way they can fail.

mod attempts;
mod connections;
mod ends;
mod exchange;
#[path = "../support/mod.rs"]
mod support;

use mesh_relay::Config;
use support::{Bench, Plain};

fn bench() -> Bench {
    Bench::new(Config::default(), Plain::new(&[7]))
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(n, _)| n == name);
    found.map(|(_, value)| value.as_str())
}
