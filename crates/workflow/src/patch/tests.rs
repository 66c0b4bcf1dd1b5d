//! Operations of RFC 6902, with the examples of its appendix.

use serde_json::{Value, json};

use super::apply;

fn patched(document: &Value, operations: &Value) -> Result<Value, (String, String)> {
    apply(document, operations, 100).map_err(|mistake| (mistake.path, mistake.message))
}

#[test]
fn operations_do_what_the_rfc_says() {
    for (document, operation, expected) in [
        (
            json!({"foo": "bar"}),
            json!({"op": "add", "path": "/baz", "value": "qux"}),
            json!({"baz": "qux", "foo": "bar"}),
        ),
        (
            json!({"foo": ["bar", "baz"]}),
            json!({"op": "add", "path": "/foo/1", "value": "qux"}),
            json!({"foo": ["bar", "qux", "baz"]}),
        ),
        (
            json!({"foo": ["bar"]}),
            json!({"op": "add", "path": "/foo/-", "value": ["abc"]}),
            json!({"foo": ["bar", ["abc"]]}),
        ),
        (
            json!({"foo": 1}),
            json!({"op": "add", "path": "/foo", "value": 2}),
            json!({"foo": 2}),
        ),
        (
            json!({"foo": 1}),
            json!({"op": "add", "path": "", "value": 2}),
            json!(2),
        ),
        (
            json!({"baz": "qux", "foo": "bar"}),
            json!({"op": "remove", "path": "/baz"}),
            json!({"foo": "bar"}),
        ),
        (
            json!({"foo": ["bar", "qux", "baz"]}),
            json!({"op": "remove", "path": "/foo/1"}),
            json!({"foo": ["bar", "baz"]}),
        ),
        (
            json!({"baz": "qux"}),
            json!({"op": "replace", "path": "/baz", "value": "boo"}),
            json!({"baz": "boo"}),
        ),
        (
            json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {}}),
            json!({"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}),
            json!({"foo": {"bar": "baz"}, "qux": {"thud": "fred"}}),
        ),
        (
            json!({"foo": ["all", "grass", "cows", "eat"]}),
            json!({"op": "move", "from": "/foo/1", "path": "/foo/3"}),
            json!({"foo": ["all", "cows", "eat", "grass"]}),
        ),
        (
            json!({"a": {"b": 1}}),
            json!({"op": "copy", "from": "/a", "path": "/c"}),
            json!({"a": {"b": 1}, "c": {"b": 1}}),
        ),
        (
            json!({"a": 1}),
            json!({"op": "move", "from": "/a", "path": "/a"}),
            json!({"a": 1}),
        ),
        (
            json!({"baz": "qux", "foo": ["a", 2]}),
            json!({"op": "test", "path": "/foo/1", "value": 2}),
            json!({"baz": "qux", "foo": ["a", 2]}),
        ),
        (
            json!({"/": 9, "~1": 10}),
            json!({"op": "test", "path": "/~01", "value": 10}),
            json!({"/": 9, "~1": 10}),
        ),
        (
            json!({"/": 9}),
            json!({"op": "replace", "path": "/~1", "value": 8}),
            json!({"/": 8}),
        ),
        (
            json!({"nodes": [{"id": "a"}, {"id": "b", "v": 1}]}),
            json!({"op": "replace", "path": "/nodes/@b/v", "value": 2}),
            json!({"nodes": [{"id": "a"}, {"id": "b", "v": 2}]}),
        ),
        (
            json!({"nodes": [{"id": "a"}, {"id": "b"}]}),
            json!({"op": "remove", "path": "/nodes/@a"}),
            json!({"nodes": [{"id": "b"}]}),
        ),
        (
            json!({"nodes": []}),
            json!({"op": "add", "path": "/nodes/@a", "value": {"id": "a"}}),
            json!({"nodes": [{"id": "a"}]}),
        ),
    ] {
        assert_eq!(
            patched(&document, &json!([operation])),
            Ok(expected),
            "{operation}"
        );
    }
}

