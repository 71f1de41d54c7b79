//! What people ask for, on its way from HTTP to the hub and back.

use crate::wake::Wake;
use heartbeat::fleet::by_hand::{Answer, Ask, AskRefusal, Asked};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for the hub; one more waits for its turn.
const WAITING_MAX: usize = 64;

type Answered = Result<Answer, AskRefusal>;

/// The end of HTTP. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    queue: mpsc::Sender<Waiting>,
    wake: Wake,
}

/// The hub's end.
#[derive(Debug)]
pub(crate) struct Asks {
    queue: mpsc::Receiver<Waiting>,
    unanswered: BTreeMap<u64, oneshot::Sender<Answered>>,
    last: u64,
}

#[derive(Debug)]
struct Waiting {
    ask: Ask,
    by: String,
    from: String,
    answer: oneshot::Sender<Answered>,
}

/// Both ends; `wake` wakes the hub.
pub(crate) fn pair(wake: Wake) -> (Desk, Asks) {
    let (sender, queue) = mpsc::channel(WAITING_MAX);
    let asks = Asks {
        queue,
        unanswered: BTreeMap::new(),
        last: 0,
    };
    let queue = sender;
    (Desk { queue, wake }, asks)
}

impl Desk {
    /// Asks the hub; `None` when it has ended. `by` and `from`: the person and the address of the client.
    pub(crate) async fn ask(&self, ask: Ask, by: String, from: String) -> Option<Answered> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            ask,
            by,
            from,
            answer,
        };
        self.queue.send(waiting).await.ok()?;
        self.wake.wake();
        answered.await.ok()
    }
}

impl Asks {
    /// The next request, if one waits.
    pub(crate) fn take(&mut self) -> Option<Asked> {
        let Waiting {
            ask,
            by,
            from,
            answer,
        } = self.queue.try_recv().ok()?;
        self.last += 1;
        self.unanswered.insert(self.last, answer);
        Some(Asked {
            number: self.last,
            ask,
            by,
            from,
        })
    }

    /// Whether a request waits for its answer.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Answers the request of this number.
    pub(crate) fn answer(&mut self, number: u64, answer: Answered) {
        if let Some(waiting) = self.unanswered.remove(&number) {
            let _ = waiting.send(answer); // the client has gone
        }
    }
}
