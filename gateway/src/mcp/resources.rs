//! Resources and prompts: read, completed and followed, as far as their caller sees them.

use std::sync::Arc;

use bytes::Bytes;
use mcp::{
    CatalogView, MeshTool,
    catalog::forward,
    resources::{FILES, completion},
    rpc::{Era, Meta, Params, Request, RpcError, code},
};
use serde_json::{Value, json, value::RawValue};

use super::{
    McpServer,
    methods::{Asker, Done, Failure, Filter, Started, completed, result, shown, takes_tasks},
    sessions::{MAX_RESOURCES, MAX_URI},
};

impl McpServer {
    pub(super) async fn subscribe(
        &self,
        asker: &Asker,
        params: &Params<'_>,
        is_on: bool,
    ) -> Result<Done, Failure> {
        let uri = params.uri()?;
        let Some(session) = &asker.session else {
            return Err(RpcError::params("a subscription needs a session").into());
        };
        if is_on {
            asker.may_read()?;
            let view = self.view(&asker.scope).await?;
            if !self.knows(asker, &view, &uri) {
                return Err(unknown_resource(asker.era, &uri).into());
            }
            let mut resources = session.resources.lock();
            if resources.len() >= MAX_RESOURCES {
                return Err(RpcError::params("the session follows too many resources").into());
            }
            resources.insert(uri.into_owned());
        } else {
            session.resources.lock().remove(&*uri);
        }
        session.follows.notify_one();
        self.keep(session).await;
        Ok(Done::Text(Bytes::from_static(b"{}")))
    }

    /// Whether there is such a resource, for a caller.
    fn knows(&self, asker: &Asker, view: &CatalogView, uri: &str) -> bool {
        match forward::resource(view, uri) {
            Some((service, inner)) => inner.len() <= MAX_URI && self.sees(asker, &service),
            None => view
                .resource(uri)
                .is_some_and(|it| self.sees(asker, &it.service)),
        }
    }

    pub(super) async fn filter(
        &self,
        asker: &Asker,
        params: &Params<'_>,
        meta: &Meta<'_>,
    ) -> Result<Filter, Failure> {
        let Some(raw) = params.notifications else {
            return Err(RpcError::params("params.notifications is missing").into());
        };
        let read: Result<Filter, _> = serde_json::from_str(raw.get());
        let mut filter =
            read.map_err(|error| RpcError::params(format!("params.notifications: {error}")))?;
        let view = self.view(&asker.scope).await?;
        let uris = &mut filter.resource_subscriptions;
        uris.truncate(MAX_RESOURCES);
        uris.retain(|uri| self.knows(asker, &view, uri));
        let ids = std::mem::take(&mut filter.task_ids);
        if takes_tasks(meta.capabilities) {
            filter.task_ids = self.known_tasks(asker, ids).await;
        }
        Ok(filter)
    }

    pub(super) async fn read(
        self: &Arc<Self>,
        asker: &Asker,
        params: &Params<'_>,
    ) -> Result<Started, Failure> {
        asker.may_read()?;
        let uri = params.uri()?.into_owned();
        let view = self.view(&asker.scope).await?;
        let mounted = forward::resource(&view, &uri).map(|(service, _)| service);
        let known = mounted.or_else(|| Some(Arc::clone(&view.resource(&uri)?.service)));
        let is_seen = match known {
            Some(service) => self.sees(asker, &service),
            None => sees_files(asker, &view),
        };
        if !is_seen {
            return Err(unknown_resource(asker.era, &uri).into());
        }
        let (server, asker) = (Arc::clone(self), asker.clone());
        Ok(Started::Later(Box::pin(async move {
            let head = server.call_head(&asker);
            let read = mcp::resources::read(&view, &server.calls, &uri, head).await;
            let mut answer = read.map_err(|error| match error.code {
                code::RESOURCE_NOT_FOUND | code::INVALID_PARAMS => {
                    unknown_resource(asker.era, &uri)
                }
                _ => error.into(),
            })?;
            answer["ttlMs"] = 0.into();
            answer["cacheScope"] = server.cache_scope().into();
            Ok(completed(asker.era, answer))
        })))
    }

    pub(super) async fn prompt(
        self: &Arc<Self>,
        asker: &Asker,
        request: &Request<'_>,
        params: &Params<'_>,
    ) -> Result<Started, Failure> {
        asker.may_read()?;
        let name = params.name()?;
        let view = self.view(&asker.scope).await?;
        let known = view.prompt(&name);
        let Some(known) = known.filter(|it| self.sees(asker, &it.service)) else {
            let text = format!("no prompt is called {:?}", shown(&name));
            return Err(RpcError::params(text).into());
        };
        if known.of_server.is_none() {
            let arguments = params.arguments()?;
            let got = result(asker.era, mcp::prompts::get(&view, &name, &arguments)?);
            return Ok(Started::Done(got));
        }
        let params = members(request, asker.era)?;
        let (server, asker, prompt) = (Arc::clone(self), asker.clone(), Arc::clone(known));
        Ok(Started::Later(Box::pin(async move {
            let head = server.call_head(&asker);
            let mut got = forward::prompt(&server.calls, &prompt, params, head).await?;
            match asker.era {
                Era::Modern => drop(got.entry("resultType").or_insert("complete".into())),
                Era::Legacy(_) => drop(got.remove("resultType")),
            }
            Ok(Value::Object(got).to_string().into())
        })))
    }

