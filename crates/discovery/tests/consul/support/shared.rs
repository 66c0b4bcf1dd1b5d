//! What tests against any registry that answers as Consul does share.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mesh_discovery::{
    Check, Discovery, Registration, Snapshot,
    backends::{Consul, ConsulOptions},
};
use tokio::{sync::watch, time::timeout};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A receiver of one service.
pub(crate) type Receiver = watch::Receiver<Option<Arc<Snapshot>>>;

/// A backend that reaches this address.
pub(crate) fn consul(address: &str) -> Arc<dyn Discovery> {
    Arc::new(Consul::new(ConsulOptions::at(address)).expect("a usable address"))
}

/// An instance of `service` whose check does not run before the test is over: Consul puts the first
/// run at a random moment of the interval.
pub(crate) fn registration(service: &str, id: &str) -> Registration {
    Registration {
        id: id.to_owned(),
        service: service.to_owned(),
        host: "127.0.0.1".to_owned(),
        port: 50052,
        tags: vec!["agent".to_owned(), "echo".to_owned()],
        meta: BTreeMap::from([("version".to_owned(), "1.0.0".to_owned())]),
        weight_passing: 10,
        weight_warning: 1,
        check: Check::Grpc,
        check_interval: Duration::from_secs(1_000_000),
        deregister_after: Duration::from_secs(60),
    }
}

/// Waits until what is known of a service fulfils a condition.
pub(crate) async fn seen(
    receiver: &mut Receiver,
    within: Duration,
    condition: impl Fn(&Snapshot) -> bool,
) -> Arc<Snapshot> {
    let waited = receiver.wait_for(|now| now.as_deref().is_some_and(&condition));
    let found = timeout(within, waited)
        .await
        .map(|found| found.expect("the backend lives").clone());
    let Ok(found) = found else {
        panic!(
            "not seen within {within:?}; last known: {:?}",
            receiver.borrow()
        );
    };
    found.expect("the condition holds of something")
}

/// How many instances may be given calls.
pub(crate) fn serving(receiver: &Receiver) -> usize {
    receiver
        .borrow()
        .as_ref()
        .map_or(0, |snapshot| snapshot.serving().count())
}
