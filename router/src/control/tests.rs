use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use discovery::{Health, InstanceKey, Registration};
use proto::agentplatform::{
    TaskStatusResponse, WorkerInfo, agent_service_client::AgentServiceClient,
    task_worker_client::TaskWorkerClient,
};
use tokio::time::{Instant, sleep};

use super::*;
use testkit::fixture::{Fixture, dial, registration, with_meta};

/// An agent, and a worker, of few words.
#[derive(Clone, Default)]
struct Fake {
    status: StatusResponse,
    told: Vec<AgentInfo>,
    task: TaskStatusResponse,
    delay: Duration,
    /// How many times it was asked for a task.
    asked: Arc<AtomicUsize>,
}

impl Fake {
    async fn answer<T>(&self, answer: T) -> Result<Response<T>, Status> {
        sleep(self.delay).await;
        Ok(Response::new(answer))
    }

    fn agent(active_tasks: i32, uptime_seconds: i64) -> Self {
        let (agent_id, status) = (String::new(), "healthy".to_owned());
        let status = StatusResponse {
            agent_id,
            status,
            active_tasks,
            uptime_seconds,
        };
        Self {
            status,
            ..Self::default()
        }
    }

    fn worker(status: &str) -> Self {
        let task = TaskStatusResponse {
            status: status.to_owned(),
            ..Default::default()
        };
        Self {
            task,
            ..Self::default()
        }
    }

    fn routes(self) -> Routes {
        Routes::new(AgentServiceServer::new(self.clone())).add_service(TaskWorkerServer::new(self))
    }
}

fn never<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not here"))
}

#[tonic::async_trait]
impl AgentService for Fake {
    type StreamTaskStream = tokio_stream::Empty<Result<TaskChunk, Status>>;

    async fn execute_task(
        &self,
        _: Request<TaskRequest>,
    ) -> Result<Response<TaskResponse>, Status> {
        never()
    }

    async fn stream_task(
        &self,
        _: Request<TaskRequest>,
    ) -> Result<Response<Self::StreamTaskStream>, Status> {
        never()
    }

    async fn get_status(
        &self,
        _: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        self.answer(self.status.clone()).await
    }

    async fn register_agent(
        &self,
        _: Request<AgentInfo>,
    ) -> Result<Response<RegistrationResponse>, Status> {
        never()
    }

    async fn list_agents(
        &self,
        _: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        self.answer(ListAgentsResponse {
            agents: self.told.clone(),
        })
        .await
    }
}

#[tonic::async_trait]
impl TaskWorker for Fake {
    async fn process_task(
        &self,
        _: Request<TaskRequest>,
    ) -> Result<Response<TaskResponse>, Status> {
        never()
    }

    async fn get_task_status(
        &self,
        _: Request<TaskStatusRequest>,
    ) -> Result<Response<TaskStatusResponse>, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answer(self.task.clone()).await
    }

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        self.answer(ListWorkersResponse {
            workers: Vec::<WorkerInfo>::new(),
        })
        .await
    }
}

/// A mesh with a router's own services in front.
struct Router {
    mesh: Fixture,
    tasks: Arc<TaskLocations>,
    url: String,
}

impl Router {
    async fn start() -> Self {
        Self::start_asking(32).await
    }

    /// One that asks so many workers for a task of which it knows nothing.
    async fn start_asking(workers: usize) -> Self {
        let mut mesh = Fixture::new();
        let tasks = Arc::new(TaskLocations::new(workers));
        let registration = Arc::new(RegistrationHandler::new(
            mesh.memory.clone(),
            false,
            "r",
            crate::registration::AddressPolicy::default(),
        ));
        let own = routes(
            Arc::clone(&mesh.directory),
            Arc::clone(&tasks),
            registration,
        )
        .unwrap();
        let url = format!("http://{}", mesh.serve(own).await);
        Self { mesh, tasks, url }
    }

    async fn add(&mut self, id: &str, service: &str, fake: Fake) -> Registration {
        let address = self.mesh.serve(fake.routes()).await;
        let registration = registration(id, service, address);
        self.mesh.register(registration.clone()).await;
        self.mesh
            .until(|snapshot| snapshot.by_instance(id).is_some())
            .await;
        registration
    }

    async fn agents(&self, filter: &str) -> Vec<AgentInfo> {
        let mut client = AgentServiceClient::new(dial(&self.url));
        let request = ListAgentsRequest {
            filter: filter.to_owned(),
        };
        client
            .list_agents(request)
            .await
            .unwrap()
            .into_inner()
            .agents
    }

    async fn status(&self, id: &str) -> Result<Response<StatusResponse>, Status> {
        let mut client = AgentServiceClient::new(dial(&self.url));
        client
            .get_status(StatusRequest {
                agent_id: id.to_owned(),
            })
            .await
    }

