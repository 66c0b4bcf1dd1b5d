//! The keys of the chassis: those that every program has, and those of programs that serve gRPC or
//! call others.

mod traces;

use std::{path::PathBuf, time::Duration};

use channel::MetadataLimit;
use config::{
    Config, Group, Key, Loader, Secret, duration, integer, list, number, optional, path, port,
    secret, size, switch, text, word,
};
use discovery::backends::CONSUL_PORT;
use telemetry::{LogFormat, LogLevel};

use crate::{
    Spec,
    call_log::LogFilter,
    network::{Network, is_network, networks},
    settings,
    tool_settings::ToolSettings,
    web_policy::WebKeys,
};

pub(crate) use traces::TraceKeys;

/// The bound of counts that have no other.
const U32: u64 = u32::MAX as u64;

config::choice! {
    /// The registry of instances.
    pub(crate) enum RegistryKind {
        /// Consul.
        Consul = "consul",
        /// The instances that the configuration lists.
        Fixed = "fixed",
        /// The API server of Kubernetes.
        Kubernetes = "kubernetes",
        /// The memory of this process.
        Memory = "memory",
    }
}

config::choice! {
    /// How Consul checks an instance.
    pub(crate) enum CheckKind {
        /// gRPC health, or HTTP where the port speaks HTTP.
        Grpc = "grpc",
        /// A TCP connection.
        Tcp = "tcp",
    }
}

config::keys! {
    /// Where the program listens, and what it announces.
    #[derive(Clone, Debug)]
    pub struct ListenKeys: "Addresses" {
        /// Port to serve on. Each program has a default and a variable of its own.
        port: u16 = port(50052).zero("the system chooses"),
        /// IP address to serve on.
        listen_address: String = text("0.0.0.0"),
        /// Address to announce in the registry. Empty: this host's own IP on the way to Consul.
        service_host: Option<String> = optional(),
    }
}

config::keys! {
    /// How the registry is reached.
    #[derive(Clone, Debug)]
    pub(crate) struct RegistryKeys: "Registry" {
        /// Registry of instances: Consul, a fixed list, Kubernetes, or the memory of the process.
        discovery: RegistryKind = config::choice("consul"),
        /// Consul's address, with or without a scheme. Empty: `consul_host` and `consul_port`.
        consul_http_addr: Option<String> = optional(),
        /// Consul's host, where `consul_http_addr` is empty.
        consul_host: String = text("127.0.0.1"),
        /// Consul's port, where `consul_http_addr` is empty.
        consul_port: u16 = port(CONSUL_PORT as u64),
        /// Consul's ACL token.
        consul_http_token: Option<Secret> = secret(),
        /// PEM file of the authorities that sign Consul's certificate. Empty: the system's.
        consul_cacert: Option<PathBuf> = path(),
        /// PEM file of the client certificate for Consul.
        consul_client_cert: Option<PathBuf> = path(),
        /// PEM file of the key of `consul_client_cert`.
        consul_client_key: Option<PathBuf> = path(),
        /// Address of the Kubernetes API, for `discovery = "kubernetes"`. Empty:
        /// `kubernetes_service_host` and `kubernetes_service_port`.
        kubernetes_api: Option<String> = optional(),
        /// Host of the Kubernetes API, where `kubernetes_api` is empty. Kubernetes sets its variable in
        /// every pod.
        kubernetes_service_host: String = text("kubernetes.default.svc"),
        /// Port of the Kubernetes API, where `kubernetes_api` is empty. Kubernetes sets its variable in
        /// every pod.
        kubernetes_service_port: u16 = port(443),
        /// Namespace of the mesh in Kubernetes. Empty: that of the pod, else `default`.
        kubernetes_namespace: Option<String> = optional(),
        /// Name of the own pod, by which others find this instance. Empty: the host's name, which is the
        /// pod's unless the pod has the network of its node or another `hostname`.
        kubernetes_pod: Option<String> = optional(),
        /// File of the token for the Kubernetes API. It is read for each request. Empty: the pod's.
        kubernetes_token_file: Option<PathBuf> = path(),
        /// PEM file of the authorities of the Kubernetes API. Empty: the pod's.
        kubernetes_ca_file: Option<PathBuf> = path(),
    }
}

config::keys! {
    /// What the registry is told of the instance.
    #[derive(Clone, Debug)]
    pub(crate) struct RegistrationKeys: "Registration" {
        /// How Consul checks this instance: by gRPC health or by a TCP connection. A port that
        /// speaks HTTP is asked for `/readyz` instead of gRPC health.
        check_kind: CheckKind = config::choice("grpc"),
        /// Time between two checks by Consul.
        check_interval: Duration = duration("10s").zero("Consul refuses the registration"),
        /// How long an instance may be critical before Consul removes it.
        deregister_after: Duration = duration("1m").zero("never"),
        /// Share of calls relative to the other instances of the service.
        weight: u32 = integer(10, 1..=65535, ""),
        /// Share of calls while a check of the instance warns. Less than `weight` makes sense.
        weight_warning: u32 = integer(1, 1..=65535, ""),
    }
}

