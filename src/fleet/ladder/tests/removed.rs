//! A container that was removed, with the agent in it.

use super::*;

#[test]
fn an_agent_whose_container_was_removed_is_replaced_though_nothing_reported_its_end() {
    for (answer, next) in [
        (
            Performed::Gone("it was removed".to_owned()),
            Some(Rung::Replace),
        ),
        (Performed::NotApplicable("another host's".to_owned()), None),
    ] {
        let (mut story, _) = Story::of(Facts {
            reason: Some(Reason::HeartbeatLost),
            sidecar_answers: false,
            proof_of_death: false,
            ..killed()
        });
        let ticket = story.ticket(Rung::Docker);
        story.give(LadderInput::Claimed(ticket.clone(), Claim::Granted));
        let effects = story.give(LadderInput::Performed(ticket, answer));
        assert_eq!(claims(&effects), Vec::from_iter(next));
    }
}
