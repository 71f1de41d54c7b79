//! What the fleet page shows before the first agent.

use maud::{Markup, html};

/// How to watch a first agent.
pub(super) fn empty() -> Markup {
    let command = |text: &str| {
        html! {
            div.cmd {
                code { (text) }
                button.quiet.copy type="button" hidden aria-label={ "Copy: " (text) } { "Copy" }
            }
        }
    };
    html! {
        div.head {
            h1 { "No agent has been heard yet" }
            p.sub { "Start one under hbsidecar. It appears here within a second of its start, without a reload." }
        }
        section aria-labelledby="e1" {
            div.bar { h2 #e1 { "Watch your first agent" } }
            div.cards {
                div.panel.body {
                    h3 { "In your terminal" }
                    p { "Put it in front of the command you already use. Your terminal, keys and exit code stay as they are." }
                    (command("hbsidecar -- claude")) (command("hbsidecar -- python agent.py"))
                }
                div.panel.body {
                    h3 { "Already running" }
                    p { "Attach to it. Nothing in the agent changes, and it is not restarted." }
                    (command("hbsidecar --pid 4711")) (command("hbsidecar --match 'node .*worker.js'"))
                }
                div.panel.body {
                    h3 { "No agent at hand" }
                    p { "Watch demo agents being killed, hung and crashed, and brought back. It takes about half a minute." }
                    (command("hbmonitor demo"))
                }
            }
        }
        section aria-labelledby="e2" {
            div.bar { h2 #e2 { "On another machine or in a container" } }
            div.panel.body {
                p { "Both programs meet in the store. Point the sidecar at the one this monitor uses." }
                (command("HB_REDIS_URL=redis://store.example:6379 hbsidecar --id writer-1 -- node writer.js"))
                p { "Say what the agent is doing from any language: one line to its socket." }
                (command("hbsidecar notify task='index repo' progress=10"))
            }
        }
        section aria-labelledby="e3" {
            div.bar { h2 #e3 { "It does not appear?" } }
            div.panel.body {
                dl.kv {
                    dt { "Ask the sidecar whether it gets through" } dd { code { "hbsidecar healthcheck --beats" } }
                    dt { "See what hb thinks of a process, without a store" } dd { code { "hbsidecar diagnose PID" } }
                }
            }
        }
    }
}