    async fn task(&self, id: &str) -> Response<TaskStatusResponse> {
        let mut client = TaskWorkerClient::new(dial(&self.url));
        client
            .get_task_status(TaskStatusRequest {
                task_id: id.to_owned(),
            })
            .await
            .unwrap()
    }
}

fn instance<T>(response: &Response<T>) -> Option<&str> {
    response
        .metadata()
        .get(crate::routing::request::INSTANCE.as_str())
        .map(|id| id.to_str().unwrap())
}

fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

#[tokio::test]
async fn list_is_what_instances_tell_of_themselves() {
    let mut router = Router::start().await;
    let told = AgentInfo {
        agent_id: "echo-agent".into(),
        name: "Echo".into(),
        how_it_works: "it repeats".into(),
        capabilities: vec!["Repeating".into()],
        endpoint: "its own idea".into(),
        ..AgentInfo::default()
    };
    let fake = Fake {
        told: vec![AgentInfo::default(), told],
        ..Fake::default()
    };
    let first = router.add("e1", "agent-echo", fake.clone()).await;
    router.add("e2", "agent-echo", fake).await;
    let agents = router.agents("").await;
    let [agent] = agents.as_slice() else {
        panic!("one entry per service: {agents:?}")
    };
    assert_eq!(agent.agent_id, "echo-agent");
    assert_eq!(agent.how_it_works, "it repeats");
    assert_eq!(agent.endpoint, format!("127.0.0.1:{}", first.port));
    for filter in ["ECHO-agent", "agent-echo", "agent", "repeating"] {
        assert_eq!(router.agents(filter).await.len(), 1, "{filter}");
    }
    assert!(router.agents("ech").await.is_empty(), "a filter is exact");
}

#[tokio::test]
async fn service_that_tells_nothing_is_listed_from_the_registry() {
    let mut router = Router::start().await;
    let address = router.mesh.serve(Routes::default()).await;
    let quiet = with_meta(registration("q1", "agent-quiet", address), "version", "3.1");
    router
        .mesh
        .register(Registration {
            tags: vec!["agent".into(), "old".into()],
            ..quiet
        })
        .await;
    router
        .mesh
        .register(registration("d1", "agent-dead", nowhere()))
        .await;
    router
        .mesh
        .until(|snapshot| snapshot.ready() && snapshot.by_instance("d1").is_some())
        .await;
    let started = Instant::now();
    let agents = router.agents("").await;
    assert!(
        started.elapsed() < Duration::from_millis(1900),
        "nobody waits for the dead"
    );
    assert_eq!(agents.len(), 2);
    assert_eq!(agents[1].agent_id, "quiet-agent");
    assert_eq!(agents[1].name, "quiet-agent");
    assert_eq!(agents[1].version, "3.1");
    assert_eq!(agents[1].capabilities, ["agent", "old"]);
    router.mesh.memory.set_health("d1", Health::Critical);
    router
        .mesh
        .until(|snapshot| !snapshot.by_id("dead-agent").unwrap().is_serving())
        .await;
    assert_eq!(
        router.agents("").await.len(),
        1,
        "what cannot be called is not listed"
    );
    let started = Instant::now();
    router.agents("").await;
    assert!(
        started.elapsed() < Duration::from_millis(300),
        "answers are remembered"
    );
}

#[tokio::test]
async fn status_of_a_service_is_its_instances_together() {
    let mut router = Router::start().await;
    router.add("e1", "agent-echo", Fake::agent(2, 50)).await;
    let answer = router.status("echo-agent").await.unwrap();
    assert_eq!(instance(&answer), Some("e1"), "one instance answered");
    router.add("e2", "agent-echo", Fake::agent(3, 10)).await;
    let silent = Fake {
        delay: Duration::from_secs(60),
        ..Fake::agent(100, 100)
    };
    router.add("e3", "agent-echo", silent).await;
    let answer = router.status("agent-echo").await.unwrap();
    assert_eq!(instance(&answer), None);
    let answer = answer.into_inner();
    assert_eq!((answer.active_tasks, answer.uptime_seconds), (5, 50));
    assert_eq!(
        (answer.agent_id.as_str(), answer.status.as_str()),
        ("echo-agent", "healthy")
    );
    let one = router.status("e2").await.unwrap();
    assert_eq!(instance(&one), Some("e2"));
    assert_eq!(one.into_inner().active_tasks, 3);
}

#[tokio::test]
async fn status_of_nobody_is_told_by_code() {
    let mut router = Router::start().await;
    router.add("e1", "agent-echo", Fake::agent(0, 0)).await;
    let status = router.status("").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        proto::error_info::read(&status).unwrap().metadata["field"],
        "agent_id"
    );
    assert_eq!(
        router.status("nobody-agent").await.unwrap_err().code(),
        Code::NotFound
    );
    router.mesh.memory.set_health("e1", Health::Critical);
    router
        .mesh
        .until(|snapshot| !snapshot.by_id("echo-agent").unwrap().is_serving())
        .await;
    for id in ["echo-agent", "e1"] {
        assert_eq!(
            router.status(id).await.unwrap_err().code(),
            Code::Unavailable,
            "{id}"
        );
    }
}

