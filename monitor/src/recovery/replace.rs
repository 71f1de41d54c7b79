//! The rung `replace`: another container in the place of the old one, with all of its settings.
//!
//! The new one is made before the old one is stopped, and started only when no container of the agent runs any more. What
//! fails on the way is undone: a half-made replacement is removed, and the old container is as it was.

mod creation;
pub(super) mod memory;

use super::docker::{may_be_restarted, timeout_of};
use super::engine::{Engine, Engines, Found, Listed};
use super::{Job, Obstacle};
use creation::{Origin, creation};
use hyper::Method;
use memory::Memory;
use serde_json::{Value, json};
use std::time::Duration;

/// Until the new container runs; what then is still undone has the rest of the rung's minute.
const START_WITHIN: Duration = Duration::from_secs(48);
/// To undo what was begun.
const UNDO_WITHIN: Duration = Duration::from_secs(9);
/// Between TERM and KILL the old container gets its own stop timeout, and this at most.
const STOP_TIMEOUT_MAX: Duration = Duration::from_secs(20);
/// Names that others take between the listing and the creation.
const NAMES_TRIED_MAX: usize = 5;

/// Replaces the agent's container.
pub(super) async fn replace(
    engines: &Engines,
    memory: &Memory,
    job: &Job,
) -> Result<String, Obstacle> {
    let mut attempt = None;
    let done = tokio::time::timeout(START_WITHIN, climb(engines, memory, job, &mut attempt)).await;
    let why = match done {
        Ok(Ok(detail)) => return Ok(detail),
        Ok(Err(why)) => why,
        Err(_) => Obstacle::failed(format!(
            "the replacement did not run within {} s; look at the engine's log (journalctl -u docker)",
            START_WITHIN.as_secs()
        )),
    };
    let Some(attempt) = attempt else {
        return Err(why);
    };
    let undone = tokio::time::timeout(UNDO_WITHIN, attempt.undo()).await;
    Err(match (why, undone) {
        (Obstacle::Failed(why), Ok(Ok(undone))) => Obstacle::failed(format!("{why}; {undone}")),
        (Obstacle::Failed(why), Ok(Err(left))) => Obstacle::failed(format!("{why}; {left}")),
        (Obstacle::Failed(why), Err(_)) => Obstacle::failed(format!(
            "{why}; and what was begun could not be undone in time: look at docker ps -a"
        )),
        (why @ (Obstacle::NotHere(_) | Obstacle::Gone(_) | Obstacle::Later(..)), _) => why,
    })
}

/// What was begun, so that it can be undone.
struct Attempt<'a> {
    engine: &'a Engine,
    /// The new container.
    made: Option<String>,
    stopped: Vec<Stopped>,
}

/// A container that was stopped, as it was before.
struct Stopped {
    id: String,
    name: String,
    policy: Value,
    was_running: bool,
}

async fn climb<'a>(
    engines: &'a Engines,
    memory: &Memory,
    job: &Job,
    attempt: &mut Option<Attempt<'a>>,
) -> Result<String, Obstacle> {
    let (engine, origin) = origin(engines, memory, job).await?;
    let attempt = attempt.insert(Attempt {
        engine,
        made: None,
        stopped: Vec::new(),
    });
    let image = image(engine, &origin, job).await?;
    let defaults = match &job.replace_image {
        Some(_) => image_of(engine, origin.image_id()).await?,
        None => None,
    };
    let own = copies(engine, job).await?;
    attempt.sweep(&own).await?;
    let (name, id) = attempt
        .create(&origin, defaults.as_ref(), &image, job, &own)
        .await?;
    for copy in &own {
        if copy.is_running() || origin.id() == Some(copy.id.as_str()) {
            attempt.stop(copy).await?;
        }
    }
    // Whatever was started meanwhile: two copies are worse than none.
    let alive = copies(engine, job).await?;
    if let Some(alive) = alive.iter().find(|copy| copy.is_running() && copy.id != id) {
        return Err(Obstacle::failed(format!(
            "the container {} of the same agent runs still; stop it, and start {name} by hand",
            alive.name
        )));
    }
    let path = format!("/containers/{id}/start");
    let answer = engine.call(Method::POST, &path, None).await?;
    engine.good(answer, &format!("start the replacement {name}"))?;
    let before = match (origin.name(), attempt.stopped.is_empty()) {
        (Some(old), false) => {
            format!("in the place of {old}, which is stopped and stays for its logs")
        }
        (Some(old), true) => format!("in the place of {old}, which is gone"),
        (None, _) => "from the policy's image: no earlier container is known".to_owned(),
    };
    Ok(format!("{} started {name} {before}", engine.name()))
}

