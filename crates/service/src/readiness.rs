//! Whether an instance is ready for calls, by what its own code says.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::RwLock;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// Between two looks while an instance is not ready, and while it is.
const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_secs(1);

type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// What has to hold before `/readyz` and health say that an instance takes calls. Without any check
/// it does from the start. Clones share everything.
#[derive(Clone, Default)]
pub struct Readiness(Arc<RwLock<Vec<Check>>>);

impl Readiness {
    /// Adds a check: why the instance is not ready, or `None` when it is. It is asked often, and must
    /// not wait.
    pub fn check(&self, check: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.0.write().push(Box::new(check));
    }

    /// Why the instance is not ready; `None` when it is.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.read().iter().find_map(|check| check())
    }

    /// Lets health say what the checks do, until the drain begins.
    pub(crate) async fn tell(self, health: Health, draining: CancellationToken) {
        let mut told = true;
        loop {
            let ready = self.problem().is_none();
            if ready != told {
                if ready {
                    health.serving().await;
                } else {
                    health.not_serving().await;
                }
                told = ready;
            }
            let pause = if ready { LATER } else { SOON };
            tokio::select! {
                () = draining.cancelled() => return health.not_serving().await,
                () = sleep(pause) => {}
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readiness").field(&self.problem()).finish()
    }
}
