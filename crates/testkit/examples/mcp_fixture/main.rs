//! An MCP server of the SDK with everything that the conformance suite asks a server for:
//!
//! ```text
//! cargo run -p mesh-testkit --example mcp_fixture -- [--era legacy|modern|both] [--port N | --stdio]
//! ```
//!
//! It prints its URL. With `--era` it knows the revisions of one era only.

#![expect(clippy::print_stdout, reason = "a program that says where it is")]
#![expect(deprecated, reason = "earlier revisions are part of what is tested")]

mod asks;
mod fixture;
mod long;

use std::{borrow::Cow, sync::Arc};

use anyhow::{Context as _, bail};
use fixture::Fixture;
use rmcp::{
    ServiceExt as _,
    model::ProtocolVersion,
    transport::{
        StreamableHttpServerConfig, StreamableHttpService,
        streamable_http_server::session::local::LocalSessionManager,
    },
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut era, mut port, mut stdio) = ("both".to_owned(), "0".to_owned(), false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--era" => era = args.next().context("--era needs a value")?,
            "--port" => port = args.next().context("--port needs a value")?,
            "--stdio" => stdio = true,
            other => bail!("unknown option {other}"),
        }
    }
    let fixture = Fixture::new(versions(&era)?);
    if stdio {
        let served = fixture.serve(rmcp::transport::stdio()).await?;
        served.waiting().await?;
        return Ok(());
    }
    let service = StreamableHttpService::new(
        move || Ok(fixture.clone()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default()
            .with_allowed_origins(["http://localhost:*", "http://127.0.0.1:*"]),
    );
    let router = axum::Router::new().nest_service("/mcp", service);
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}/mcp", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

fn versions(era: &str) -> anyhow::Result<Cow<'static, [ProtocolVersion]>> {
    let known = ProtocolVersion::KNOWN_VERSIONS;
    let modern = |it: &&ProtocolVersion| it.to_string() == "2026-07-28";
    Ok(match era {
        "both" => Cow::Borrowed(known),
        "modern" => known.iter().filter(modern).cloned().collect(),
        "legacy" => known.iter().filter(|it| !modern(it)).cloned().collect(),
        _ => bail!("--era is legacy, modern or both"),
    })
}
