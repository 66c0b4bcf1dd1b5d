//! What signals do to programs: none ends one that does not leave the registry first.

use std::time::Duration;

use mesh_testkit::{Consul, Program, Signal, http_client, until};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn no_signal_ends_a_program_that_is_still_in_the_registry() {
    let consul = Consul::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("mesh.toml");
    std::fs::write(&file, "").expect("a file in ours");
    let mut env = consul.env();
    env.push(("MESH_CONFIG", file.display().to_string()));
    env.push(("DRAIN_DELAY", "0s".to_owned()));
    for (program, service) in [("echo-agent", "agent-echo"), ("mcp-router", "mcp-router")] {
        for leaves in [Signal::Quit, Signal::Terminate] {
            let mut running = Program::start(program, &env).await;
            consul.wait_passing(service, 1).await;
            for signal in [Signal::User1, Signal::User2, Signal::Alarm, Signal::HangUp] {
                running.signal(signal);
            }
            // The last of them is answered when the others have been heard.
            until("it reads its files again", SOON, async || {
                let log = running.process.log();
                log.contains("reading files again").then_some(())
            })
            .await;
            running.assert_healthy();
            let ready = http_client::get(&format!("http://{}/readyz", running.admin)).await;
            assert_eq!(ready.expect("it serves").0, 200, "{program}");
            running.signal(leaves);
            let ended = running.process.wait_exit(SOON).await;
            assert_eq!(ended.code(), Some(0), "{program} at {leaves:?}");
            consul.wait_passing(service, 0).await;
        }
    }
}

#[tokio::test]
async fn a_hangup_takes_over_what_the_file_says_of_services() {
    let consul = Consul::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("mesh.toml");
    std::fs::write(&file, "").expect("a file in ours");
    let mut env = consul.env();
    env.push(("MESH_CONFIG", file.display().to_string()));
    let mut router = Program::start("mcp-router", &env).await;
    std::fs::write(&file, "[services.agent-echo]\nmax_in_flight = 7\n").expect("a file in ours");
    router.signal(Signal::HangUp);
    let url = format!("http://{}/config", router.admin);
    until("the setting is in effect", SOON, async || {
        let config = http_client::json(&url).await?;
        let value = &config["services"]["agent-echo"]["max_in_flight"]["value"];
        (value == "7").then_some(())
    })
    .await;
}