/// What the new container is made from: the old one, what is remembered of it, or an image alone.
async fn origin<'a>(
    engines: &'a Engines,
    memory: &Memory,
    job: &Job,
) -> Result<(&'a Engine, Origin), Obstacle> {
    let why = match engines.find(job).await? {
        Found::Container(engine, container) => {
            may_be_restarted(&container)?;
            if let Some(settings) = engine.inspect(&container.id).await? {
                return Ok((engine, Origin::Container(settings)));
            }
            "the container was removed meanwhile".to_owned()
        }
        Found::Absent(why) => why,
    };
    let [likely, other] = engines.of(job.runtime_kind());
    if let Some((name, settings)) = memory.recall(&job.agent) {
        let engine = if other.name() == name { other } else { likely };
        return Ok((engine, Origin::Container(settings)));
    }
    if job.replace_image.is_some() {
        return Ok((likely, Origin::Image));
    }
    Err(Obstacle::not_here(format!(
        "{why}. hbmonitor never saw its container, so it knows no settings: name an image in the policy's replace_image, or start it by hand"
    )))
}

/// The image by the name that people know, unless that name has another meaning by now.
async fn image(engine: &Engine, origin: &Origin, job: &Job) -> Result<String, Obstacle> {
    if let Some(image) = &job.replace_image {
        return Ok(image.clone());
    }
    let (name, id) = (origin.image_name(), origin.image_id());
    let named = image_of(engine, name).await?;
    let is_same = named.is_some_and(|named| named["Id"].as_str() == Some(id));
    if !is_same && image_of(engine, id).await?.is_some() {
        return Ok(id.to_owned());
    }
    Ok(name.to_owned())
}

async fn image_of(engine: &Engine, name: &str) -> Result<Option<Value>, Obstacle> {
    if name.is_empty() {
        return Ok(None);
    }
    let path = format!("/images/{name}/json");
    let answer = engine.call(Method::GET, &path, None).await?;
    Ok((answer.status == 200).then(|| answer.json()))
}

/// All containers of the agent.
async fn copies(engine: &Engine, job: &Job) -> Result<Vec<Listed>, Obstacle> {
    let reported = job.container_id();
    let mut listed = engine.list().await?;
    listed.retain(|one| one.belongs_to(job.agent.as_str()) || reported == Some(one.id.as_str()));
    Ok(listed)
}

