use serde_json::json;

use super::*;
use crate::{
    json::{Numbers, write},
    testing::{message as descriptor, method},
};

fn read(name: &str, json: Value) -> Result<Value, String> {
    let descriptor = descriptor(name);
    let rules = ArgumentRules::of(&descriptor);
    let message = message(&descriptor, json, &rules).map_err(|error| error.to_string())?;
    let mut text = String::new();
    assert!(write(&message, &mut text, usize::MAX, Numbers::AsText));
    Ok(serde_json::from_str(&text).unwrap())
}

fn everything(json: Value) -> Value {
    read("kinds.Everything", json).unwrap()
}

fn refused(name: &str, json: Value) -> String {
    read(name, json).unwrap_err()
}

#[test]
fn every_kind_of_field_is_taken_as_protojson_has_it() {
    let given: Value =
        serde_json::from_str(include_str!("../../tests/protos/everything.json")).unwrap();
    let read = everything(given.clone());
    for (name, value) in given.as_object().unwrap() {
        assert_eq!(&read[name], value, "{name}");
    }
}

#[test]
fn numbers_texts_and_names_are_taken_in_their_other_forms() {
    for (given, name, value) in [
        (json!({"an_int64": 7}), "an_int64", json!("7")),
        (json!({"anInt64": 1e3}), "an_int64", json!("1000")),
        (json!({"an_int32": "12"}), "an_int32", json!(12)),
        (json!({"an_int32": 3.0}), "an_int32", json!(3)),
        (json!({"a_double": "NaN"}), "a_double", json!("NaN")),
        (
            json!({"a_float": "-Infinity"}),
            "a_float",
            json!("-Infinity"),
        ),
        (json!({"some_bytes": "_-8"}), "some_bytes", json!("/+8=")),
        (json!({"color": 2}), "color", json!("COLOR_BLUE")),
        (json!({"color": "77"}), "color", json!("77")),
        (json!({"a_string": null}), "a_string", json!("")),
        (
            json!({"time": "2026-01-02T05:04:05+02:00"}),
            "time",
            json!("2026-01-02T03:04:05Z"),
        ),
    ] {
        assert_eq!(everything(given)[name], value, "{name}");
    }
}

#[test]
fn a_mistake_names_its_path_and_what_to_do() {
    for (given, expected) in [
        (
            json!({"an_int32": "x"}),
            "an_int32: \"x\" does not fit: give a whole number",
        ),
        (
            json!({"an_int32": 1.5}),
            "an_int32: 1.5 does not fit: give a whole number",
        ),
        (
            json!({"a_uint32": -1}),
            "a_uint32: -1 does not fit: give a whole number from 0 to 4294967295",
        ),
        (
            json!({"a_bool": "yes"}),
            "a_bool: \"yes\" does not fit: give true or false",
        ),
        (
            json!({"a_string": 7}),
            "a_string: 7 does not fit: give a text",
        ),
        (
            json!({"some_bytes": "%"}),
            "some_bytes: \"%\" does not fit: give bytes in base64",
        ),
        (
            json!({"color": "RED"}),
            "color: \"RED\" does not fit: give one of COLOR_UNSPECIFIED, COLOR_RED, COLOR_BLUE",
        ),
        (
            json!({"color": "COLOR_REDD"}),
            "color: \"COLOR_REDD\" does not fit: did you mean COLOR_RED? \
            The values are COLOR_UNSPECIFIED, COLOR_RED, COLOR_BLUE",
        ),
        (
            json!({"small": {"nummber": 1}}),
            "small: there is no field \"nummber\": did you mean number?",
        ),
        (
            json!({"smalls": [{}, {"number": []}]}),
            "smalls[1].number: a list does not fit: give a whole number",
        ),
        (
            json!({"texts": "a"}),
            "texts: \"a\" does not fit: give a list",
        ),
        (
            json!({"number_map": {"x": {}}}),
            "number_map[\"x\"]: \"x\" is no key: give a whole number",
        ),
        (
            json!({"by_name": "a", "by_small": {}}),
            "by_name and by_small exclude each other: give at most one of by_name, by_number, by_small",
        ),
        (
            json!({"an_int32": 1, "anInt32": 2}),
            "an_int32 is given twice, as anInt32 too: give it once",
        ),
        (
            json!({"time": "yesterday"}),
            "time: \"yesterday\" does not fit: give a time such as 2026-01-02T03:04:05Z",
        ),
        (
            json!({"int32_value": "x"}),
            "int32_value: \"x\" does not fit: give a whole number",
        ),
        (
            json!({"small": []}),
            "small: a list does not fit: give an object",
        ),
        (
            json!({"a_float": 1e300}),
            "a_float: 1e300 does not fit: give a number that a 32-bit float can be",
        ),
    ] {
        assert_eq!(
            refused("kinds.Everything", given.clone()).replace("1e+300", "1e300"),
            expected,
            "{given}"
        );
    }
    let unknown = refused("kinds.Small", json!({"something": 1}));
    assert_eq!(
        unknown,
        "there is no field \"something\": the fields are text, number"
    );
}