config::keys! {
    /// How other services are found.
    #[derive(Clone, Debug)]
    pub(crate) struct WatchKeys: "Finding other services", absent: "does not call other services" {
        /// Instances for `discovery = "fixed"`, each as service=host:port.
        fixed_instances: Vec<String> = list(),
        /// File that keeps the last known instances, for a start while Consul is away. Empty: none.
        registry_cache: Option<PathBuf> = path(),
    }
}

config::keys! {
    /// The admin listener.
    #[derive(Clone, Debug)]
    pub struct AdminKeys: "Admin listener" {
        /// Port of the admin listener.
        metrics_port: u16 = port(0).zero("the system chooses"),
        /// IP address of the admin listener.
        admin_address: String = text("0.0.0.0"),
        /// Token that lets other machines ask for `/config` and `/log-level`, sent as
        /// `Authorization: Bearer TOKEN`. Empty: this machine alone may ask.
        admin_token: Option<Secret> = secret(),
        /// Serve `/metrics`.
        enable_metrics: bool = switch("true"),
        /// Serve profiles for `go tool pprof`. A program that was built without them says how to
        /// build it.
        enable_pprof: bool = switch("false"),
        /// Port of profiles.
        pprof_port: u16 = port(6060).zero("the system chooses"),
        /// IP address of profiles: anybody who reaches it may take them.
        pprof_address: String = text("127.0.0.1"),
    }
}

config::keys! {
    /// Logs.
    #[derive(Clone, Debug)]
    pub(crate) struct LogKeys: "Logs" {
        /// How much is logged.
        log_level: LogLevel = word("info", &["debug", "info", "warn", "error"], |word| word.parse().ok()),
        /// How a log line looks: text, JSON, or `auto` for text on a terminal and JSON elsewhere.
        log_format: LogFormat = word("auto", &["auto", "text", "json"], log_format),
        /// Send log lines to the OTLP collector as well.
        otel_logs: bool = switch("false"),
    }
}

config::keys! {
    /// How the program leaves.
    #[derive(Clone, Debug)]
    pub struct DrainKeys: "Shutdown" {
        /// How long the program serves on after it has left the registry.
        drain_delay: Duration = duration("3s").zero("it stops accepting at once"),
        /// How long calls may then take to finish before they are cut.
        drain_timeout: Duration = duration("15s").bounded_by(120).zero("calls are cut at once"),
    }
}

config::keys! {
    /// The limits of every port's connections, those of the admin listener among them.
    #[derive(Clone, Debug)]
    pub struct ConnectionKeys: "Connections of clients" {
        /// Networks of proxies whose `x-forwarded-for` is believed, such as 10.0.0.0/8 or fd00::/8.
        trusted_proxies: Vec<Network> = config::checked("", networks, is_network, "networks such as 10.0.0.0/8, fd00::/8"),
        /// Connections to one port at once.
        port_max_connections: u64 = integer(10_000, 0..=U32, "connections").zero("no limit"),
        /// Connections of one client to one port at once. Those of trusted proxies do not count.
        client_max_connections: u64 = integer(1000, 0..=U32, "connections").zero("no limit"),
        /// Calls at once on one HTTP/2 connection.
        max_concurrent_streams: u32 = integer(10_000, 1..=U32, "calls"),
        /// Unanswered calls that one connection may give up within a second, counted over 10 s.
        wasted_calls: u32 = integer(500, 1..=1_000_000_000, "calls"),
        /// How long a client may take until its first bytes, and the head of each request.
        handshake_timeout: Duration = duration("10s").zero("no limit"),
        /// How long a client may be silent within a body, or leave an answer unread.
        body_timeout: Duration = duration("30s").zero("no limit"),
        /// How long a connection may stay open without a request or call.
        keep_alive: Duration = duration("75s").zero("no limit"),
        /// Age at which a client's connection is told to close, ±10 %. Its calls finish.
        max_connection_age: Duration = duration("0s").zero("no limit"),
        /// How long the calls of such a connection may go on before they are cut.
        max_connection_age_grace: Duration = duration("0s").zero("no limit"),
    }
}

