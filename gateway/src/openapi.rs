//! The description of the API, from the handlers themselves.

use serde_json::json;
use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder, example::ExampleBuilder,
        path::Operation,
    },
};
use work::KINDS;

use crate::{endpoint::Endpoint, endpoints, mcp, problem};

#[derive(OpenApi)]
#[openapi(
    info(title = "mesh gateway", description = "Jobs, events and calls of the mesh as JSON. Every \
        failure is answered with problem details (RFC 9457). Every answer has an X-Request-Id: that of \
        the request, or a new one."),
    tags(
        (name = "jobs", description = "Submit jobs, look at them, cancel them."),
        (name = "events", description = "Follow what happens to jobs."),
        (name = "queues", description = "How many jobs each queue has."),
        (name = "schedules", description = "Jobs that are submitted at set times."),
        (name = "workflows", description = "Keep workflows: versions, patches, and tags that name them."),
        (name = "runs", description = "Run workflows, follow their runs, and change them while they run."),
        (name = "approvals", description = "Decide what runs ask people."),
        (name = "mesh", description = "List the services of the mesh, and call any of their methods."),
        (name = "mcp", description = "The mesh for clients of the Model Context Protocol."),
        (name = "short forms", description = "Other endpoints of the same queue, for scripts that use them."),
    ),
    components(schemas(problem::Problem, problem::FieldProblem)),
)]
struct Api;

/// The OpenAPI 3.1 description of what the gateway serves.
#[must_use]
pub fn document() -> Document {
    let mut document = Api::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    for mut endpoint in endpoints::all() {
        if let Some(mut part) = endpoint.document.take() {
            add_failures(&mut part, &endpoint);
            document.merge(part);
        }
    }
    add_kind_examples(&mut document);
    document.merge(mcp::document());
    document
}

/// An example of a submission for each kind of jobs, from the table of kinds.
fn add_kind_examples(document: &mut Document) {
    let submit = document.paths.paths.get_mut("/api/v1/jobs");
    let submit = submit.and_then(|path| path.post.as_mut());
    let body = submit.and_then(|operation| inline(operation.request_body.as_mut()?));
    let contents = body.into_iter().flat_map(|body| body.content.values_mut());
    for content in contents.filter_map(inline) {
        let examples = KINDS.iter().map(|row| {
            let example = ExampleBuilder::new()
                .summary(row.description.does)
                .value(serde_json::from_str(row.description.example).ok())
                .build();
            (row.name.to_owned(), RefOr::T(example))
        });
        content.examples = examples.collect();
    }
}

fn inline<T>(part: &mut RefOr<T>) -> Option<&mut T> {
    match part {
        RefOr::T(part) => Some(part),
        RefOr::Ref(_) => None,
    }
}

/// Statuses of every operation, those of one with a path parameter, and those of one with a body.
const ALWAYS: [(&str, &str); 5] = [
    ("421", "The host name is not in allowed_hosts"),
    ("422", "A field is invalid; errors names it"),
    (
        "429",
        "More requests than request_rate or the service allows",
    ),
    (
        "503",
        "The queue, the registry or the service is unavailable",
    ),
    ("400", "The request cannot be read"),
];
const NAMED: [(&str, &str); 2] = [
    ("404", "Not found"),
    ("409", "Its state does not allow this"),
];
const CHANGING: [(&str, &str); 1] = [(
    "403",
    "A web page sent it, and its origin is not in allowed_origins",
)];
/// Those of workflows, runs and approvals, which belong to somebody.
const OWNED: [(&str, &str); 2] = [
    ("401", "The request does not say who sends it: X-User-ID"),
    (
        "403",
        "It belongs to somebody else, or its link is not valid",
    ),
];
const WITH_BODY: [(&str, &str); 3] = [
    ("409", "The idempotency key was used with another body"),
    ("413", "The body is larger than max_body_bytes"),
    ("415", "The body is not JSON, or not compressed by gzip"),
];
/// Requests fail in the same ways everywhere, so these are described once.
fn add_failures(document: &mut Document, endpoint: &Endpoint) {
    for (path, item) in &mut document.paths.paths {
        let named = path.contains('{');
        let operations = [
            (&mut item.get, false),
            (&mut item.post, true),
            (&mut item.patch, true),
            (&mut item.delete, true),
        ];
        for (operation, changes) in operations {
            let Some(operation) = operation else { continue };
            add(operation, &ALWAYS);
            if changes || endpoint.streams_events {
                add(operation, &CHANGING);
            }
            if endpoint.names_errors {
                add(operation, &OWNED);
            }
            if operation.request_body.is_some() {
                add(operation, &WITH_BODY);
            }
            if named {
                add(operation, &NAMED);
            }
        }
    }
}