    pub(super) async fn complete(
        self: &Arc<Self>,
        asker: &Asker,
        request: &Request<'_>,
    ) -> Result<Started, Failure> {
        asker.may_read()?;
        let params = members(request, asker.era)?;
        for (member, field) in [("ref", "type"), ("argument", "name"), ("argument", "value")] {
            if !params[member][field].is_string() {
                let text = format!("params.{member}.{field} must be a string");
                return Err(RpcError::params(text).into());
            }
        }
        let view = self.view(&asker.scope).await?;
        let prompt = params["ref"]["name"].as_str().unwrap_or_default();
        if let Some(known) = view.prompt(prompt)
            && !self.sees(asker, &known.service)
        {
            let text = format!("no prompt is called {:?}", shown(prompt));
            return Err(RpcError::params(text).into());
        }
        let template = params["ref"]["uri"].as_str().unwrap_or_default();
        if template.starts_with("run://") && !sees_files(asker, &view) {
            let nothing = completion(Vec::new());
            return Ok(Started::Done(result(asker.era, nothing)));
        }
        let (server, asker) = (Arc::clone(self), asker.clone());
        Ok(Started::Later(Box::pin(async move {
            let head = server.call_head(&asker);
            let answer = match server.runs(&asker, &params).await {
                Some(runs) => runs,
                None => {
                    let completed = mcp::resources::complete(&view, &server.calls, &params, head);
                    let mut completed = completed.await?;
                    server.only_seen(&asker, &view, &params, &mut completed);
                    completed
                }
            };
            Ok(completed(asker.era, answer))
        })))
    }

    /// Leaves out of completed ids those of services that a caller does not see.
    fn only_seen(&self, asker: &Asker, view: &CatalogView, params: &Value, completed: &mut Value) {
        let uri = params["ref"]["uri"].as_str().unwrap_or_default();
        let Some((kind, _)) = uri.split_once("://").filter(|_| asker.grant.is_some()) else {
            return;
        };
        let values = completed["completion"]["values"].as_array_mut();
        let Some(values) = values.filter(|_| kind != "run") else {
            return;
        };
        values.retain(|value| {
            let uri = format!("{kind}://{}", value.as_str().unwrap_or_default());
            view.resource(&uri)
                .is_some_and(|it| self.sees(asker, &it.service))
        });
        let total = values.len();
        completed["completion"]["total"] = total.into();
    }

    /// What completes the run of `run://{run_id}/{+file}`; `None` where something else is asked for.
    async fn runs(&self, asker: &Asker, params: &Value) -> Option<Value> {
        let uri = params["ref"]["uri"].as_str().unwrap_or_default();
        let is_run = params["ref"]["type"] == "ref/resource" && uri.starts_with("run://");
        if !is_run || params["argument"]["name"] != "run_id" {
            return None;
        }
        let typed = params["argument"]["value"].as_str().unwrap_or_default();
        let caller = asker.caller_name();
        let runs = match self.caller.tasks() {
            Some(tasks) => tasks.runs(caller, typed).await,
            None => Vec::new(),
        };
        Some(completion(runs))
    }
}

/// Whether a caller sees the tool that keeps the files of runs.
fn sees_files(asker: &Asker, view: &CatalogView) -> bool {
    asker.grant.as_ref().is_none_or(|grant| {
        let files = |tool: &&Arc<MeshTool>| *tool.service == *FILES;
        view.tools.iter().filter(files).any(|tool| grant.sees(tool))
    })
}

/// The parameters of a request that a mounted server may get. What an earlier client says of itself
/// is said of a session, which there is none of.
fn members(request: &Request<'_>, era: Era) -> Result<Value, RpcError> {
    let params = request.params.map_or("{}", RawValue::get);
    let mut params: Value = serde_json::from_str(params)
        .map_err(|error| RpcError::params(format!("params: {error}")))?;
    if !era.is_modern()
        && let Some(fields) = params.as_object_mut()
    {
        fields.remove("_meta");
    }
    Ok(params)
}

/// There is no such resource.
fn unknown_resource(era: Era, uri: &str) -> RpcError {
    let code = match era {
        Era::Modern => code::INVALID_PARAMS,
        Era::Legacy(_) => code::RESOURCE_NOT_FOUND,
    };
    let uri = shown(uri);
    RpcError::new(code, "resource not found").with_data(json!({ "uri": uri }))
}
