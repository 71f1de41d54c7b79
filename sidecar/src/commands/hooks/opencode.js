// hb: reports to hbsidecar what opencode does. Written by `hbsidecar hooks install opencode`.
import { execFile } from "node:child_process"

const PROGRAM = "hbsidecar"

export const Hb = async () => {
  if (!process.env.HB_SOCKET) return {}
  // One report after the other; none of them delays or fails what opencode does.
  let last = Promise.resolve()
  const report = (...pairs) => {
    last = last.then(() => new Promise((done) => execFile(PROGRAM, ["notify", ...pairs], { timeout: 1000 }, () => done())))
  }
  // Subagents have sessions of their own: their end is not the end of the turn.
  const subagents = new Set()
  const events = {
    "session.created": ({ info }) => info?.parentID ? subagents.add(info.id) : report("ready=1", "state=idle"),
    "session.idle": ({ sessionID }) => subagents.has(sessionID) || report("task=", "state=idle"),
    "session.error": ({ sessionID, error }) => subagents.has(sessionID) || report(`error=${error?.name ?? "the turn failed"}`),
    "permission.asked": () => report("state=waiting_input"),
    "permission.updated": () => report("state=waiting_input"),
    "permission.replied": () => report("state=working"),
  }
  return {
    event: async ({ event }) => { events[event.type]?.(event.properties ?? {}) },
    "chat.message": async () => report("state=waiting_model"),
    "tool.execute.before": async ({ tool, callID }) => report("state=working", `task=${tool}`, `step=use ${callID}`),
    "tool.execute.after": async ({ callID }) => report("state=waiting_model", `step=result ${callID}`),
  }
}
