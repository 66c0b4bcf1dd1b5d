//! The real things, started for one test: Consul, HAProxy, Jaeger, PostgreSQL, the programs of this workspace
//! and Python servers, each on ports of its own and gone with the value that stands for it.
//!
//! Whatever does not come up fails the test with its log: nothing is skipped.
//!
//! | variable | meaning |
//! |---|---|
//! | `MESH_TEST_BIN` | folder with our programs, to test those; without it cargo builds them |
//! | `MESH_TEST_QUIET_SECONDS` | how long the quiet call of `tests/predecessor.rs` is; 20, and 90 is what the mesh promises |
//!
//! The examples print tables: `faults`, what goes wrong under load and what it costs; `open_streams`,
//! what an open stream takes; `soak`, whether anything grows.

#![expect(
    clippy::missing_panics_doc,
    reason = "a test kit fails the test that uses it by panicking, everywhere"
)]

pub mod certificate;
pub mod clients;
pub mod consul;
pub mod faults;
pub mod faulty_instance;
pub mod fixture;
pub mod grpcurl;
pub mod haproxy;
pub mod http_client;
pub mod interop;
pub mod jaeger;
pub mod job_mesh;
pub mod load;
pub mod local;
pub mod mesh;
pub mod model_endpoint;
pub mod packet_loss;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod program;
pub mod python;
pub mod raw;
pub mod raw_http;
pub mod redis;
pub mod sentinel;
pub mod streams;
pub mod tools;
pub mod toxiproxy;
pub mod wait;
pub mod web_server;

pub use certificate::Certificate;
pub use consul::Consul;
pub use faulty_instance::FaultyInstance;
pub use fixture::Fixture;
pub use grpcurl::grpcurl;
pub use haproxy::HaProxy;
pub use jaeger::Jaeger;
pub use job_mesh::JobMesh;
pub use load::Load;
pub use mesh::{Mesh, RouterMesh};
pub use packet_loss::BreakableLink;
pub use postgres::Postgres;
pub use process::{Process, Signal};
pub use program::Program;
pub use redis::Redis;
pub use sentinel::Sentinel;
pub use toxiproxy::Toxiproxy;
pub use wait::{until, within};
pub use web_server::WebServer;
