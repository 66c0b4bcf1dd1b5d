//! What each kind of service is listed as, and what a change or a fault of one does.

use discovery::Health;
use testkit::{fixture::foreign, local};
use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn agents_tools_and_workers_are_listed_with_what_they_say() {
    let world = World::new();
    let memory = &world.mesh.memory;
    let running = [
        local::start(&echo_agent::SPEC, echo_agent::build, memory, &[]).await,
        local::start(&weather_tool::SPEC, weather_tool::build, memory, &[]).await,
        local::start(
            &itinerary_worker::SPEC,
            itinerary_worker::build,
            memory,
            &[],
        )
        .await,
    ];
    let names = [
        "echo-agent",
        "itinerary-worker",
        "weather-tool__get_forecast",
        "weather-tool__get_weather",
    ];
    let snapshot = world.until_named(&names).await;
    let all = snapshot.all();
    let weather = all.tool("weather-tool__get_weather").unwrap();
    let json = entry(weather);
    assert_eq!(json["annotations"]["readOnlyHint"], true, "{json}");
    assert_eq!(json["inputSchema"]["required"][0], "location");
    assert_eq!(json["outputSchema"]["type"], "object");
    assert!(!weather.is_task);
    let echo = all.tool("echo-agent").unwrap();
    assert!(echo.is_task && matches!(echo.target, ToolTarget::Agent));
    assert!(all.tool("itinerary-worker").unwrap().is_task);
    assert!(all.tool("nobody").is_none());

    // The service alone: its names have no prefix, and count as what they are among all.
    for id in ["tool-weather", "weather-tool"] {
        let view = snapshot.service(id).unwrap();
        let names: Vec<_> = view.tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["get_forecast", "get_weather"]);
        assert_eq!(entry(&view.tools[1])["name"], "get_weather");
        assert_eq!(&*view.tools[1].global_name, "weather-tool__get_weather");
        assert_eq!(view.resources[0].uri, "tool://weather-tool");
        assert!(view.prompts.is_empty());
    }
    assert!(snapshot.service("tool-nobody").is_none());

    let uris: Vec<_> = all.resources.iter().map(|it| &*it.uri).collect();
    let expected = [
        "agent://echo-agent",
        "tool://weather-tool",
        "worker://itinerary-worker",
    ];
    assert_eq!(uris, expected);
    let text_of = |snapshot: &CatalogSnapshot| {
        let resource = snapshot.all().resource("tool://weather-tool");
        resource.unwrap().text.clone().unwrap()
    };
    let text = text_of(&snapshot);
    assert!(
        text.contains("`get_forecast`") && text.contains(": passing"),
        "{text}"
    );
    assert_eq!(all.prompts.len(), 1);
    assert_eq!(all.prompts[0].name, "echo-agent");

    // What an instance's health is changes its text, and no list.
    let id = running[1].instance_id.clone();
    memory.set_health(&id, Health::Warning);
    let later = world.until(|it| text_of(it).contains(": warning")).await;
    assert_eq!(later.all().versions.resources, all.versions.resources);
    assert_eq!(later.all().versions.tools, all.versions.tools);
    assert_ne!(
        later.all().resource("tool://weather-tool").unwrap().version,
        all.resource("tool://weather-tool").unwrap().version
    );
    for running in running {
        running.drain().await;
    }
    let gone = world.until_named(&[]).await;
    assert!(gone.all().versions.tools > all.versions.tools);
}

#[tokio::test]
async fn a_foreign_service_is_shown_where_its_setting_says_so() {
    let mut world = World::new();
    let address = world.mesh.serve(foreign("shop.Orders")).await;
    let plain = registration("o1", "orders", address);
    world.mesh.register(plain.clone()).await;
    let snapshot = world
        .until(|it| it.ready && it.services().count() == 1)
        .await;
    let orders = service(&snapshot, "orders");
    assert_eq!(
        (orders.mode.as_str(), orders.problem.as_deref()),
        ("off", None)
    );
    assert!(snapshot.service("orders").is_none());

    world
        .mesh
        .register(with_meta(plain.clone(), "mcp", "*"))
        .await;
    let snapshot = world.until_named(&["orders__Orders_Place"]).await;
    let tool = &snapshot.all().tools[0];
    let ToolTarget::Method(call) = &tool.target else {
        panic!("{tool:?}")
    };
    assert_eq!(call.route().method(), "shop.Orders/Place");
    assert_eq!(tool.annotations.read_only, None, "nothing is guessed");
    let view = snapshot.service("orders").unwrap();
    assert_eq!(view.tools[0].name, "Orders_Place");

    let read_only = with_meta(plain.clone(), "mcp", "shop.Orders/Place, shop.Orders/Gone");
    let read_only = with_meta(read_only, "mcp_read_only", "shop.Orders/*");
    let read_only = with_meta(read_only, "mcp_destructive", "*");
    world
        .mesh
        .register(with_meta(read_only, "mcp_tasks", "*"))
        .await;
    let declared = |it: &CatalogSnapshot| {
        it.all()
            .tools
            .first()
            .is_some_and(|it| it.is_task && it.annotations.read_only == Some(true))
    };
    let snapshot = world.until(declared).await;
    let problem = service(&snapshot, "orders").problem.clone().unwrap();
    assert_eq!(problem, "shop.Orders has no method Gone");
    assert!(!snapshot.all().tools[0].has_output_schema);
    assert_eq!(snapshot.all().tools[0].annotations.destructive, Some(true));

    world.mesh.register(with_meta(plain, "mcp", "off")).await;
    world.until_named(&[]).await;
}

