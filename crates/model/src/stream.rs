//! An answer as it comes: server-sent events put together.

use crate::{
    Error,
    wire::{CallDelta, Chunk, FunctionCall, Tokens, ToolCall},
};

/// Most functions called at once.
const MOST_CALLS: usize = 32;

/// What the model said in one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) content: String,
    pub(crate) calls: Vec<ToolCall>,
    /// Tokens sent and written, where the endpoint counts them.
    pub(crate) tokens: Option<(u64, u64)>,
    /// Why it ended: `stop`, `tool_calls`, `length`.
    pub(crate) finish: Option<String>,
}

/// Puts an answer together from the bytes of its body.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    answer: Answer,
    line: Vec<u8>,
    /// Whether the stream said that it is complete.
    done: bool,
}

impl Answer {
    /// Its size in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let calls = self
            .calls
            .iter()
            .map(|call| call.id.len() + call.function.arguments.len() + 128);
        self.content.len() + calls.sum::<usize>() + 128
    }
}

impl Assembly {
    /// Takes bytes, wherever they are cut; answers the text that they bring.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<String, Error> {
        let mut text = String::new();
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                text.push_str(&self.line(&line)?);
            } else {
                self.line.push(byte);
            }
        }
        Ok(text)
    }

    /// The answer, when the stream has ended.
    pub(crate) fn end(mut self) -> Result<Answer, Error> {
        let line = std::mem::take(&mut self.line);
        self.line(&line)?;
        if !self.done && self.answer.finish.is_none() {
            return Err(Error::Away("the answer broke off in its middle".to_owned()));
        }
        Ok(self.answer)
    }

    fn line(&mut self, line: &[u8]) -> Result<String, Error> {
        let Some(data) = line.strip_prefix(b"data:") else {
            // Comments, names of events and the empty lines between them.
            return Ok(String::new());
        };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
            return Ok(String::new());
        }
        self.chunk(data)
    }

    /// Takes the body of an endpoint that does not stream.
    pub(crate) fn whole(&mut self, body: &[u8]) -> Result<String, Error> {
        self.done = true;
        self.chunk(body)
    }

    /// Takes one event.
    fn chunk(&mut self, data: &[u8]) -> Result<String, Error> {
        let chunk: Chunk = serde_json::from_slice(data).map_err(|error| {
            Error::Answer(format!("an event is not of the documented form: {error}"))
        })?;
        if let Some(error) = chunk.error {
            return Err(Error::Away(error.to_string().chars().take(200).collect()));
        }
        if let Some(Tokens {
            prompt_tokens,
            completion_tokens,
        }) = chunk.usage
        {
            self.answer.tokens = Some((prompt_tokens, completion_tokens));
        }
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(String::new());
        };
        if choice.finish_reason.is_some() {
            self.answer.finish = choice.finish_reason;
        }
        let delta = choice.delta.or(choice.message).unwrap_or_default();
        for (position, call) in delta.tool_calls.into_iter().flatten().enumerate() {
            self.call(position, call)?;
        }
        let text = delta.content.unwrap_or_default();
        self.answer.content.push_str(&text);
        Ok(text)
    }

    fn call(&mut self, position: usize, delta: CallDelta) -> Result<(), Error> {
        let index = delta.index.unwrap_or(position);
        if index >= MOST_CALLS {
            return Err(Error::Answer(format!(
                "calls more than {MOST_CALLS} tools at once"
            )));
        }
        while self.answer.calls.len() <= index {
            self.answer.calls.push(ToolCall {
                id: format!("call_{}", self.answer.calls.len()),
                kind: "function".to_owned(),
                function: FunctionCall::default(),
            });
        }
        let call = &mut self.answer.calls[index];
        if let Some(id) = delta.id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        let function = delta.function.unwrap_or_default();
        call.function
            .name
            .push_str(&function.name.unwrap_or_default());
        call.function
            .arguments
            .push_str(&function.arguments.unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\
        \"content\":\"Gr\u{fc}\"}}]}\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"\u{df}e\",\
        \"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"function\":{\"name\":\"docs\",\"arguments\":\"{\\\"a\"}}]}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\":1}\"}}]},\
        \"finish_reason\":\"tool_calls\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\
        \"completion_tokens\":2}}\n\ndata: [DONE]\n\n";

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_answer() {
        for size in [1, 2, 7, 1000] {
            let mut assembly = Assembly::default();
            let mut text = String::new();
            for bytes in STREAM.as_bytes().chunks(size) {
                text.push_str(&assembly.push(bytes).unwrap());
            }
            let answer = assembly.end().unwrap();
            assert_eq!((&*text, &*answer.content), ("Grüße", "Grüße"));
            assert_eq!(answer.calls.len(), 1);
            assert_eq!(answer.calls[0].function.arguments, r#"{"a":1}"#);
            assert_eq!(answer.tokens, Some((5, 2)));
        }
    }

    #[test]
    fn a_stream_that_breaks_off_is_no_answer() {
        let mut assembly = Assembly::default();
        assembly
            .push(b"data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n")
            .unwrap();
        assert!(matches!(assembly.end(), Err(Error::Away(_))));
        let mut assembly = Assembly::default();
        assert!(
            assembly
                .push(b"data: {\"error\":{\"message\":\"overloaded\"}}\n")
                .is_err()
        );
        assert!(assembly.push(b"data: nonsense\n").is_err());
    }
}
