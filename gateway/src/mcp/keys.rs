//! The keys of the MCP endpoint.

use std::{path::PathBuf, time::Duration};

use service::config::{
    Config, choice, duration, integer, keys, list, optional, optional_port, path, size,
};

use super::guard;

service::config::choice! {
    /// How callers of MCP prove who they are.
    pub(crate) enum Auth {
        /// Not at all.
        None = "none",
        /// By a token of the file `mcp_tokens`.
        Token = "token",
        /// By a JSON Web Token of an authorization server.
        Jwt = "jwt",
    }
}

service::config::choice! {
    /// What `tools/list` shows.
    pub(crate) enum Listing {
        /// Every tool.
        All = "all",
        /// What searches tools and calls them, and the tools of `mcp_always`.
        Search = "search",
    }
}

keys! {
    /// The endpoint of the Model Context Protocol.
    #[derive(Clone, Debug)]
    pub(crate) struct McpKeys: "MCP" {
        /// Port of MCP alone. Empty: none; `/mcp` is on the gateway's port in any case.
        mcp_port: Option<u16> = optional_port(),
        /// Names that requests to `/mcp` may carry as `Host`. Empty: localhost, 127.0.0.1 and [::1].
        mcp_allowed_hosts: Vec<String> = list().only(
            guard::are_hosts,
            "names such as mcp.example, mcp.example:8443 or *.example.com",
        ),
        /// Origins of web pages that may send requests to `/mcp`, beside pages of the same host and
        /// port.
        mcp_allowed_origins: Vec<String> = list().only(
            guard::are_origins,
            "origins such as https://console.example",
        ),
        /// How callers prove who they are. `none` goes only with `mcp_allowed_hosts` of this machine.
        mcp_auth: Auth = choice("none"),
        /// File of the tokens, for `mcp_auth = "token"`. It is read again when it changes.
        mcp_tokens: Option<PathBuf> = path(),
        /// URL of the keys of the authorization server, for `mcp_auth = "jwt"`.
        mcp_jwks_url: Option<String> = optional().only(guard::is_url, "a URL of http or https"),
        /// The authorization server, as `iss` names it.
        mcp_issuer: Option<String> = optional().only(guard::is_url, "a URL of http or https"),
        /// URL of this endpoint as clients know it, and the audience of their tokens.
        mcp_resource: Option<String> = optional().only(guard::is_url, "a URL of http or https"),
        /// Calls that one token may have in flight.
        mcp_token_calls: usize = integer(2000, 1..=1_000_000, "calls"),
        /// Largest body of a request to `/mcp`.
        mcp_max_body: usize = size("4MiB").zero("every request is refused"),
        /// Sessions of clients before revision 2026-07-28 that may be open at once. One more ends the
        /// one that was idle longest.
        mcp_max_sessions: usize = integer(10_000, 1..=10_000_000, "sessions"),
        /// How long such a session is kept without a request or a stream.
        mcp_session_idle: Duration = duration("5m").zero("it ends at once"),
        /// Streams of changes that may be open at once.
        mcp_max_listeners: usize = integer(10_000, 1..=1_000_000, "streams"),
        /// Entries of one page of a list.
        mcp_page: usize = integer(200, 1..=10_000, "entries"),
        /// How long clients may keep a list, as it tells them.
        mcp_list_ttl: Duration = duration("5s").zero("they ask each time"),
        /// What `tools/list` shows: every tool, or only what searches them.
        mcp_listing: Listing = choice("all"),
        /// Tools that `tools/list` shows while `mcp_listing` is `search`.
        mcp_always: Vec<String> = list(),
    }
}

impl McpKeys {
    /// Checks what one key says of another.
    ///
    /// # Errors
    /// When they do not go together.
    pub(crate) fn check(config: &Config) -> anyhow::Result<Self> {
        let keys = Self::from_config(config);
        let missing = |name: &str, auth: &str| {
            anyhow::anyhow!("mcp_auth = {auth:?} needs {name}: set it, or set mcp_auth = \"none\"")
        };
        match keys.mcp_auth {
            Auth::None => {
                let far = keys
                    .mcp_allowed_hosts
                    .iter()
                    .find(|it| !guard::is_loopback(it));
                if let Some(host) = far {
                    anyhow::bail!(
                        "mcp_allowed_hosts has {host:?}, which is not this machine: set mcp_auth to \
                         token or jwt, so that not everybody may call every tool"
                    );
                }
            }
            Auth::Token if keys.mcp_tokens.is_none() => return Err(missing("mcp_tokens", "token")),
            Auth::Jwt => {
                for (name, key) in [
                    ("mcp_jwks_url", &keys.mcp_jwks_url),
                    ("mcp_issuer", &keys.mcp_issuer),
                    ("mcp_resource", &keys.mcp_resource),
                ] {
                    if key.is_none() {
                        return Err(missing(name, "jwt"));
                    }
                }
            }
            Auth::Token => {}
        }
        Ok(keys)
    }
}