/// It hangs in reflection, it answers nonsense, it is gone: each loses its own tools and says why.
#[tokio::test]
async fn a_service_that_fails_loses_its_own_tools_only_and_says_why() {
    let mut world = World::new();
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world
        .register("h1", "hangs", hangs.local_addr().unwrap())
        .await;
    world
        .register("d1", "dead", ([127, 0, 0, 1], 9).into())
        .await;
    world
        .register("t1", "tool-dead", ([127, 0, 0, 1], 9).into())
        .await;
    world.serve("p1", "plain", Routes::default()).await;
    let well = Tool {
        operations: vec!["find"],
        ..Tool::default()
    };
    world.serve("w1", "tool-atlas", well.routes()).await;
    let begun = std::time::Instant::now();
    let snapshot = world.catalog.ready_snapshot(Duration::from_secs(10)).await;
    let snapshot = snapshot.unwrap();
    assert_eq!(listed(&snapshot), ["atlas-tool__find"]);
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    let told = |it: &CatalogSnapshot| {
        ["hangs", "dead", "tool-dead", "plain"]
            .iter()
            .all(|it_| service(it, it_).problem.is_some())
    };
    let snapshot = world.until(told).await;
    for (name, expected) in [
        ("hangs", "its reflection does not answer"),
        ("dead", "its reflection does not answer"),
        ("tool-dead", "it does not say what it does"),
        ("plain", "it has no reflection"),
    ] {
        let problem = service(&snapshot, name).problem.clone().unwrap();
        assert!(problem.contains(expected), "{name}: {problem}");
    }
    // Nobody else was asked again meanwhile.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(well.asked.load(Relaxed), 1);
}

#[tokio::test]
async fn a_change_of_one_service_asks_that_service_alone() {
    let mut world = World::new();
    let tools: Vec<_> = (0..3)
        .map(|_| Tool {
            operations: vec!["find"],
            ..Tool::default()
        })
        .collect();
    for (at, tool) in tools.iter().enumerate() {
        world
            .serve(&format!("t{at}"), &format!("tool-t{at}"), tool.routes())
            .await;
    }
    let names = ["t0-tool__find", "t1-tool__find", "t2-tool__find"];
    let before = world.until_named(&names).await;
    let asked = || {
        tools
            .iter()
            .map(|it| it.asked.load(Relaxed))
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(), [1, 1, 1]);
    let more = Tool {
        operations: vec!["find", "put"],
        ..Tool::default()
    };
    world.serve("t1-new", "tool-t1", more.routes()).await;
    world.mesh.memory.remove("t1");
    let names = [
        "t0-tool__find",
        "t1-tool__find",
        "t1-tool__put",
        "t2-tool__find",
    ];
    let after = world.until_named(&names).await;
    assert_eq!((asked()[0], asked()[2]), (1, 1));
    let same = |name: &str| {
        Arc::ptr_eq(
            before.all().tool(name).unwrap(),
            after.all().tool(name).unwrap(),
        )
    };
    assert!(same("t0-tool__find") && same("t2-tool__find"));

    // A check that fails takes its tools away, and gives them back.
    world.mesh.memory.set_health("t0", Health::Critical);
    let snapshot = world.until_named(&names[1..]).await;
    let problem = service(&snapshot, "tool-t0").problem.clone();
    assert_eq!(problem.as_deref(), Some("no instance is healthy"));
    world.mesh.memory.set_health("t0", Health::Passing);
    world.until_named(&names).await;
    assert_eq!(asked()[2], 1);
}

#[tokio::test]
async fn a_registry_that_is_away_takes_no_tool_away() {
    let mut world = World::new();
    world
        .serve("t1", "tool-atlas", Tool::default().routes())
        .await;
    let before = world.until_named(&["atlas-tool"]).await;
    // It lists no operation, so the caller names it.
    let tool = &before.all().tools[0];
    assert!(matches!(
        tool.target,
        ToolTarget::ToolOperation {
            operation: None,
            ..
        }
    ));
    assert_eq!(entry(tool)["inputSchema"]["required"][0], "operation");
    world.mesh.memory.set_reachable(false);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(listed(&world.catalog.snapshot()), ["atlas-tool"]);
    assert!(world.mesh.memory.is_registered("t1").await.is_err());
}