fn add(operation: &mut Operation, rows: &[(&str, &str)]) {
    for (status, about) in rows {
        let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
        let content = ContentBuilder::new()
            .schema(Some(schema))
            .example(Some(
                json!({ "status": status.parse::<u16>().unwrap_or(400) }),
            ))
            .build();
        let response = ResponseBuilder::new()
            .description(*about)
            .content("application/problem+json", content)
            .build();
        let responses = &mut operation.responses.responses;
        responses
            .entry((*status).to_owned())
            .or_insert_with(|| response.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_description_is_openapi_3_1_and_names_each_operation_once() {
        let json = serde_json::to_value(document()).unwrap();
        assert!(json["openapi"].as_str().unwrap().starts_with("3.1"));
        let paths = json["paths"].as_object().unwrap();
        let operations = paths
            .values()
            .flat_map(|item| item.as_object().unwrap().values());
        let mut ids: Vec<&str> = operations
            .map(|it| it["operationId"].as_str().unwrap())
            .collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        let endpoints = endpoints::all().into_iter();
        let described = endpoints.filter(|endpoint| endpoint.document.is_some());
        // MCP has no rows in the table of endpoints: its messages go their own way.
        let of_mcp = ids.iter().filter(|id| id.starts_with("mcp")).count();
        assert_eq!(of_mcp, 6);
        assert_eq!((ids.len(), count), (count, described.count() + of_mcp));
        let submit = &json["paths"]["/api/v1/jobs"]["post"]["responses"];
        for status in ["202", "409", "413", "415", "422", "429", "503"] {
            assert!(submit[status].is_object(), "{status}");
        }
    }

    /// The schema itself, where it is referred to.
    fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"].as_str();
        let name = name.and_then(|name| name.rsplit('/').next());
        name.map_or(schema, |name| &document["components"]["schemas"][name])
    }

    /// (id, operation) of each operation.
    fn operations(document: &Value) -> Vec<(&str, &Value)> {
        let paths = document["paths"].as_object().unwrap().values();
        let all = paths.flat_map(|item| item.as_object().unwrap().values());
        all.map(|it| (it["operationId"].as_str().unwrap(), it))
            .collect()
    }

    #[test]
    fn every_operation_has_a_short_summary_and_examples_of_what_goes_in_and_out() {
        let document = serde_json::to_value(document()).unwrap();
        for (id, operation) in operations(&document) {
            let summary = operation["summary"].as_str().unwrap();
            assert!(summary.len() <= 40, "{id}: {summary}");
            let body = &operation["requestBody"]["content"]["application/json"];
            if !operation["requestBody"].is_null() {
                let schema = resolved(&document, &body["schema"]);
                let fields = schema["properties"].as_object();
                let of_fields = fields
                    .is_some_and(|fields| fields.values().any(|field| !field["example"].is_null()));
                let has = !body["example"].is_null() || !body["examples"].is_null() || of_fields;
                assert!(has, "{id} shows no body");
            }
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let Some(forms) = answer["content"].as_object() else {
                    assert_eq!(status, "204", "{id} says nothing of {status}");
                    continue;
                };
                for (form, content) in forms {
                    let schema = &content["schema"];
                    assert!(!schema.is_null(), "{id} {status} {form} has no schema");
                    let item = match schema["type"] == "array" {
                        true => &schema["items"],
                        false => schema,
                    };
                    let shown = !content["example"].is_null()
                        || !resolved(&document, item)["example"].is_null();
                    assert!(shown, "{id} {status} {form} shows no answer");
                }
            }
        }
    }

    #[test]
    fn examples_of_schemas_have_the_fields_that_the_schemas_have() {
        let document = serde_json::to_value(document()).unwrap();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            let Some(example) = schema["example"].as_object() else {
                continue;
            };
            let fields = schema["properties"].as_object().unwrap();
            for field in example.keys() {
                assert!(fields.contains_key(field), "{name} has no field {field}");
            }
            for field in schema["required"].as_array().unwrap() {
                let field = field.as_str().unwrap();
                assert!(example.contains_key(field), "{name} shows no {field}");
            }
        }
    }
}