#[tokio::test]
async fn task_is_asked_where_it_went() {
    let mut router = Router::start().await;
    router
        .add("w1", "worker-itinerary", Fake::worker("completed"))
        .await;
    router
        .add("w2", "worker-itinerary", Fake::worker("processing"))
        .await;
    let key = InstanceKey {
        node: "".into(),
        id: "w2".into(),
    };
    router
        .tasks
        .record("t", &"worker-itinerary".into(), &key, Instant::now());
    let answer = router.task("t").await;
    assert_eq!(instance(&answer), Some("w2"));
    assert_eq!(answer.into_inner().status, "processing");
}

#[tokio::test]
async fn task_of_another_router_is_asked_of_every_worker() {
    let mut router = Router::start().await;
    assert_eq!(router.task("t").await.into_inner().status, "unknown");
    router
        .add("w1", "worker-itinerary", Fake::worker("unknown"))
        .await;
    let slow = Fake {
        delay: Duration::from_secs(60),
        ..Fake::worker("failed")
    };
    router.add("w2", "worker-itinerary", slow).await;
    let started = Instant::now();
    let answer = router.task("t").await;
    assert!(started.elapsed() < Duration::from_millis(1900));
    assert_eq!(instance(&answer), None);
    assert_eq!(answer.into_inner().status, "unknown");
    router
        .add("w3", "worker-other", Fake::worker("completed"))
        .await;
    let answer = router.task("t").await;
    assert_eq!(instance(&answer), Some("w3"));
    assert_eq!(answer.into_inner().status, "completed");
}

#[tokio::test]
async fn every_instance_is_told_with_what_is_held_against_it() {
    use proto::mesh::v1::{self, State, mesh_service_client::MeshServiceClient};
    let mut router = Router::start().await;
    router.add("e1", "agent-echo", Fake::agent(0, 0)).await;
    let critical = router.add("e2", "agent-echo", Fake::agent(0, 0)).await;
    let gone = with_meta(registration("w1", "worker-gone", nowhere()), "version", "7");
    router.mesh.register(gone).await;
    router.mesh.memory.set_health("e2", Health::Critical);
    let critical_is_known = |snapshot: &DirectorySnapshot| {
        let (_, instance) = snapshot.by_instance("e2").unwrap();
        instance.health == Health::Critical && snapshot.by_instance("w1").is_some()
    };
    router.mesh.until(critical_is_known).await;
    // A call finds out that nobody is at the worker's address.
    let mesh = router.mesh.directory.mesh().clone();
    TaskWorkerClient::new(mesh.channel("worker-gone"))
        .list_workers(ListWorkersRequest::default())
        .await
        .unwrap_err();

    let mut client = MeshServiceClient::new(dial(&router.url));
    let mut list = async |service: &str| {
        let service = service.to_owned();
        let asked = client.list_instances(ListInstancesRequest { service });
        asked.await.map(|answer| answer.into_inner().instances)
    };
    let all = list("").await.unwrap();
    let ids: Vec<_> = all.iter().map(|instance| instance.id.as_str()).collect();
    assert_eq!(ids, ["e1", "e2", "w1"]);
    assert_eq!(
        (all[0].health(), all[0].state()),
        (v1::Health::Passing, State::Ok)
    );
    assert_eq!(all[1].health(), v1::Health::Critical);
    let address = &critical.host;
    assert_eq!(all[1].address, format!("{address}:{}", critical.port));
    assert_eq!(
        (all[2].version.as_str(), all[2].state()),
        ("7", State::Unreachable)
    );
    assert!(all[2].reason.contains("127.0.0.1:9"), "{:?}", all[2]);

    assert_eq!(list("echo-agent").await.unwrap().len(), 2);
    assert_eq!(list("nobody").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_task_that_nobody_knows_is_asked_of_so_many_workers_and_not_again_at_once() {
    let mut router = Router::start_asking(3).await;
    let asked = Arc::new(AtomicUsize::new(0));
    for n in 0..8 {
        let fake = Fake {
            asked: Arc::clone(&asked),
            ..Fake::worker("unknown")
        };
        router.add(&format!("w{n}"), "worker-itinerary", fake).await;
    }
    for _ in 0..5 {
        assert_eq!(router.task("nobody").await.into_inner().status, "unknown");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    // Who knows one is remembered, and asked alone.
    let key = Arc::clone(&asked);
    let knows = Fake {
        asked: key,
        ..Fake::worker("completed")
    };
    let mut other = Router::start_asking(3).await;
    other.add("w", "worker-other", knows).await;
    assert_eq!(instance(&other.task("t").await), Some("w"));
    assert!(other.tasks.recipient("t", Instant::now()).is_some());
}
