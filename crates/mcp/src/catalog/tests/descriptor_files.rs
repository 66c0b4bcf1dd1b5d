//! Files of descriptors that change while the catalog runs.

use super::*;

#[tokio::test]
async fn files_of_the_operator_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.binpb");
    // A set of no files.
    std::fs::write(&path, b"").unwrap();
    let keys = CatalogKeys {
        mcp_descriptor_sets: vec![path.display().to_string()],
        ..CatalogKeys::default()
    };
    let mut world = World::with(&keys);
    let address = world.mesh.serve(Routes::default()).await;
    let silent = with_meta(registration("s1", "silent", address), "mcp", "*");
    let service = "agentplatform.TaskWorker";
    world
        .mesh
        .register(with_meta(silent, "grpc_services", service))
        .await;
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
    let names = [
        "silent__TaskWorker_GetTaskStatus",
        "silent__TaskWorker_ProcessTask",
    ];
    world.until_named(&names).await;
}
