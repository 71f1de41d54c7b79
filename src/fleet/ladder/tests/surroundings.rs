//! Agents in containers and pods: what restarts or replaces what surrounds them.

use super::*;

fn hung_in_a_pod() -> Facts {
    Facts {
        runtime: RuntimeKind::Kubernetes,
        reason: Some(Reason::Hung),
        proof_of_death: false,
        pod_restart: true,
        ..killed()
    }
}

#[test]
fn a_pod_that_declares_it_is_restarted_in_place_before_it_is_evicted() {
    let (mut story, effects) = Story::of(hung_in_a_pod());
    assert_eq!(claims(&effects), [Rung::Sidecar]);
    for (rung, next) in [(Rung::Sidecar, Rung::Pod), (Rung::Pod, Rung::Kubernetes)] {
        story.climb(rung);
        assert_eq!(claims(&story.after(120)), [next]);
    }
}

#[test]
fn a_pod_that_does_not_declare_it_or_whose_sidecar_is_silent_is_evicted() {
    let undeclared = Facts {
        pod_restart: false,
        ..hung_in_a_pod()
    };
    let (mut story, _) = Story::of(undeclared);
    story.climb(Rung::Sidecar);
    assert_eq!(claims(&story.after(120)), [Rung::Kubernetes]);
    let silent = Facts {
        sidecar_answers: false,
        ..hung_in_a_pod()
    };
    assert_eq!(claims(&Story::of(silent).1), [Rung::Kubernetes]);
}

#[test]
fn a_silent_agent_without_proof_of_death_gets_no_replacement() {
    let (mut story, effects) = Story::of(Facts {
        reason: Some(Reason::HeartbeatLost),
        sidecar_answers: false,
        proof_of_death: false,
        ..killed()
    });
    assert_eq!(claims(&effects), [Rung::Docker]);
    story.climb(Rung::Docker);
    let effects = story.after(120);
    assert_eq!(page(&effects), Some("nothing that hb may do has helped"));
}

#[test]
fn what_a_restart_started_may_work_out_of_reach_of_the_store_and_is_not_replaced() {
    let dead = Facts {
        sidecar_answers: false,
        ..killed()
    };
    let (mut story, _) = Story::of(dead.clone());
    story.climb(Rung::Docker);
    let effects = story.after(120);
    assert_eq!(page(&effects), Some("nothing that hb may do has helped"));
    let climbed = Climbed {
        ticket: story.ticket(Rung::Docker),
        settled: true,
        unseen: true,
    };
    let (_, effects) = Story::with(dead, Policy::default(), &[climbed]);
    assert_eq!(claims(&effects), [], "for a monitor that starts later too");
}

#[test]
fn an_agent_whose_container_cannot_be_started_or_that_ended_again_is_replaced() {
    let dead = Facts {
        sidecar_answers: false,
        ..killed()
    };
    let (mut story, _) = Story::of(dead.clone());
    let ticket = story.ticket(Rung::Docker);
    story.give(LadderInput::Claimed(ticket.clone(), Claim::Granted));
    let refused = Performed::Failed("the engine cannot start it".to_owned());
    let effects = story.give(LadderInput::Performed(ticket, refused));
    assert_eq!(claims(&effects), [Rung::Replace]);

    let (mut story, _) = Story::of(dead);
    story.climb(Rung::Docker);
    story.facts.borrow_mut().incarnation += 1;
    assert_eq!(claims(&story.after(120)), [Rung::Replace]);
}

/// An exclusive agent that has been silent for so many seconds, after the engine had no container of it.
fn exclusive_without_a_container(silent: u64, interval: Duration) -> (Story, Vec<LadderEffect>) {
    let (mut story, _) = Story::of(Facts {
        reason: Some(Reason::HeartbeatLost),
        sidecar_answers: false,
        proof_of_death: false,
        exclusive: true,
        silent: Duration::from_secs(silent),
        interval,
        ..killed()
    });
    let ticket = story.ticket(Rung::Docker);
    story.give(LadderInput::Claimed(ticket.clone(), Claim::Granted));
    let no_container = Performed::NotApplicable("no such container".to_owned());
    let effects = story.give(LadderInput::Performed(ticket, no_container));
    (story, effects)
}

#[test]
fn an_exclusive_agent_with_a_long_interval_has_ended_by_itself_later() {
    let (mut story, effects) = exclusive_without_a_container(280, Duration::from_secs(90));
    assert_eq!(claims(&effects), []);
    story.facts.borrow_mut().silent = Duration::from_secs(389);
    assert_eq!(claims(&story.after(109)), []);
    story.facts.borrow_mut().silent = Duration::from_secs(390);
    assert_eq!(claims(&story.after(1)), [Rung::Replace]);
}

#[test]
fn an_exclusive_agent_is_replaced_once_its_old_copy_has_ended_by_itself() {
    let (mut story, effects) = exclusive_without_a_container(100, killed().interval);
    assert_eq!(claims(&effects), []);
    story.facts.borrow_mut().silent = Duration::from_secs(150);
    assert_eq!(claims(&story.after(50)), [Rung::Replace]);
}
