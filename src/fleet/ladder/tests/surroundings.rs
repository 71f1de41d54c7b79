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
fn an_exclusive_agent_is_replaced_once_its_old_copy_has_ended_by_itself() {
    let (mut story, _) = Story::of(Facts {
        reason: Some(Reason::HeartbeatLost),
        sidecar_answers: false,
        proof_of_death: false,
        exclusive: true,
        silent: Duration::from_secs(100),
        ..killed()
    });
    let ticket = story.ticket(Rung::Docker);
    story.give(LadderInput::Claimed(ticket.clone(), Claim::Granted));
    let no_container = Performed::NotApplicable("no such container".to_owned());
    let effects = story.give(LadderInput::Performed(ticket, no_container));
    assert_eq!(claims(&effects), []);
    story.facts.borrow_mut().silent = Duration::from_secs(150);
    assert_eq!(claims(&story.after(50)), [Rung::Replace]);
}
