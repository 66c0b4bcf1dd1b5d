//! Files of descriptors: what they add to services, and how they change while the catalog runs.

use std::path::Path;

use super::*;

/// The tools of the service that these tests have, as the files describe it.
const NAMES: [&str; 2] = [
    "silent__TaskWorker_GetTaskStatus",
    "silent__TaskWorker_ProcessTask",
];

/// A world with the file at this path and a service without reflection.
async fn with_silent_service(path: &Path) -> World {
    let mut world = World::with(&CatalogKeys {
        mcp_descriptor_sets: vec![path.display().to_string()],
        ..CatalogKeys::default()
    });
    let address = world.mesh.serve(Routes::default()).await;
    let silent = with_meta(registration("s1", "silent", address), "mcp", "*");
    let silent = with_meta(silent, "grpc_services", "agentplatform.TaskWorker");
    world.mesh.register(silent).await;
    world
}

#[tokio::test]
async fn files_of_the_operator_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.binpb");
    // A set of no files.
    std::fs::write(&path, b"").unwrap();
    let world = with_silent_service(&path).await;
    world
        .until(|snapshot| {
            let mut services = snapshot.services();
            services.any(|it| it.problem.is_some())
        })
        .await;
    // What cannot be read changes nothing, and the next one counts.
    std::fs::write(&path, b"no set").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    std::fs::write(&path, proto::DESCRIPTORS).unwrap();
    world.until_named(&NAMES).await;
}

#[tokio::test]
async fn files_of_the_operator_stand_in_for_reflection_and_add_comments() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.binpb");
    std::fs::write(&path, proto::DESCRIPTORS).unwrap();
    let world = with_silent_service(&path).await;
    let snapshot = world.until_named(&NAMES).await;
    assert_eq!(
        snapshot.services().next().unwrap().left_out.len(),
        1,
        "ListWorkers"
    );
    let missing = CatalogKeys {
        mcp_descriptor_sets: vec!["/nowhere.binpb".to_owned()],
        ..CatalogKeys::default()
    };
    let settings = Arc::new(Announced(watch::channel(0).0));
    let schema = SchemaOptions::default();
    let error = Catalog::with_settings(&world.mesh.directory, settings, &missing, schema);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("mcp_descriptor_sets: read /nowhere.binpb"),
        "{error}"
    );
}
