use serde_json::json;

use super::*;

const STREAM: &str = ": hello\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\
    \"content\":\"Gr\u{fc}\"}}]}\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"\u{df}e\",\
    \"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"function\":{\"name\":\"docs\",\"arguments\":\"{\\\"a\"}}]}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\":1}\"}}]},\
    \"finish_reason\":\"tool_calls\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\
    \"completion_tokens\":2}}\n\ndata: [DONE]\n\n";

fn read(body: &[u8], size: usize) -> Result<(Completion, String), AttemptError> {
    let mut assembly = CompletionBuilder::default();
    let mut text = String::new();
    for bytes in body.chunks(size) {
        text.push_str(&assembly.push(bytes)?);
    }
    let (answer, rest) = assembly.finish()?;
    Ok((answer, text + &rest))
}

fn event(choice: &Value) -> String {
    format!("data: {}\n\n", json!({"choices": [choice]}))
}

fn said(content: &Value) -> String {
    let choice = json!({"delta": {"content": content}, "finish_reason": "stop"});
    read(event(&choice).as_bytes(), 1000).unwrap().0.content
}

#[test]
fn a_stream_cut_anywhere_gives_the_same_answer() {
    for size in [1, 2, 7, 1000] {
        let (answer, text) = read(STREAM.as_bytes(), size).unwrap();
        assert_eq!((&*text, &*answer.content), ("Grüße", "Grüße"));
        assert_eq!(answer.calls.len(), 1);
        assert_eq!(answer.calls[0].function.arguments, r#"{"a":1}"#);
        assert_eq!(answer.tokens, Some((5, 2)));
    }
}

#[test]
fn a_stream_that_ends_anywhere_before_its_end_is_no_answer() {
    let end = STREAM.find("tool_calls\"}]}").unwrap() + "tool_calls\"}]}".len();
    for cut in 0..end {
        let body = &STREAM.as_bytes()[..cut];
        assert!(
            matches!(read(body, 1000), Err(AttemptError::Transient(_, None))),
            "{cut}"
        );
    }
    for cut in end..STREAM.len() {
        let (answer, _) = read(&STREAM.as_bytes()[..cut], 1000).unwrap();
        assert_eq!(answer.calls[0].function.arguments, r#"{"a":1}"#, "{cut}");
    }
    let whole = json!({"choices": [{"message": {"content": "ä"}}]}).to_string();
    for cut in 0..whole.len() {
        let body = &whole.as_bytes()[..cut];
        assert!(
            matches!(read(body, 1000), Err(AttemptError::Transient(_, None))),
            "{cut}"
        );
    }
    assert_eq!(read(whole.as_bytes(), 1).unwrap().1, "ä");
}

#[test]
fn what_is_no_answer_may_be_one_later() {
    for body in [
        "",
        "<html>Bad gateway</html>",
        "data: upstream timeout\n\n",
        "data: [DONE]\n\n",
        "data: {\"error\":{\"message\":\"overloaded\"}}\n\n",
        "data: {\"error\":\"overloaded\",\"choices\":[]}\n\n",
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        "event: error\ndata: {\"message\":\"overloaded\"}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\n",
        "data: {\"object\":\"error\",\"message\":\"broke\",\"code\":500}\n\n",
        "{}",
        "{\"choices\":[]}",
        "{\"choices\":null}",
    ] {
        assert!(
            matches!(
                read(body.as_bytes(), 7),
                Err(AttemptError::Transient(_, None))
            ),
            "{body}"
        );
    }
    let refused =
        "data: {\"error\":{\"message\":\"no\",\"type\":\"BadRequestError\",\"code\":400}}\n\n";
    assert!(matches!(
        read(refused.as_bytes(), 7),
        Err(AttemptError::Rejected(400, _))
    ));
}

#[test]
fn text_is_a_text_or_parts_of_one() {
    assert_eq!(said(&json!("Yes.")), "Yes.");
    assert_eq!(said(&Value::Null), "");
    let parts = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "Y"}, "e", {"type": "output_text", "text": {"value": "s"}},
        {"type": "image_url", "image_url": {"url": "x"}}, null]);
    assert_eq!(said(&parts), "Yes");
}

#[test]
fn nulls_and_odd_counts_are_no_mistake() {
    let body = "data: {\"choices\":null,\"usage\":null,\"error\":null}\n\n\
        data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Yes\",\"tool_calls\":null,\
        \"role\":null},\"finish_reason\":\"\"}]}\n\n\
        data: {\"choices\":[{\"delta\":null,\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":null,\"completion_tokens\":2}}\n\n";
    let (answer, _) = read(body.as_bytes(), 7).unwrap();
    assert_eq!((&*answer.content, answer.tokens), ("Yes", None));
    for (usage, expected) in [
        (
            json!({"prompt_tokens": 3.0, "completion_tokens": "2"}),
            Some((3, 2)),
        ),
        (json!({"input_tokens": 3, "output_tokens": 2}), Some((3, 2))),
        (json!({"prompt_tokens": 3, "total_tokens": 5}), Some((3, 2))),
        (json!({"prompt_tokens": -3, "completion_tokens": 2}), None),
        (json!(null), None),
    ] {
        assert_eq!(tokens(&usage), expected, "{usage}");
    }
}

#[test]
fn thoughts_are_kept_apart_in_every_form() {
    let body = event(&json!({"delta": {"reasoning_content": "hm "}}))
        + &event(&json!({"delta": {"content": "<thi"}}))
        + &event(&json!({"delta": {"content": "nk>or</think>\n\nYes"}}))
        + &event(&json!({"delta": {"content": "."}, "finish_reason": "stop"}));
    let (answer, text) = read(body.as_bytes(), 5).unwrap();
    assert_eq!(
        (&*answer.content, &*text, &*answer.reasoning),
        ("Yes.", "Yes.", "hm ")
    );
}

#[test]
fn a_message_after_its_stream_is_not_heard_twice() {
    let body = event(&json!({"delta": {"content": "Yes."}}))
        + &event(&json!({"delta": {}, "message": {"content": "Yes."}, "finish_reason": "stop"}));
    assert_eq!(read(body.as_bytes(), 9).unwrap().1, "Yes.");
}
