use jsonschema::{draft202012, validator_for};
use proto::agentplatform::ToolParameter;

use super::*;
use crate::testing::{message, method};

fn input(name: &str) -> Value {
    input_schema(&message(name), &SchemaOptions::default())
}

fn output(name: &str) -> Value {
    output_schema(&message(name), &SchemaOptions::default())
}

/// What no provider takes.
fn check_portable(schema: &Value) {
    draft202012::meta::validate(schema).unwrap();
    assert_eq!(schema["type"], "object");
    assert!(schema.get("anyOf").is_none());
    fn walk(schema: &Value) {
        match schema {
            Value::Object(fields) => {
                for (name, value) in fields {
                    assert!(
                        !["$ref", "oneOf", "allOf", "not"].contains(&name.as_str()),
                        "{name}"
                    );
                    if name == "type" {
                        assert!(!value.is_array(), "{schema}");
                    }
                    let says = |it: &Value| {
                        ["type", "anyOf", "enum"]
                            .iter()
                            .any(|key| it.get(key).is_some())
                    };
                    if ["items", "additionalProperties"].contains(&name.as_str()) {
                        assert!(value == false || says(value), "{schema}");
                    }
                    if name == "properties" {
                        assert!(value.as_object().unwrap().values().all(says), "{schema}");
                    }
                    walk(value);
                }
            }
            Value::Array(values) => values.iter().for_each(walk),
            _ => {}
        }
    }
    walk(schema);
}

#[test]
fn every_schema_is_valid_and_such_as_every_provider_takes() {
    let pool = crate::testing::pool();
    for service in pool.services() {
        for method in service.methods() {
            check_portable(&method_input_schema(&method, &SchemaOptions::default()));
            check_portable(&method_output_schema(&method, &SchemaOptions::default()));
        }
    }
    for schema in [
        agent_input_schema(),
        task_output_schema(),
        worker_input_schema(&[]),
        operation_input_schema(&[], true),
        operation_input_schema(&[], false),
    ] {
        check_portable(&schema);
    }
}

#[test]
fn each_kind_of_field_has_its_schema() {
    let (input, output) = (input("kinds.Everything"), output("kinds.Everything"));
    let (of, out) = (&input["properties"], &output["properties"]);
    assert_eq!(
        of["an_int64"],
        json!({"type": "string", "pattern": "^-?[0-9]{1,19}$",
        "description": "A large number"})
    );
    assert_eq!(of["a_uint64"]["pattern"], "^[0-9]{1,20}$");
    assert_eq!(
        (&of["an_int32"]["type"], &of["an_int32"]["minimum"]),
        (&json!("integer"), &json!(i32::MIN))
    );
    assert_eq!(of["some_bytes"]["contentEncoding"], "base64");
    assert_eq!(
        of["color"]["enum"],
        json!(["COLOR_UNSPECIFIED", "COLOR_RED", "COLOR_BLUE"])
    );
    assert_eq!(out["color"]["anyOf"][1]["pattern"], "^-?[0-9]+$");
    assert_eq!(of["longs"]["items"]["type"], "string");
    assert_eq!(
        of["text_map"]["additionalProperties"],
        json!({"type": "string"})
    );
    assert_eq!(
        of["number_map"]["additionalProperties"]["properties"]["text"]["type"],
        "string"
    );
    assert_eq!(of["number_map"]["description"], "Keys are whole numbers");
    for name in ["by_name", "by_number", "by_small"] {
        assert_eq!(
            of[name]["description"],
            "At most one of by_name, by_number, by_small"
        );
    }
    assert_eq!(of["time"]["format"], "date-time");
    assert_eq!(of["value"]["anyOf"].as_array().unwrap().len(), 6);
    assert_eq!(of["null"]["type"], "null");
    assert_eq!(of["int64_value"]["type"], "string");
    assert_eq!(input.get("required"), None, "proto3 has no required fields");
    assert_eq!(input["additionalProperties"], false);
    assert_eq!(output.get("additionalProperties"), None);
    // A message within itself.
    let child = &of["tree"]["properties"]["children"]["items"];
    assert_eq!(
        child["description"],
        "A kinds.Tree, with the fields name, children"
    );
    assert_eq!(child.get("properties"), None);
}

#[test]
fn what_is_deeper_than_eight_is_a_free_object() {
    let mut schema = &input("kinds.Level1");
    for _ in 1..8 {
        schema = &schema["properties"]["next"];
        assert!(schema["properties"].is_object(), "{schema}");
    }
    let free = &schema["properties"]["next"];
    assert_eq!(free["description"], "A kinds.Level9, with the fields end");
    assert_eq!(free.get("properties"), None);
}