#[test]
fn all_mistakes_are_told_at_once_up_to_a_limit() {
    let error = refused("kinds.Everything", json!({"an_int32": "x", "a_bool": 1}));
    assert!(
        error.contains("a_bool") && error.contains("an_int32"),
        "{error}"
    );
    let many: Vec<Value> = (0..50).map(|_| json!(1)).collect();
    let error = refused("kinds.Everything", json!({ "texts": many }));
    assert!(error.ends_with("; and 40 more"), "{error}");
}

#[test]
fn arguments_without_end_are_refused_at_once() {
    let began = std::time::Instant::now();
    let many: Map<String, Value> = (0..100_000)
        .map(|number| (format!("an_unknown_field_{number}"), json!(1)))
        .collect();
    let error = refused("kinds.Everything", Value::Object(many.clone()));
    assert!(error.ends_with("; and 99990 more"), "{error}");
    assert!(parameters(many, &[], &[], false).is_err());
    let tags: Vec<Value> = (0..100_000)
        .map(|number| json!(number.to_string()))
        .collect();
    assert!(refused("kinds.Demands", json!({ "tags": tags })).contains("give at most 3"));
    assert!(
        began.elapsed() < std::time::Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn nesting_is_bounded() {
    let mut tree = json!({});
    for _ in 0..30 {
        tree = json!({"children": [tree]});
    }
    assert!(read("kinds.Tree", tree.clone()).is_ok());
    assert!(
        refused("kinds.Tree", json!({"children": [{"children": [tree]}]}))
            .contains("deeper than 64")
    );
    let mut lists = json!(1);
    for _ in 0..100 {
        lists = json!([lists]);
    }
    assert!(refused("kinds.Everything", json!({ "list": lists })).contains("deeper than 64"));
}

#[test]
fn what_options_demand_is_checked() {
    let good = json!({"name": "a", "small": {}, "code": "AB", "count": 1, "large": 5, "tags": ["a"],
        "sizes": {"a": 1}, "color": "COLOR_RED", "size": "S", "part": 0.5, "file": "f"});
    assert!(read("kinds.Demands", good.clone()).is_ok());
    for (field, value, expected) in [
        ("name", json!(null), "name: is missing, and required"),
        (
            "made_at",
            json!("x"),
            "made_at: the service sets it: leave it out",
        ),
        (
            "code",
            json!("A"),
            "code: \"A\" has 1 characters: give at least 2",
        ),
        (
            "code",
            json!("ab"),
            "code: \"ab\" does not match ^[A-Z]+$: give what does",
        ),
        ("count", json!(0), "count: 0 is too small: give at least 1"),
        (
            "count",
            json!(10),
            "count: 10 is too large: give less than 10",
        ),
        (
            "large",
            json!("4"),
            "large: \"4\" is too small: give at least 5",
        ),
        ("tags", json!([]), "tags: has 0: give at least 1"),
        (
            "tags",
            json!(["a", "a"]),
            "tags: element 1 is there twice: give each once",
        ),
        (
            "tags",
            json!([""]),
            "tags[0]: \"\" has 0 characters: give at least 1",
        ),
        (
            "sizes",
            json!({"a": 0}),
            "sizes[\"a\"]: 0 is too small: give more than 0",
        ),
        (
            "color",
            json!("COLOR_UNSPECIFIED"),
            "color: \"COLOR_UNSPECIFIED\" is not allowed: give one of 1, 2",
        ),
        (
            "size",
            json!("L"),
            "size: \"L\" is not allowed: give one of \"S\", \"M\"",
        ),
        ("file", json!(null), "give one of file, url"),
    ] {
        let mut given = good.clone();
        given[field] = value;
        assert_eq!(refused("kinds.Demands", given), expected);
    }
    assert_eq!(
        refused("old.Old", json!({})),
        "name: is missing, and required"
    );
    let old = read(
        "old.Old",
        json!({"name": "x", "grade": "BAD", "numbers": ["1"]}),
    )
    .unwrap();
    assert_eq!(
        (&old["grade"], &old["numbers"]),
        (&json!("BAD"), &json!(["1"]))
    );
}

#[test]
fn streams_take_messages_and_other_forms_take_a_value() {
    let read = |name: &str, json: Value| {
        let method = method(name);
        let rules = ArgumentRules::of(&method.input());
        messages(&method, json.as_object().unwrap().clone(), &rules)
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        read("Collect", json!({"messages": [{"text": "a"}, {}]}))
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        read("Time", json!({"value": "2026-01-02T03:04:05Z"}))
            .unwrap()
            .len(),
        1
    );
    assert_eq!(read("Nothing", json!({})).unwrap().len(), 1);
    for (name, given, expected) in [
        ("Collect", json!({}), "messages: is missing, and required"),
        (
            "Collect",
            json!({"messages": {}}),
            "messages: an object does not fit: give a list of messages",
        ),
        (
            "Collect",
            json!({"messages": [{"number": "x"}]}),
            "messages[0].number: \"x\" does not fit: give a whole number",
        ),
        (
            "Collect",
            json!({"messages": [], "text": "x"}),
            "there is no field \"text\": give messages",
        ),
        (
            "Time",
            json!({"time": 1}),
            "there is no field \"time\": give value; value: is missing, and required",
        ),
    ] {
        assert_eq!(read(name, given).unwrap_err(), expected);
    }
}

#[test]
fn parameters_become_texts() {
    use ::proto::agentplatform::ToolParameter;
    let parameter = |name: &str, kind: &str, required| ToolParameter {
        name: name.to_owned(),
        r#type: kind.to_owned(),
        required,
        description: String::new(),
    };
    let known = [
        parameter("days", "integer", true),
        parameter("part", "number", false),
        parameter("deep", "boolean", false),
        parameter("tags", "array", false),
        parameter("city", "text", false),
    ];
    let read = |json: Value, is_open| {
        let own = [("input", false)];
        parameters(json.as_object().unwrap().clone(), &own, &known, is_open)
            .map_err(|error| error.to_string())
    };
    let given =
        json!({"days": 3.0, "part": 0.5, "deep": true, "tags": ["a", 1], "city": 7, "input": "x"});
    let found = read(given, false).unwrap();
    assert_eq!(found.own["input"], "x");
    for (name, text) in [
        ("days", "3"),
        ("part", "0.5"),
        ("deep", "true"),
        ("tags", "[\"a\",1]"),
        ("city", "7"),
    ] {
        assert_eq!(found.texts[name], text);
    }
    assert_eq!(
        read(json!({"days": "4", "other": {"a": 1}}), true)
            .unwrap()
            .texts["other"],
        "{\"a\":1}"
    );
    for (given, expected) in [
        (json!({}), "days: is missing, and required"),
        (
            json!({"days": 1.5}),
            "days: 1.5 is no whole number: give one",
        ),
        (
            json!({"days": 1, "deep": "maybe"}),
            "deep: \"maybe\" is neither true nor false: give one of them",
        ),
        (
            json!({"days": 1, "citty": "x"}),
            "there is no parameter \"citty\": did you mean city?",
        ),
        (
            json!({"days": 1, "input": 1}),
            "input: 1 is no text: give one",
        ),
    ] {
        assert_eq!(read(given, false).err().unwrap(), expected);
    }
}
