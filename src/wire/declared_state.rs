//! The state that an agent declares for itself: one vocabulary for the contract, which parses it, and for the verdict, which
//! weighs it against what is observed.

/// What the agent says it is doing (`state=` of the contract).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclaredState {
    /// At work.
    Working,
    /// A person must answer.
    WaitingInput,
    /// A model must answer.
    WaitingModel,
    /// Nothing to do.
    Idle,
    /// The work is done.
    Done,
}

impl DeclaredState {
    const ALL: [Self; 5] = [
        Self::Working,
        Self::WaitingInput,
        Self::WaitingModel,
        Self::Idle,
        Self::Done,
    ];

    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::WaitingInput => "waiting_input",
            Self::WaitingModel => "waiting_model",
            Self::Idle => "idle",
            Self::Done => "done",
        }
    }

    /// The state with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}