config::keys! {
    /// The limits of calls on a gRPC port.
    #[derive(Clone, Debug)]
    pub struct CallKeys: "Calls of clients", absent: "does not serve gRPC" {
        /// Calls of one client at once.
        client_max_calls: u64 = integer(0, 0..=U32, "calls").zero("no limit"),
        /// Calls of one client each second. It may begin a second's worth at once.
        client_rate: f64 = number(0.0, 0.0..=1e9, "calls per second").zero("no limit"),
        /// Where each call is written as a line of JSON: `stdout`, `stderr` or a file. Empty:
        /// nowhere.
        access_log: Option<String> = optional(),
        /// Which calls the access log has: all, those whose status is not OK, those that took so
        /// long, or so large a part.
        access_log_filter: LogFilter = config::checked("all", LogFilter::parse, LogFilter::accepts, crate::call_log::EXPECTED),
    }
}

config::keys! {
    /// The limit of gRPC messages.
    #[derive(Clone, Debug)]
    pub struct MessageKeys: "gRPC messages", absent: "has nothing to do with gRPC messages" {
        /// Largest gRPC message that is taken.
        max_message_bytes: usize = size("4MiB").zero("only empty messages"),
    }
}

/// The keys of the chassis, read once.
#[derive(Clone, Debug)]
pub struct ChassisKeys {
    /// Where the program listens, and what it announces.
    pub listen: ListenKeys,
    /// The admin listener.
    pub admin: AdminKeys,
    /// What the registry is told of the instance.
    pub(crate) registration: RegistrationKeys,
    /// How the program leaves.
    pub drain: DrainKeys,
    /// The limits of every port's connections.
    pub connections: ConnectionKeys,
    /// The limits of calls on a gRPC port.
    pub calls: CallKeys,
    /// The limit of gRPC messages.
    pub messages: MessageKeys,
    /// The limit of metadata.
    pub metadata: MetadataLimit,
}

impl ChassisKeys {
    /// The values that the configuration gives.
    pub(crate) fn from_config(config: &Config) -> Self {
        Self {
            listen: ListenKeys::from_config(config),
            admin: AdminKeys::from_config(config),
            registration: RegistrationKeys::from_config(config),
            drain: DrainKeys::from_config(config),
            connections: ConnectionKeys::from_config(config),
            calls: CallKeys::from_config(config),
            messages: MessageKeys::from_config(config),
            metadata: MetadataLimit::from_config(config),
        }
    }
}

/// The keys of every program.
pub const BASE: &[Group] = &[
    ListenKeys::GROUP,
    RegistryKeys::GROUP,
    RegistrationKeys::GROUP,
    AdminKeys::GROUP,
    LogKeys::GROUP,
    TraceKeys::GROUP,
    DrainKeys::GROUP,
    ConnectionKeys::GROUP,
    MetadataLimit::GROUP,
];

/// The keys of programs that serve gRPC.
pub const GRPC: &[Group] = &[CallKeys::GROUP, MessageKeys::GROUP];

/// The key of programs that send gRPC messages and serve none.
pub const MESSAGES: &[Group] = &[MessageKeys::GROUP];

/// The keys of programs that call other services.
pub const CALLS: &[Group] = &[
    WatchKeys::GROUP,
    channel::ClusterOptions::GROUP,
    balance::BalanceOptions::GROUP,
];

/// The keys of programs that answer HTTP on ports of their own.
pub const WEB: &[Group] = &[WebKeys::GROUP];

/// The settings of services that programs obey which show services as tools.
pub const TOOLS: &[Group] = &[ToolSettings::GROUP];

impl Spec {
    /// The groups of keys that the program obeys.
    pub fn groups(&self) -> impl Iterator<Item = Group> + use<> {
        let own = self.keys.iter().flat_map(|groups| groups.iter());
        BASE.iter().chain(own).copied()
    }

    /// Every key of the program.
    #[must_use]
    pub fn all_keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self
            .groups()
            .flat_map(|group| group.keys)
            .copied()
            .collect();
        for key in keys
            .iter_mut()
            .filter(|key| key.name == ListenKeys::KEYS[0].name)
        {
            key.env = Some(self.port_env);
            key.default = config::DefaultValue::Integer(self.default_port.into());
        }
        keys
    }

    /// The keys that each called service may have its own value for; none when it calls nobody.
    #[must_use]
    pub(crate) fn service_keys(&self) -> Vec<Key> {
        let mut keys = self.all_keys();
        keys.retain(|key| key.per_service);
        keys
    }

    /// A loader of the program's configuration, which refuses the keys of others by name.
    #[must_use]
    pub fn loader(&self) -> Loader {
        let has = |group: &&Group| !self.groups().any(|own| own.title == group.title);
        let known = [GRPC, CALLS, WEB, TOOLS].into_iter().flatten();
        let elsewhere: Vec<Group> = known.filter(has).copied().collect();
        Loader::new(self.all_keys())
            .program(self.program, &elsewhere)
            .retired(self.groups().flat_map(|group| group.retired).copied())
            .table(settings::file::TABLE, settings::file::check)
    }
}

fn log_format(word: &str) -> Option<LogFormat> {
    match word {
        "auto" => Some(LogFormat::Auto),
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}