#[test]
fn a_schema_stays_within_its_size() {
    let everything = message("kinds.Everything");
    for max_bytes in [0, 20, 100, 500, 2_000, 5_000, 8_000, 32 << 10] {
        let options = SchemaOptions {
            max_bytes,
            ..SchemaOptions::default()
        };
        for schema in [
            input_schema(&everything, &options),
            output_schema(&everything, &options),
        ] {
            let size = schema.to_string().len();
            assert!(size <= max_bytes.max(17), "{size} of {max_bytes}");
            assert_eq!(schema["type"], "object");
        }
    }
}

#[test]
fn options_become_required_fields_and_keywords() {
    let schema = input("kinds.Demands");
    let of = &schema["properties"];
    assert_eq!(schema["required"], json!(["name", "small"]));
    assert_eq!(of.get("made_at"), None);
    assert!(output("kinds.Demands")["properties"]["made_at"].is_object());
    assert_eq!(
        of["code"],
        json!({"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[A-Z]+$"})
    );
    assert_eq!(
        of["count"],
        json!({"type": "integer", "minimum": 1, "exclusiveMaximum": 10})
    );
    assert_eq!(of["large"]["description"], "at least 5, < 100");
    assert_eq!(
        of["tags"],
        json!({"type": "array", "items": {"type": "string", "minLength": 1},
        "minItems": 1, "maxItems": 3, "uniqueItems": true})
    );
    assert_eq!(of["sizes"]["minProperties"], 1);
    assert_eq!(of["sizes"]["additionalProperties"]["exclusiveMinimum"], 0);
    assert_eq!(of["color"]["enum"], json!(["COLOR_RED", "COLOR_BLUE"]));
    assert_eq!(of["mail"]["format"], "email");
    assert_eq!(of["size"]["enum"], json!(["S", "M"]));
    assert_eq!(of["file"]["description"], "Exactly one of file, url");
    // proto2.
    assert_eq!(input("old.Old")["required"], json!(["name"]));
    assert_eq!(output("old.Old").get("required"), None);
}

#[test]
fn methods_are_objects_whatever_their_messages_are() {
    let options = SchemaOptions::default();
    let collect = method_input_schema(&method("Collect"), &options);
    assert_eq!(
        collect["properties"]["messages"]["items"]["properties"]["text"]["type"],
        "string"
    );
    assert_eq!(collect["required"], json!(["messages"]));
    let watch = method_output_schema(&method("Watch"), &options);
    assert_eq!(watch["properties"]["truncated"]["type"], "boolean");
    let time = method_input_schema(&method("Time"), &options);
    assert_eq!(time["properties"]["value"]["format"], "date-time");
    assert_eq!(
        method_input_schema(&method("Nothing"), &options),
        json!({"type": "object", "properties": {}, "additionalProperties": false})
    );
    assert_eq!(
        method_comment(&method("Unary")),
        "Gives back what it gets.\n\nNothing else."
    );
    assert_eq!(method_comment(&method("Watch")), "");
}

#[test]
fn parameters_of_tools_and_workers_are_typed() {
    let parameter = |name: &str, kind: &str, required| ToolParameter {
        name: name.to_owned(),
        r#type: kind.to_owned(),
        required,
        description: "what".to_owned(),
    };
    let known = [
        parameter("days", "integer", false),
        parameter("city", "string", true),
    ];
    let schema = worker_input_schema(&known);
    assert_eq!(schema["properties"]["days"]["type"], "integer");
    assert_eq!(schema["properties"]["input"]["type"], "string");
    assert_eq!(schema["required"], json!(["city"]));
    let operation = operation_input_schema(&known, true);
    assert_eq!(operation["required"], json!(["operation", "city"]));
    let validator = validator_for(&operation).unwrap();
    assert!(validator.is_valid(&json!({"operation": "x", "city": "y", "days": 3})));
    assert!(!validator.is_valid(&json!({"city": "y"})));
}

#[test]
fn the_result_of_an_operation_is_an_object() {
    let object = json!({"type": "object", "properties": {"a": {"type": "number"}}});
    assert_eq!(
        operation_output_schema(&object.to_string()),
        Some(object.clone())
    );
    let list =
        operation_output_schema(r#"{"type": "array", "items": {"type": "object"}}"#).unwrap();
    assert_eq!(list["properties"]["result"]["type"], "array");
    for other in ["", "{", "true", r#"{"type": "string"}"#, r#"{"anyOf": []}"#] {
        assert_eq!(operation_output_schema(other), None, "{other}");
    }
}