#[test]
fn what_cannot_be_done_says_where_and_nothing_is_done() {
    let document = json!({"a": [1], "nodes": [{"id": "x"}], "s": "text"});
    for (operation, key, message) in [
        (
            json!({"op": "remove", "path": "/zz"}),
            "path",
            "nothing at `/zz`",
        ),
        (
            json!({"op": "replace", "path": "/zz", "value": 1}),
            "path",
            "nothing at",
        ),
        (
            json!({"op": "add", "path": "/zz/y", "value": 1}),
            "path",
            "nothing at",
        ),
        (
            json!({"op": "add", "path": "/a/5", "value": 1}),
            "path",
            "nothing at",
        ),
        (
            json!({"op": "add", "path": "/a/01", "value": 1}),
            "path",
            "nothing at",
        ),
        (
            json!({"op": "add", "path": "/a/+0", "value": 1}),
            "path",
            "nothing at",
        ),
        (
            json!({"op": "remove", "path": "/a/-"}),
            "path",
            "nothing at",
        ),
        (
            json!({"op": "remove", "path": "/s/0"}),
            "path",
            "nothing at",
        ),
        (
            json!({"op": "remove", "path": "/nodes/@y"}),
            "path",
            "nothing at",
        ),
        (
            json!({"op": "remove", "path": "/a/@x"}),
            "path",
            "nothing at",
        ),
        (
            json!({"op": "remove", "path": "a"}),
            "path",
            "no JSON pointer",
        ),
        (
            json!({"op": "remove", "path": "/~2"}),
            "path",
            "no JSON pointer",
        ),
        (
            json!({"op": "remove", "path": 5}),
            "path",
            "has to be a text",
        ),
        (json!({"op": "remove"}), "path", "missing"),
        (json!({"op": "add", "path": "/b"}), "value", "missing"),
        (json!({"op": "move", "path": "/b"}), "from", "missing"),
        (
            json!({"op": "move", "from": "/q", "path": "/b"}),
            "from",
            "nothing at",
        ),
        (
            json!({"op": "move", "from": "/nodes", "path": "/nodes/0"}),
            "path",
            "into itself",
        ),
        (
            json!({"op": "test", "path": "/a", "value": 2}),
            "path",
            "`test` failed",
        ),
        (json!({"op": "zz", "path": "/a"}), "op", "one of"),
    ] {
        let (at, text) = patched(
            &document,
            &json!([{"op": "test", "path": "/a/0", "value": 1}, operation]),
        )
        .unwrap_err();
        assert_eq!(at, format!("/1/{key}"), "{operation}: {text}");
        assert!(text.contains(message), "{operation}: {text}");
    }
    assert!(patched(&document, &json!(5)).is_err());
    assert!(patched(&document, &json!([5])).is_err());
    let many: Vec<Value> = (0..101)
        .map(|_| json!({"op": "test", "path": "/s", "value": "text"}))
        .collect();
    assert!(patched(&document, &json!(many)).is_err());
}

#[test]
fn a_patch_cannot_grow_without_end() {
    let copies: Vec<Value> = (0..100)
        .map(|at| json!({"op": "copy", "from": "", "path": format!("/c{at}")}))
        .collect();
    let document = json!({"text": "x".repeat(1000)});
    let error = patched(&document, &json!(copies)).unwrap_err();
    assert!(
        error.1.contains("too large") || error.1.contains("too deep"),
        "{error:?}"
    );
    let deep: Vec<Value> = (0..100)
        .map(|_| json!({"op": "move", "from": "/a", "path": "/b"}))
        .flat_map(|step| {
            [
                json!({"op": "add", "path": "/b", "value": {}}),
                json!({"op": "test", "path": "/b", "value": {}}),
                step,
            ]
        })
        .take(90)
        .collect();
    assert!(patched(&json!({"a": 1}), &json!(deep)).is_err());
}
