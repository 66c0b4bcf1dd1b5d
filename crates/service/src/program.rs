//! A whole program: parse, build, run until a signal, drain.

use std::{ffi::OsString, io, process::ExitCode, time::Duration};

use anyhow::Context as _;
use telemetry::TelemetryGuard;
use tracing::{info, warn};

use crate::{
    Context, Services, Spec, advertise,
    cli::{self, Invocation},
    config::{self, Config},
    healthcheck,
    keys::{AdminKeys, LogKeys, TraceKeys},
    registration, run,
    signals::{Hangup, Signals},
};

/// How long the export of the last spans may take.
const FLUSH: Duration = Duration::from_secs(2);

/// The whole `main` of a program.
///
/// SIGTERM, SIGINT and SIGQUIT drain it; a second one ends it at once. SIGHUP reads files again. It
/// exits with 0 after a drain, 1 if it cannot serve, and 2 for a bad command line or configuration.
pub fn main(spec: Spec, build: impl FnOnce(&Context) -> anyhow::Result<Services>) -> ExitCode {
    main_as(spec, std::env::args_os(), |_| Ok(spec), build)
}

/// [`main`] with another command line than the process was given. `named` is the description that
/// the configuration leads to: a program that serves in another's place has that one's name.
pub fn main_as(
    spec: Spec,
    args: impl IntoIterator<Item = OsString>,
    named: impl FnOnce(&Config) -> anyhow::Result<Spec>,
    build: impl FnOnce(&Context) -> anyhow::Result<Services>,
) -> ExitCode {
    let config = match cli::from_process(&spec, args, config::environment()) {
        Invocation::Run(config) => config,
        Invocation::Healthcheck(config) => {
            return match healthcheck::probe(AdminKeys::from_config(&config).metrics_port) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => print(io::stderr(), &format!("{}: {error}\n", spec.program), 1),
            };
        }
        Invocation::Print(text) => return print(io::stdout(), &text, 0),
        Invocation::Usage(text) => return print(io::stderr(), &text, 2),
        Invocation::Mistakes(mistakes) => {
            return print(io::stderr(), &format!("{}: {mistakes}\n", spec.program), 2);
        }
    };
    let spec = match named(&config) {
        Ok(spec) => spec,
        Err(error) => return print(io::stderr(), &format!("{}: {error:#}\n", spec.program), 2),
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    profile::track_tasks(&mut runtime);
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return print(io::stderr(), &format!("start the runtime: {error}\n"), 1),
    };
    let ended = runtime.block_on(serve(&spec, config, build));
    // A thread of the DNS resolver may still be blocked: do not wait for it.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => print(io::stderr(), &format!("{}: {error:#}\n", spec.program), 1),
    }
}

async fn serve(
    spec: &Spec,
    config: Config,
    build: impl FnOnce(&Context) -> anyhow::Result<Services>,
) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("watch for signals")?;
    let instance_id = advertise::instance_id(spec, &config);
    let guard = log(spec, &config, &instance_id)?;
    let discovery = registration::registry(&config)?;
    let running = run::start_as(instance_id, spec, config, discovery, build).await?;
    let reload = running.context().reload.clone();
    let signal = signals.shutdown_requested(Hangup::Reload(&reload)).await;
    info!(signal, "leaving");
    tokio::select! {
        _ = running.drain() => {}
        signal = signals.shutdown_requested(Hangup::Reload(&reload)) => {
            warn!(signal, "ending at once: calls in flight are aborted");
            return Ok(());
        }
    }
    let flushed = tokio::task::spawn_blocking(|| guard.shutdown(FLUSH)).await;
    if let Ok(Err(error)) = flushed {
        warn!(%error, "telemetry");
    }
    Ok(())
}

fn log(spec: &Spec, config: &Config, instance_id: &str) -> anyhow::Result<TelemetryGuard> {
    let (keys, traces) = (LogKeys::from_config(config), TraceKeys::from_config(config));
    let options = telemetry::TelemetryOptions {
        service_name: traces
            .otel_service_name
            .clone()
            .unwrap_or_else(|| spec.service.to_owned()),
        instance_id: instance_id.to_owned(),
        level: keys.log_level,
        format: keys.log_format,
        otlp_logs: keys.otel_logs,
        otlp: traces.otlp(),
        traces: traces.traces(),
        ..telemetry::TelemetryOptions::default()
    };
    Ok(telemetry::init(&options)?)
}

/// A reader that has gone away is no reason to fail.
fn print(mut to: impl io::Write, text: &str, code: u8) -> ExitCode {
    let text = telemetry::redact(text);
    to.write_all(text.as_bytes()).and_then(|()| to.flush()).ok();
    ExitCode::from(code)
}
