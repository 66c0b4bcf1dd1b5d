use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::{Code, client::Grpc, service::Routes};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::ExtensionRequest;

use super::*;
use testkit::fixture::{Fixture, dial, foreign, foreign_alpha, registration};

/// Two foreign services with a `common.proto` each, and a router that reflects them.
async fn mesh() -> (Fixture, String) {
    let mut mesh = Fixture::new();
    for (service, routes) in [
        ("bills", foreign("bank.Bills")),
        ("orders", foreign_alpha("shop.Orders")),
    ] {
        let address = mesh.serve(routes).await;
        mesh.register(registration(service, service, address)).await;
    }
    mesh.until(|snapshot| snapshot.grpc_services().count() == 2)
        .await;
    let reflection = Reflection::new(Arc::clone(&mesh.directory)).unwrap();
    let routes = Routes::new(reflection.v1()).add_service(reflection.v1alpha());
    let url = format!("http://{}", mesh.serve(routes).await);
    (mesh, url)
}

async fn ask(
    url: &str,
    version: &str,
    questions: impl IntoIterator<Item = MessageRequest>,
) -> Vec<MessageResponse> {
    let requests: Vec<_> = questions
        .into_iter()
        .map(|question| ServerReflectionRequest {
            host: "mesh".into(),
            message_request: Some(question),
        })
        .collect();
    let channel = dial(url);
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    let codec = ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
    let request = Request::new(stream::iter(requests));
    let answers = grpc
        .streaming(request, path.parse().unwrap(), codec)
        .await
        .unwrap();
    answers
        .into_inner()
        .map(|answer| {
            let answer = answer.unwrap();
            assert_eq!(answer.valid_host, "mesh");
            answer.message_response.unwrap()
        })
        .collect()
        .await
}

fn symbol(name: &str) -> MessageRequest {
    MessageRequest::FileContainingSymbol(name.to_owned())
}

/// `package:name` of every file of an answer.
fn files(answer: &MessageResponse) -> Vec<String> {
    let MessageResponse::FileDescriptorResponse(answer) = answer else {
        panic!("{answer:?}")
    };
    let files = answer.file_descriptor_proto.iter();
    files
        .map(|bytes| {
            let file = FileDescriptorProto::decode(bytes.as_slice()).unwrap();
            format!("{}:{}", file.package(), file.name())
        })
        .collect()
}

fn code(answer: &MessageResponse) -> Code {
    let MessageResponse::ErrorResponse(error) = answer else {
        panic!("{answer:?}")
    };
    Code::from_i32(error.error_code)
}

#[tokio::test]
async fn both_versions_list_the_router_and_all_behind_it() {
    let (_mesh, url) = mesh().await;
    for version in ["v1", "v1alpha"] {
        let answers = ask(&url, version, [MessageRequest::ListServices(String::new())]).await;
        let [MessageResponse::ListServicesResponse(list)] = answers.as_slice() else {
            panic!("{answers:?}")
        };
        let names: Vec<_> = list
            .service
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "agentplatform.AgentService",
                "agentplatform.TaskWorker",
                "agentplatform.ToolService",
                "bank.Bills",
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "mesh.v1.MeshService",
                "shop.Orders",
            ]
        );
    }
}

#[tokio::test]
async fn own_and_foreign_services_are_described_with_their_imports() {
    let (_mesh, url) = mesh().await;
    let questions = [
        "agentplatform.AgentService",
        "shop.Orders",
        "bank.Bills.Place",
    ]
    .map(symbol);
    let answers = ask(&url, "v1", questions).await;
    assert_eq!(
        files(&answers[0]),
        [
            "agentplatform:agentplatform/agentplatform.proto",
            "google.protobuf:google/protobuf/wrappers.proto"
        ]
    );
    assert_eq!(files(&answers[1]), ["shop:shop.proto", "shop:common.proto"]);
    assert_eq!(files(&answers[2]), ["bank:bank.proto", "bank:common.proto"]);
}

#[tokio::test]
async fn details_of_the_meshs_own_errors_are_described() {
    let (_mesh, url) = mesh().await;
    let answers = ask(&url, "v1", [symbol("google.rpc.ErrorInfo")]).await;
    assert_eq!(
        files(&answers[0]),
        ["google.rpc:google/rpc/error_details.proto"]
    );
}

#[tokio::test]
async fn file_is_that_of_the_service_asked_before() {
    let (_mesh, url) = mesh().await;
    let common = || MessageRequest::FileByFilename("common.proto".to_owned());
    let questions = [
        common(),
        symbol("shop.Order"),
        common(),
        symbol("bank.Bills"),
        common(),
        symbol("agentplatform.TaskRequest"),
        symbol("shop.Orders"),
        common(),
    ];
    let answers = ask(&url, "v1", questions).await;
    assert_eq!(
        files(&answers[0]),
        ["bank:common.proto"],
        "the first by name"
    );
    assert_eq!(files(&answers[2]), ["shop:common.proto"]);
    assert_eq!(files(&answers[4]), ["bank:common.proto"]);
    assert_eq!(files(&answers[7]), ["shop:common.proto"]);
}

#[tokio::test]
async fn what_nobody_describes_is_an_answer_and_not_the_end() {
    let (_mesh, url) = mesh().await;
    let extension = |containing_type: &str| {
        MessageRequest::FileContainingExtension(ExtensionRequest {
            containing_type: containing_type.to_owned(),
            extension_number: 1,
        })
    };
    let numbers = |name: &str| MessageRequest::AllExtensionNumbersOfType(name.to_owned());
    let answers = ask(
        &url,
        "v1",
        [
            symbol("nobody.Knows"),
            MessageRequest::FileByFilename("nobody.proto".to_owned()),
            extension("shop.Order"),
            numbers("nobody.Knows"),
            numbers("shop.Order"),
        ],
    )
    .await;
    for answer in &answers[..4] {
        assert_eq!(code(answer), Code::NotFound);
    }
    let MessageResponse::AllExtensionNumbersResponse(none) = &answers[4] else {
        panic!()
    };
    assert_eq!(none.base_type_name, "shop.Order");
    assert!(none.extension_number.is_empty());
}
