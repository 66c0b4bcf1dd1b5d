//! Names, limits, and when a list may be given.

use discovery::backends::{Consul, ConsulOptions};

use super::*;

#[tokio::test]
async fn long_and_equal_names_are_told_apart_and_stay() {
    let mut world = World::new();
    let long = "x".repeat(80);
    let operations = vec!["find", "find me", Box::leak(long.into_boxed_str())];
    let tool = Tool {
        operations,
        ..Tool::default()
    };
    world.serve("t1", "tool-atlas", tool.routes()).await;
    let snapshot = world.until(|it| it.all().tools.len() == 3).await;
    let all = snapshot.all();
    for tool in &all.tools {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(
            tool.name.len() <= 50 && tool.name.chars().all(plain),
            "{}",
            tool.name
        );
        assert_eq!(entry(tool)["name"], tool.name);
        assert_eq!(&*tool.global_name, tool.name);
        assert_eq!(entry(tool)["description"], "Does it");
    }
    // The same on every replica.
    let again = World::with(&CatalogKeys {
        mcp_max_name: 30,
        ..CatalogKeys::default()
    });
    let address = world.mesh.serve(tool.routes()).await;
    again.register("other", "tool-atlas", address).await;
    let other = again.until(|it| it.all().tools.len() == 3).await;
    let short = |name: &&str| name.len() <= 30;
    assert!(listed(&other).iter().all(short), "{:?}", listed(&other));
    let of = |snapshot: &CatalogSnapshot| {
        let names = listed(snapshot).into_iter().filter(short);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of(&snapshot).len(), 2);
    assert!(of(&snapshot).iter().all(|name| of(&other).contains(name)));
}

#[tokio::test]
async fn no_more_tools_are_listed_than_the_key_says() {
    let keys = CatalogKeys {
        mcp_max_tools: 2,
        ..CatalogKeys::default()
    };
    let mut world = World::with(&keys);
    for name in ["a", "b"] {
        let tool = Tool {
            operations: vec!["one", "two"],
            ..Tool::default()
        };
        world
            .serve(name, &format!("tool-{name}"), tool.routes())
            .await;
    }
    let snapshot = world.until_named(&["a-tool__one", "a-tool__two"]).await;
    let full = |it: &CatalogSnapshot| service(it, "tool-b").problem.is_some();
    let snapshot = if full(&snapshot) {
        snapshot
    } else {
        world.until(full).await
    };
    let problem = service(&snapshot, "tool-b").problem.clone().unwrap();
    assert!(problem.contains("mcp_max_tools = 2"), "{problem}");
}

#[tokio::test]
async fn a_list_is_not_given_before_it_is_true() {
    let nowhere = ConsulOptions::at("127.0.0.1:9");
    let consul = Arc::new(Consul::new(nowhere).unwrap());
    let options = channel::ClusterOptions::default();
    let mesh = channel::Mesh::new(consul, options, &telemetry::MetricsRegistry::new());
    let settings = Arc::new(Announced(watch::channel(0).0));
    let keys = CatalogKeys::default();
    let schema = SchemaOptions::default();
    let catalog = Catalog::with_settings(&Directory::start(mesh), settings, &keys, schema);
    let ready = catalog
        .unwrap()
        .ready_snapshot(Duration::from_millis(300))
        .await;
    assert!(ready.is_none());
    let world = World::new();
    let ready = world.catalog.ready_snapshot(Duration::from_secs(3)).await;
    assert!(
        ready.unwrap().all().tools.is_empty(),
        "an empty mesh has no tools"
    );
}

/// A thousand tools of two hundred services: what they take, and that one change asks one service.
#[tokio::test]
async fn a_thousand_tools_take_little_memory_each() {
    let tool = Tool {
        operations: vec!["a", "b", "c", "d", "e"],
        ..Tool::default()
    };
    let mut world = World::new();
    let address = world.mesh.serve(tool.routes()).await;
    for at in 0..200 {
        let name = format!("tool-t{at}");
        world
            .mesh
            .register(registration(&name, &name, address))
            .await;
    }
    let snapshot = world
        .until(|it| it.ready && it.all().tools.len() == 1000)
        .await;
    assert_eq!(tool.asked.load(Relaxed), 200);
    let bytes: usize = snapshot
        .all()
        .tools
        .iter()
        .map(|tool| tool.json.len())
        .sum();
    assert!(bytes / 1000 < 1024, "{} bytes of JSON a tool", bytes / 1000);
    let again = registration("tool-t7", "tool-t7", address);
    world.mesh.register(with_meta(again, "version", "2")).await;
    let version = snapshot.version;
    world.until(|it| it.version > version).await;
    testkit::until("it is asked again", Duration::from_secs(5), async || {
        (tool.asked.load(Relaxed) == 201).then_some(())
    })
    .await;
}
