//! Requests that stand alone.

use std::{collections::HashMap, sync::Arc};

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::sleep};

use super::{Bridge, Shared, TRY_AGAIN};
use crate::mcp::{
    HEADER_MISMATCH, META_VERSION,
    endpoint::Answer,
    headers::{self, KEYWORD, ParamHeaders},
    replies::Replies,
};

/// Stays open, and tells of changes.
const LISTEN: &str = "subscriptions/listen";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
/// How many pages of tools are read to find the headers of one.
const MAX_PAGES: usize = 100;

/// What is under way, and what is known of tools.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// By the text of their ids.
    requests: Shared<HashMap<String, Request>>,
    /// Of tools that ask for headers.
    tools: Shared<HashMap<String, ParamHeaders>>,
}

#[derive(Debug)]
struct Request {
    cancel: Arc<Notify>,
    listens: bool,
}

impl InFlight {
    /// Ends a request: its stream is closed, by which the endpoint knows.
    pub(super) fn cancel(&self, id: &Value) {
        if let Some(request) = self.requests.lock().get(&id.to_string()) {
            request.cancel.notify_one();
        }
    }

    /// Ends what would not end by itself.
    pub(super) fn end_listening(&self) {
        let requests = self.requests.lock();
        for request in requests.values().filter(|it| it.listens) {
            request.cancel.notify_one();
        }
    }

    fn learn(&self, tools: &Value) {
        for tool in tools.as_array().into_iter().flatten() {
            if let (Some(name), Ok(headers)) = (
                tool["name"].as_str(),
                ParamHeaders::of_schema(&tool["inputSchema"]),
            ) {
                self.tools.lock().insert(name.to_owned(), headers);
            }
        }
    }
}

impl Bridge {
    /// Carries a request, and what comes for it, until it is answered or cancelled.
    pub(super) async fn modern(&self, line: String, message: Value) {
        let id = message["id"].to_string();
        let cancel = Arc::new(Notify::new());
        let listens = message["method"] == LISTEN;
        let request = Request {
            cancel: cancel.clone(),
            listens,
        };
        self.in_flight.requests.lock().insert(id.clone(), request);
        let carried = async {
            if listens {
                self.follow(&line, &message).await;
            } else if let Err(error) = self.carry(&line, &message).await {
                self.fail(&message, &error).await;
            }
        };
        tokio::select! {
            () = carried => {}
            // Who cancels a request expects no answer.
            () = cancel.notified() => {}
        }
        self.in_flight.requests.lock().remove(&id);
    }

    async fn carry(&self, line: &str, message: &Value) -> anyhow::Result<()> {
        for is_last in [false, true] {
            let answer = self.ask(line, message).await?;
            let mut replies = Replies::new(&self.endpoint, answer, &message["id"], None);
            loop {
                let reply = replies.next().await?;
                if !reply.is_answer {
                    self.tell(reply.text).await;
                    continue;
                }
                let mismatch = reply.value["error"]["code"] == HEADER_MISMATCH;
                if mismatch && !is_last && self.learns_of(message).await {
                    break;
                }
                if message["method"] == "tools/list" && reply.text.contains(KEYWORD) {
                    self.in_flight.learn(&reply.value["result"]["tools"]);
                }
                self.tell(reply.text).await;
                return Ok(());
            }
        }
        Ok(())
    }

    async fn ask(&self, line: &str, message: &Value) -> anyhow::Result<Answer> {
        let (method, params) = (&message["method"], &message["params"]);
        let tool = params["name"].as_str();
        let tool = tool.and_then(|name| self.in_flight.tools.lock().get(name).cloned());
        let method = method.as_str().unwrap_or_default();
        let mut headers = headers::of_request(method, params, tool.as_ref());
        add_version(&mut headers, params);
        self.post(line, headers).await
    }

    /// Reads the list of tools for the headers that one of them asks for.
    async fn learns_of(&self, message: &Value) -> bool {
        let (params, name) = (&message["params"], &message["params"]["name"]);
        if message["method"] != "tools/call" {
            return false;
        }
        let mut cursor = Value::Null;
        for page in 0..MAX_PAGES {
            let id = json!(format!("meshctl-{page}"));
            let mut list = json!({"jsonrpc": "2.0", "id": id, "method": "tools/list",
                "params": {"_meta": params["_meta"]}});
            if !cursor.is_null() {
                list["params"]["cursor"] = cursor;
            }
            let Ok(answer) = self.ask(&list.to_string(), &list).await else {
                return false;
            };
            let mut replies = Replies::new(&self.endpoint, answer, &id, None);
            let result = loop {
                match replies.next().await {
                    Ok(reply) if reply.is_answer => break reply.value["result"].clone(),
                    Ok(_) => {}
                    Err(_) => return false,
                }
            };
            self.in_flight.learn(&result["tools"]);
            let listed = result["tools"].as_array();
            if listed.is_some_and(|all| all.iter().any(|tool| tool["name"] == *name)) {
                return true;
            }
            match &result["nextCursor"] {
                Value::String(next) => cursor = next.as_str().into(),
                _ => return false,
            }
        }
        false
    }

    /// Listens, and listens again when the stream breaks: its end in order is the client's to see.
    async fn follow(&self, line: &str, message: &Value) {
        let mut is_again = false;
        loop {
            let answer = match self.ask(line, message).await {
                Ok(answer) => answer,
                Err(error) => return self.fail(message, &error).await,
            };
            let mut replies = Replies::new(&self.endpoint, answer, &message["id"], None);
            let mut heard = false;
            loop {
                let reply = match replies.next().await {
                    Ok(reply) => reply,
                    Err(error) if !heard && !is_again => return self.fail(message, &error).await,
                    Err(_) => break,
                };
                heard = true;
                let (ends, again) = (reply.is_answer, is_again);
                let acknowledges = reply.value["method"] == ACKNOWLEDGED;
                if acknowledges && again {
                    // What changed meanwhile has not been told.
                    self.tell_of_all(message, &reply.value["params"]).await;
                } else {
                    self.tell(reply.text).await;
                }
                if ends {
                    return;
                }
            }
            is_again = true;
            sleep(TRY_AGAIN).await;
        }
    }

    /// Tells that every list may have changed that the client listens for.
    async fn tell_of_all(&self, message: &Value, acknowledged: &Value) {
        let asked = &message["params"]["notifications"];
        for (asks, method) in [
            ("toolsListChanged", "notifications/tools/list_changed"),
            (
                "resourcesListChanged",
                "notifications/resources/list_changed",
            ),
            ("promptsListChanged", "notifications/prompts/list_changed"),
        ] {
            if asked[asks] == true {
                let params = json!({ "_meta": acknowledged["_meta"] });
                let told = json!({"jsonrpc": "2.0", "method": method, "params": params});
                self.tell(told.to_string()).await;
            }
        }
    }
}

fn add_version(headers: &mut HeaderMap, params: &Value) {
    let version = params["_meta"][META_VERSION].as_str();
    if let Some(Ok(version)) = version.map(HeaderValue::from_str) {
        headers.insert("mcp-protocol-version", version);
    }
}
