//! Which requests a session answers itself, and which go to the server.

use std::sync::{Arc, atomic::Ordering};

use serde_json::json;

use super::Session;
use crate::{
    link::Era,
    listen::{MAX_RESOURCES, MAX_URI},
    message::{Fields, Outcome, Request, code, error, fields, raw, text},
    replies::{gone_error, unknown},
    translate,
};

impl Session {
    /// Carries out one request.
    pub(super) async fn run(self: &Arc<Self>, request: Request) -> Outcome {
        let Request { id, method, params } = request;
        let Some(params) = fields(params.as_deref()) else {
            return Err(error(code::INVALID_PARAMS, "params are no object"));
        };
        match &*method {
            "ping" => Ok(raw(&json!({}))),
            "initialize" => Err(error(
                code::INVALID_REQUEST,
                "the session has begun already",
            )),
            "logging/setLevel" => {
                let given = text(params.get("level")).unwrap_or_default();
                let Some(level) = translate::level(&given) else {
                    return Err(error(code::INVALID_PARAMS, "no such level"));
                };
                self.level.store(level, Ordering::Relaxed);
                Ok(raw(&json!({})))
            }
            "resources/subscribe" | "resources/unsubscribe" => {
                self.subscribe(&method, &params).await
            }
            "server/discover" | "subscriptions/listen" => Err(unknown(&method)),
            "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/list" => {
                self.task(&id, &method, params).await
            }
            "tools/list" => {
                self.mount.known_tools().await?;
                self.forward(&id, &method, params).await
            }
            "tools/call" => {
                let name = text(params.get("name")).unwrap_or_default();
                self.mount.check_tool(&name).await?;
                self.forward(&id, &method, params).await
            }
            _ => self.forward(&id, &method, params).await,
        }
    }

    async fn subscribe(&self, method: &str, params: &Fields) -> Outcome {
        let Some(uri) = text(params.get("uri")) else {
            return Err(error(code::INVALID_PARAMS, "uri is missing"));
        };
        let link = self
            .side
            .upstream
            .link()
            .await
            .map_err(|gone| gone_error(&gone))?;
        if !link.facts().can("resources.subscribe") {
            return Err(unknown(method));
        }
        let begins = method == "resources/subscribe";
        let changed = {
            let uris = &mut self.followed.lock().uris;
            let is_full = uris.len() >= MAX_RESOURCES && !uris.contains(&uri);
            if begins && (is_full || uri.len() > MAX_URI) {
                let text = format!(
                    "a session follows at most {MAX_RESOURCES} resources, of URIs of {MAX_URI} bytes"
                );
                return Err(error(code::INVALID_PARAMS, text));
            }
            if begins {
                uris.insert(uri.clone())
            } else {
                uris.remove(&uri)
            }
        };
        match (changed, begins, link.facts().era) {
            (false, ..) => {}
            (true, true, Era::Legacy) => self.side.follow_resource(&uri).await,
            (true, false, Era::Legacy) => self.side.unfollow_resource(&uri).await,
            (true, _, Era::Modern) => {
                let uris = self.followed.lock().uris.clone();
                self.listened.send_replace(uris);
            }
        }
        Ok(raw(&json!({})))
    }
}
