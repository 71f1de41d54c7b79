//! The audit: one entry of the stream `hb:audit` for each thing that a person asked for.

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, Unix milliseconds of the store.
    pub at_ms: u64,
    /// Who, as the client names its user: the token does not tell users apart.
    pub who: String,
    /// The client's address.
    pub from: String,
    /// What: `restart recover stop forget ack silence unsilence pause resume`.
    pub what: &'static str,
    /// About which agent; empty for the whole fleet.
    pub agent: String,
    /// `accepted` or `refused`.
    pub outcome: &'static str,
    /// For people.
    pub detail: String,
}

impl AuditEntry {
    /// The stream entry's fields and values.
    pub fn encode(&self) -> [(&'static str, String); 7] {
        [
            ("at", self.at_ms.to_string()),
            ("who", self.who.clone()),
            ("from", self.from.clone()),
            ("what", self.what.to_owned()),
            ("agent", self.agent.clone()),
            ("outcome", self.outcome.to_owned()),
            ("detail", self.detail.clone()),
        ]
    }
}
