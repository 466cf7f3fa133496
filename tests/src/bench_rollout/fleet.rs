//! Agents as the API server knows them, many in one process: each with a client, the product's own watches, and the
//! product's own code for slots. What else an agent does, the API server does not see.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use podsweep::kubernetes::{Index, WatchCounts, watches};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::test_agent::{self, Book, Course};

/// All agents of a DaemonSet whose pods start together, as on a cluster that is switched on.
const STARTED_WITHIN: Duration = Duration::from_mins(1);

/// They.
pub(super) struct Fleet {
    pub(super) book: Arc<Book>,
    indexes: Vec<Arc<Index>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Fleet {
    /// Starts them one after the other, and returns when the last one was started. Each goes by the kubeconfig.
    pub(super) async fn start(agents: u32, kubeconfig: &Path, course: &Course) -> Result<Self> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let mut fleet = Self { book: Arc::default(), indexes: Vec::new(), tasks, stop };
        for number in 0..agents {
            fleet.agent(&node(number), kubeconfig, course).await?;
            tokio::time::sleep(STARTED_WITHIN / agents.max(1)).await;
        }
        Ok(fleet)
    }

    async fn agent(&mut self, node: &str, kubeconfig: &Path, course: &Course) -> Result<()> {
        let client = test_agent::client(kubeconfig).await?;
        let index = Arc::new(Index::default());
        let counts = Arc::clone(&self.book) as Arc<dyn WatchCounts>;
        watches::start(&client, node, &index, &counts, &self.tasks, &self.stop);
        self.indexes.push(index);
        let (course, book, stop) = (course.clone(), Arc::clone(&self.book), self.stop.clone());
        self.tasks.spawn(test_agent::run(client, node.to_owned(), course, book, stop));
        Ok(())
    }

    /// Agents that know of something that it may not hold any more.
    pub(super) fn stale(&self) -> usize {
        self.indexes.iter().filter(|index| index.stale().is_some()).count()
    }

    /// Ends them: their watches end, and the API server writes them down.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The name of an agent's node.
pub(super) fn node(number: u32) -> String {
    format!("n{number}")
}
