//! The rung `docker`: a restart of the agent's container, with the stop timeout that it has.

use super::engine::{Engine, Engines, Found, Listed};
use super::replace::memory::Memory;
use super::{Job, Obstacle, WITHIN};
use hyper::Method;
use serde_json::Value;
use std::time::Duration;

/// What an engine waits between TERM and KILL unless the container says otherwise.
const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Restarts the agent's container.
pub(super) async fn restart(
    engines: &Engines,
    memory: &Memory,
    job: &Job,
) -> Result<String, Obstacle> {
    let mut stop_timeout = None;
    let done = tokio::time::timeout(WITHIN, async {
        let (engine, container) = match engines.find(job).await? {
            Found::Container(engine, container) => (engine, container),
            Found::Absent(why) if was_removed(engines, memory, job) => {
                return Err(Obstacle::Gone(why));
            }
            Found::Absent(why) => return Err(Obstacle::not_here(why)),
        };
        may_be_restarted(&container)?;
        let Some(settings) = engine.inspect(&container.id).await? else {
            return Err(Obstacle::Gone(format!(
                "the container {} was removed meanwhile",
                container.name
            )));
        };
        // From here on the engine goes on by itself, whether its answer is waited for or not.
        stop_timeout = Some((container.name.clone(), timeout_of(&settings)));
        order(engine, &container).await
    })
    .await;
    match (done, stop_timeout) {
        (Ok(result), _) => result,
        (Err(_), Some((name, timeout))) if timeout >= WITHIN / 2 => Ok(format!(
            "the engine restarts {name}, and first gives it {} s to end (its stop timeout)",
            timeout.as_secs()
        )),
        (Err(_), _) => Err(Obstacle::failed(format!(
            "the engine did not answer within {} s; look at its log (journalctl -u docker), and whether a process of the container hangs in the kernel",
            WITHIN.as_secs()
        ))),
    }
}

/// Whether the engine that has the agent's container no more is the one that had it: another host's engine proves nothing.
fn was_removed(engines: &Engines, memory: &Memory, job: &Job) -> bool {
    let [asked, _] = engines.of(job.runtime_kind());
    let known = memory.recall(&job.agent);
    known.is_some_and(|(engine, settings)| {
        engine == asked.name() && settings["Id"].as_str() == job.container_id()
    })
}

async fn order(engine: &Engine, container: &Listed) -> Result<String, Obstacle> {
    let path = format!("/containers/{}/restart", container.id);
    let answer = engine.call(Method::POST, &path, None).await?;
    if answer.status == 404 {
        let why = format!("the container {} was removed meanwhile", container.name);
        return Err(Obstacle::Gone(why));
    }
    engine.good(answer, &format!("restart the container {}", container.name))?;
    Ok(format!(
        "{} restarted the container {}",
        engine.name(),
        container.name
    ))
}

/// What a person holds is not touched, and what is on its way out does not come back.
pub(super) fn may_be_restarted(container: &Listed) -> Result<(), Obstacle> {
    let name = &container.name;
    match container.state.as_str() {
        "paused" => Err(Obstacle::not_here(format!(
            "the container {name} is paused, by a person or a program: docker unpause {name} continues it"
        ))),
        "removing" | "dead" => Err(Obstacle::not_here(format!(
            "the engine is removing the container {name}; if it stays so: docker rm -f {name}"
        ))),
        _ => Ok(()),
    }
}

pub(super) fn timeout_of(settings: &Value) -> Duration {
    let seconds = settings["Config"]["StopTimeout"].as_u64();
    seconds.map_or(STOP_TIMEOUT_DEFAULT, Duration::from_secs)
}
