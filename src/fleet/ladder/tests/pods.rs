//! The rungs of an agent in a pod.

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