impl Attempt<'_> {
    /// Removes what an attempt before left half-made, when hbmonitor ended in the middle of it.
    async fn sweep(&self, own: &[Listed]) -> Result<(), Obstacle> {
        let half_made = |one: &&Listed| one.state == "created" && one.is_replacement;
        for copy in own.iter().filter(half_made) {
            self.remove(&copy.id).await?;
        }
        Ok(())
    }

    /// Makes the new container with all its networks; its name and id.
    async fn create(
        &mut self,
        origin: &Origin,
        defaults: Option<&Value>,
        image: &str,
        job: &Job,
        own: &[Listed],
    ) -> Result<(String, String), Obstacle> {
        let base = creation::base_name(job.agent.as_str());
        let taken = |one: &Listed| one.name.strip_prefix(&base)?.parse::<u64>().ok();
        let first = own.iter().filter_map(taken).max().unwrap_or_default() + 1;
        let mut pulled = false;
        let mut number = first;
        for _ in 0..NAMES_TRIED_MAX {
            let name = format!("{base}{number}");
            let plan = creation(origin, defaults, image, job);
            let path = format!("/containers/create?name={name}");
            let answer = self
                .engine
                .call(Method::POST, &path, Some(&plan.body))
                .await?;
            match answer.status {
                409 => number += 1,
                404 if !pulled => {
                    self.pull(image, &answer.message()).await?;
                    pulled = true;
                }
                _ => {
                    let what = format!("create the replacement {name} from {image}");
                    let made = self.engine.good(answer, &what)?.json();
                    let id = made["Id"].as_str().unwrap_or_default().to_owned();
                    self.made = Some(id.clone());
                    self.connect(&id, plan.networks).await?;
                    return Ok((name, id));
                }
            }
        }
        Err(Obstacle::failed(format!(
            "the names {base}{first} and after are taken by containers of others; rename them"
        )))
    }

    async fn pull(&self, image: &str, why: &str) -> Result<(), Obstacle> {
        let path = format!("/images/create?{}", creation::pull_query(image));
        let answer = self.engine.call(Method::POST, &path, None).await?;
        let refused = (answer.status != 200).then(|| answer.message());
        let error = refused.or_else(|| {
            let mut errors = answer.values();
            errors.find_map(|line| line["error"].as_str().map(super::foreign))
        });
        match error {
            None => Ok(()),
            Some(error) => Err(Obstacle::failed(format!(
                "{why}, and pulling it failed: {error}; load it on the engine's host (docker pull {image}), or name another one in replace_image"
            ))),
        }
    }

    async fn connect(&self, id: &str, networks: Vec<(String, Value)>) -> Result<(), Obstacle> {
        for (network, endpoint) in networks {
            let body = json!({"Container": id, "EndpointConfig": endpoint});
            let path = format!("/networks/{network}/connect");
            let answer = self.engine.call(Method::POST, &path, Some(&body)).await?;
            self.engine
                .good(answer, &format!("connect the replacement to {network}"))?;
        }
        Ok(())
    }

    /// Stops a copy for good: its restart policy would bring it back.
    async fn stop(&mut self, copy: &Listed) -> Result<(), Obstacle> {
        let engine = self.engine;
        let Some(settings) = engine.inspect(&copy.id).await? else {
            return Ok(());
        };
        let policy = settings["HostConfig"]["RestartPolicy"].clone();
        self.stopped.push(Stopped {
            id: copy.id.clone(),
            name: copy.name.clone(),
            was_running: copy.is_running(),
            policy: policy.clone(),
        });
        if is_armed(&policy) {
            self.arm(&copy.id, &copy.name, &json!({"Name": "no"}))
                .await?;
        }
        let patience = timeout_of(&settings).min(STOP_TIMEOUT_MAX).as_secs();
        let path = format!("/containers/{}/stop?t={patience}", copy.id);
        let answer = engine.call(Method::POST, &path, None).await?;
        if answer.status != 404 {
            engine.good(answer, &format!("stop the old container {}", copy.name))?;
        }
        let after = engine.inspect(&copy.id).await?;
        let runs = after.is_some_and(|after| after["State"]["Running"] == true);
        if runs {
            return Err(Obstacle::failed(format!(
                "the old container {} does not end; see which of its processes hangs in the kernel (docker top {})",
                copy.name, copy.name
            )));
        }
        Ok(())
    }

    async fn arm(&self, id: &str, name: &str, policy: &Value) -> Result<(), Obstacle> {
        let path = format!("/containers/{id}/update");
        let body = json!({"RestartPolicy": policy});
        let answer = self.engine.call(Method::POST, &path, Some(&body)).await?;
        // It is gone, or the engine is a Podman before 5.1: that starts nothing again which was asked to stop.
        if answer.status == 404 {
            return Ok(());
        }
        let what = format!("change the restart policy of {name}");
        self.engine.good(answer, &what).map(drop)
    }

    async fn remove(&self, id: &str) -> Result<(), Obstacle> {
        let path = format!("/containers/{id}?force=true");
        let answer = self.engine.call(Method::DELETE, &path, None).await?;
        if answer.status == 404 {
            return Ok(());
        }
        self.engine
            .good(answer, "remove the half-made replacement")
            .map(drop)
    }

    /// As it was before. What was done, or what could not be.
    async fn undo(self) -> Result<String, String> {
        let text = |obstacle: Obstacle| match obstacle {
            Obstacle::NotHere(why)
            | Obstacle::Gone(why)
            | Obstacle::Failed(why)
            | Obstacle::Later(why, _) => why,
        };
        let mut done = Vec::new();
        if let Some(id) = &self.made {
            self.remove(id).await.map_err(text)?;
            done.push("the replacement was removed".to_owned());
        }
        for old in &self.stopped {
            if is_armed(&old.policy) {
                self.arm(&old.id, &old.name, &old.policy)
                    .await
                    .map_err(text)?;
            }
            if old.was_running {
                let path = format!("/containers/{}/start", old.id);
                let answer = self.engine.call(Method::POST, &path, None).await;
                let what = format!("start the old container {} again", old.name);
                answer
                    .and_then(|answer| self.engine.good(answer, &what))
                    .map_err(text)?;
                done.push(format!("{} was started again", old.name));
            }
        }
        if done.is_empty() {
            done.push("nothing was changed".to_owned());
        }
        Ok(done.join(", "))
    }
}

fn is_armed(policy: &Value) -> bool {
    !matches!(policy["Name"].as_str(), None | Some("" | "no"))
}
