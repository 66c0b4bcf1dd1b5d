//! A job as the canonical API takes it.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use jobs::NewJob;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};
use work::{Call, JobKind as _, KINDS};

use crate::{number::within, problem::Problem, request_context::RequestContext, state::Gateway};

/// A job to submit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Submission {
    /// What it does.
    #[schema(value_type = KindWord)]
    kind: String,
    /// For `call`: a service's public id or Consul name.
    #[schema(example = "agent-echo")]
    service: Option<String>,
    /// For `call`: `pkg.Service/Method`.
    #[schema(example = "agentplatform.AgentService/ExecuteTask")]
    method: Option<String>,
    /// For `call` the message; for others an object with the fields of their kind.
    #[schema(value_type = Option<Object>, example = json!({"input": "hello"}))]
    payload: Option<Value>,
    /// For `call`: the encoded message in base64, instead of `payload`.
    bytes_base64: Option<String>,
    /// For `call`: metadata to send with it.
    metadata: Option<BTreeMap<String, String>>,
    /// Its queue: a-z, 0-9, `_` and `-`.
    #[schema(example = "default", pattern = "^[a-z0-9_-]{1,64}$")]
    queue: Option<String>,
    /// 5 is the highest, 3 the default.
    #[schema(minimum = 1, maximum = 5, example = 3)]
    #[serde(default, deserialize_with = "within::<1, 5, _, _>")]
    priority: Option<u8>,
    /// How long it waits before it may run, at most a year.
    #[schema(minimum = 0, maximum = 31536000000_u64)]
    #[serde(default, deserialize_with = "within::<0, { u64::MAX }, _, _>")]
    delay_ms: Option<u64>,
    /// How long one attempt may take; a minute by default.
    #[schema(minimum = 1, maximum = 86400000_u64)]
    #[serde(default, deserialize_with = "within::<1, { u64::MAX }, _, _>")]
    timeout_ms: Option<u64>,
    /// How many attempts it has at most; 5 by default.
    #[schema(minimum = 1)]
    #[serde(default, deserialize_with = "within::<1, 4294967295, _, _>")]
    max_attempts: Option<u32>,
    /// Submitting it twice within a day under one key makes one job.
    #[schema(min_length = 1, max_length = 256)]
    idempotency_key: Option<String>,
}

/// The name of a kind of jobs, for the description: the words are those of the table of kinds.
pub(crate) struct KindWord;

impl PartialSchema for KindWord {
    fn schema() -> RefOr<Schema> {
        let rows = KINDS.iter().map(|row| {
            let about = row.description;
            format!(
                "`{}` {}; its `payload`: {}.",
                row.name, about.does, about.payload
            )
        });
        let rows: Vec<String> = rows.collect();
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(format!("The kinds of jobs. {}", rows.join(" "))))
            .enum_values(Some(KINDS.iter().map(|row| row.name)))
            .into()
    }
}

impl ToSchema for KindWord {
    fn name() -> Cow<'static, str> {
        "KindWord".into()
    }
}

impl Submission {
    /// The job, checked, as it is submitted.
    pub(crate) fn job(self, gateway: &Gateway, caller: &RequestContext) -> Result<NewJob, Problem> {
        let key = caller.key.as_deref().or(self.idempotency_key.as_deref());
        let mut job = self.new_job(key)?;
        job.queue = gateway.queue(self.queue.as_deref());
        job.priority = self.priority.unwrap_or(job.priority);
        job.delay = Duration::from_millis(self.delay_ms.unwrap_or(0));
        if let Some(timeout) = self.timeout_ms {
            job.timeout = Duration::from_millis(timeout);
        }
        let longest = gateway.keys.max_job_timeout;
        if job.timeout > longest {
            let reason = format!("is more than max_job_timeout = {longest:?}");
            return Err(Problem::field("timeout_ms", reason));
        }
        job.max_attempts = self.max_attempts.unwrap_or(job.max_attempts);
        job.idempotency_key = self.idempotency_key;
        caller.apply_to(&mut job)?;
        Ok(job)
    }

    fn new_job(&self, key: Option<&str>) -> Result<NewJob, Problem> {
        let kind = work::kind(&self.kind)?;
        if kind.name == Call::NAME {
            let mut call = Map::new();
            let mut put = |name: &str, value: Option<Value>| {
                value.map(|value| call.insert(name.to_owned(), value));
            };
            put("service", self.service.clone().map(Value::from));
            put("method", self.method.clone().map(Value::from));
            put("payload", self.payload.clone());
            put("bytes_base64", self.bytes_base64.clone().map(Value::from));
            put("metadata", self.metadata.clone().map(|pairs| json!(pairs)));
            return Ok(kind.read(&Value::Object(call))?);
        }
        for (field, is_given) in [
            ("service", self.service.is_some()),
            ("method", self.method.is_some()),
            ("bytes_base64", self.bytes_base64.is_some()),
            ("metadata", self.metadata.is_some()),
        ] {
            if is_given {
                return Err(Problem::field(
                    field,
                    format!("is for call, and this is {}", kind.name),
                ));
            }
        }
        let payload = self.payload.as_ref();
        let payload = payload.ok_or_else(|| Problem::field("payload", "is missing"))?;
        let within = |error: work::FieldError| {
            if error.field == "payload" {
                return Problem::from(error);
            }
            Problem::field(format!("payload.{}", error.field), error.reason)
        };
        // What the gateway makes of a goal or a description may be given ready, too.
        kind.complete(payload, key).map_err(within)
    }
}
