//! Why the mesh refuses a call: the closed set of `reason`s of its `ErrorInfo`.

use std::fmt;

/// Declares [`Reason`]: a variant, its word on the wire and what it means.
macro_rules! reasons {
    ($($variant:ident $word:literal $about:literal;)*) => {
        /// The `reason` of an `ErrorInfo` of the mesh. Clients read the word, so it never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $about] $variant,)*
        }

        impl Reason {
            /// Every reason, ordered by its word.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word on the wire, such as `NO_SUCH_SERVICE`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What it means, in one sentence of Markdown.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }
        }
    };
}

reasons! {
    AmbiguousService "AMBIGUOUS_SERVICE"
        "Several services serve the gRPC service: choose one of `candidates` by `x-mesh-service`.";
    BadDescriptors "BAD_DESCRIPTORS"
        "The descriptors that the service gives by reflection cannot be used.";
    BadMetadata "BAD_METADATA"
        "The metadata named by `field` is malformed; `grpc-timeout` is one.";
    BadMethod "BAD_METHOD"
        "The method is not written as `pkg.Service/Method`.";
    ConflictingId "CONFLICTING_ID"
        "The message names two different services: its id came twice.";
    ConnectionLost "CONNECTION_LOST"
        "The connection to `instance` broke before the answer was complete.";
    ConnectFailed "CONNECT_FAILED"
        "No connection to an instance of `service` could be opened.";
    DeadlineExceeded "DEADLINE_EXCEEDED"
        "The caller's deadline passed before the answer was complete.";
    DependencyAway "DEPENDENCY_AWAY"
        "A tool or service that the agent needs does not answer.";
    Disk "DISK"
        "The tool could not read or write its disk.";
    Draining "DRAINING"
        "The instance is shutting down: ask another one.";
    HttpAnswer "HTTP_ANSWER"
        "The instance answered with an HTTP error (`http_status`) and not with gRPC.";
    InstanceGone "INSTANCE_GONE"
        "The `instance` that the call asks for does not exist any more.";
    InvalidField "INVALID_FIELD"
        "The field named by `field` has a value that is not accepted.";
    Limit "LIMIT"
        "A limit was reached: `key` is the configuration key that sets it.";
    MalformedGzip "MALFORMED_GZIP"
        "A compressed message cannot be decompressed.";
    MalformedMessage "MALFORMED_MESSAGE"
        "The message is not what the method takes.";
    MessageTooLarge "MESSAGE_TOO_LARGE"
        "A message is larger than `limit` bytes, set by `key`.";
    MissingField "MISSING_FIELD"
        "The field named by `field` is missing or empty.";
    ModelAway "MODEL_AWAY"
        "The agent's language model gave no answer in all its attempts.";
    NotTheRouters "NOT_THE_ROUTERS"
        "The method belongs to a service behind the router: name one.";
    NoHealthyInstance "NO_HEALTHY_INSTANCE"
        "The service is known and none of its instances is healthy.";
    NoSuchGrpcService "NO_SUCH_GRPC_SERVICE"
        "No service in the mesh serves the gRPC service.";
    NoSuchService "NO_SUCH_SERVICE"
        "The id names no service and no instance.";
    RegisterWithConsul "REGISTER_WITH_CONSUL"
        "Agents and tools register themselves with Consul, not with each other.";
    RegistrationOff "REGISTRATION_OFF"
        "Registration through the router is off: `key` turns it on.";
    RegistrationRefused "REGISTRATION_REFUSED"
        "The registry refuses the registration.";
    RegistryUnreachable "REGISTRY_UNREACHABLE"
        "The registry does not answer, so it is not known who serves this.";
    RouterUnreachable "ROUTER_UNREACHABLE"
        "No router answers at the configured address.";
    ServiceHasOwner "SERVICE_HAS_OWNER"
        "Another instance has registered that id: choose another one.";
    Silent "SILENT"
        "The caller paused within a message for longer than `body_timeout`.";
    SilentInstance "SILENT_INSTANCE"
        "The `instance` did not answer in time.";
    SwitchedOff "SWITCHED_OFF"
        "The operation is off: `key` turns it on.";
    TaskRefused "TASK_REFUSED"
        "The agent refuses the task: its input will not do.";
    TooManyRegistrations "TOO_MANY_REGISTRATIONS"
        "The router keeps `limit` registrations already.";
    UnknownEncoding "UNKNOWN_ENCODING"
        "The message is compressed in a way that the router cannot read.";
    UnknownMethod "UNKNOWN_METHOD"
        "The service has no such method.";
    UnknownSymbol "UNKNOWN_SYMBOL"
        "Reflection knows no such symbol.";
}

impl Reason {
    /// The reason with this word; `None` for a word of somebody else's, or of a later version.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.as_str() == word)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
