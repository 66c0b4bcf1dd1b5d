//! Where the messages of a call come from.

use std::{collections::VecDeque, io::IsTerminal as _};

use anyhow::{Context as _, bail};
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin, stdin};

use crate::json_arg;

/// The messages of a call, in order.
#[derive(Debug)]
pub(super) struct Input {
    message: MessageDescriptor,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// All there will be.
    Ready(VecDeque<Value>),
    /// A message a line, sent as it comes.
    Lines(Lines<BufReader<Stdin>>),
}

impl Input {
    /// Reads what was given for the message; for a unary method exactly one.
    pub(super) async fn open(
        given: Option<&str>,
        method: &MethodDescriptor,
    ) -> anyhow::Result<Self> {
        let stream = method.is_client_streaming();
        let source = match given {
            Some("-") | None if stream => Source::Lines(BufReader::new(stdin()).lines()),
            Some(given) => Source::Ready(values(&json_arg::read(given).await?)?),
            None => Source::Ready(VecDeque::from([json!({})])),
        };
        if let (Source::Ready(values), false) = (&source, stream)
            && values.len() != 1
        {
            bail!(
                "{} takes one message, and {} were given",
                method.name(),
                values.len()
            );
        }
        if matches!(source, Source::Lines(_)) && std::io::stdin().is_terminal() {
            eprintln!("a JSON message per line; Ctrl-D ends them");
        }
        Ok(Self {
            message: method.input(),
            source,
        })
    }

    /// The next message, `None` after the last.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<DynamicMessage>> {
        let value = match &mut self.source {
            Source::Ready(values) => values.pop_front(),
            Source::Lines(lines) => loop {
                match lines.next_line().await.context("read standard input")? {
                    Some(line) if line.trim().is_empty() => {}
                    Some(line) => break Some(serde_json::from_str(&line).with_context(bad_json)?),
                    None => break None,
                }
            },
        };
        value
            .map(|value| from_json(&self.message, value))
            .transpose()
    }
}

fn from_json(message: &MessageDescriptor, value: Value) -> anyhow::Result<DynamicMessage> {
    let name = message.full_name();
    dynamic::from_json(message, value).map_err(|status| {
        // An error of our own and not of the mesh: as text, with advice.
        let said = status.message();
        anyhow::anyhow!("{said} (`meshctl describe {name}` shows its fields)")
    })
}

fn values(text: &str) -> anyhow::Result<VecDeque<Value>> {
    let values = serde_json::Deserializer::from_str(text).into_iter();
    values.collect::<Result<_, _>>().with_context(bad_json)
}

fn bad_json() -> String {
    format!("the message is not JSON: {}", json_arg::FORMS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_reflect::DescriptorPool;

    fn execute_task() -> MethodDescriptor {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        pool.get_service_by_name("agentplatform.AgentService")
            .unwrap()
            .methods()
            .next()
            .unwrap()
    }

    #[tokio::test]
    async fn a_message_is_json_with_the_fields_of_the_proto_file() {
        for json in [
            r#"{"input":"hi","task_id":"t"}"#,
            r#"{"input":"hi","taskId":"t"}"#,
        ] {
            let mut input = Input::open(Some(json), &execute_task()).await.unwrap();
            let message = input.next().await.unwrap().unwrap();
            assert_eq!(
                message.get_field_by_name("task_id").unwrap().as_str(),
                Some("t")
            );
            assert!(input.next().await.unwrap().is_none());
        }
        let mut input = Input::open(None, &execute_task()).await.unwrap();
        assert_eq!(input.next().await.unwrap().unwrap().fields().count(), 0);
    }

    #[tokio::test]
    async fn what_will_not_do_is_told_with_what_would() {
        let opened = async |json| Input::open(Some(json), &execute_task()).await;
        let error = opened("hi").await.unwrap_err();
        assert!(error.to_string().contains("@file"), "{error}");
        let error = opened("{} {}").await.unwrap_err();
        assert!(error.to_string().contains("takes one message"), "{error}");
        let error = opened("@/no/such/file").await.unwrap_err();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
        let error = opened(r#"{"inputs":"hi"}"#)
            .await
            .unwrap()
            .next()
            .await
            .unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("describe agentplatform.TaskRequest"),
            "{error}"
        );
        assert!(error.contains("inputs"), "{error}");
    }
}
