/** Which server of an exchange is asked next, and how. Pure; `now` is monotonic milliseconds. */
import type { Ask, AskedServer } from "./askedServer.ts"
import type { AskPlan } from "./askPlan.ts"
import type { ProbeAim, ServerMemory } from "./serverMemory.ts"

/** A silent server's turn comes after so many of each living one. */
const silentHandicap = 2

export const isSilent = (memory: ServerMemory, { key }: AskedServer): boolean => memory.of(key).silentSince !== null

export const isLiving = (memory: ServerMemory, { key }: AskedServer): boolean => {
  const { answeredAt, silentSince } = memory.of(key)
  return silentSince === null && answeredAt !== null
}

/** Whose turn it is: the first in order of those that had the fewest. */
export const nextServer = (
  peers: ReadonlyArray<AskedServer>,
  plan: AskPlan,
  memory: ServerMemory
): AskedServer | null => {
  let best: AskedServer | null = null
  const turns = (peer: AskedServer): number => peer.asked + (isSilent(memory, peer) ? silentHandicap : 0)
  for (const peer of peers) {
    if (peer.failure !== null || peer.truncated || peer.asked >= plan.attempts) continue
    if (peer.server.transport !== "udp" && peer.streams > 0) continue
    if (best === null || turns(peer) < turns(best)) best = peer
  }
  return best
}

/** The next ways, mostly one, to ask a server that has let the `before` earlier turns die. */
export const waysToAsk = (
  peer: AskedServer,
  before: number,
  probe: ProbeAim | null,
  memory: ServerMemory
): ReadonlyArray<Pick<Ask, "via" | "edns" | "cased">> => {
  const { ednsWorks, noEdnsSince, tcpOnlySince } = memory.of(peer.key)
  const edns = !peer.plain && (noEdnsSince === null || probe === "Datagrams")
  const stream = { via: "stream", edns, cased: false } as const
  if (peer.server.transport !== "udp") return [stream]
  // What is known to do EDNS has one more try before anything is held to be the reason.
  const step = before - (ednsWorks && isLiving(memory, peer) ? 1 : 0)
  if (probe === "Datagrams" || step <= 0) {
    return [{ via: probe === "Datagrams" || tcpOnlySince === null ? "datagram" : "stream", edns, cased: true }]
  }
  const datagram = { via: "datagram", edns: edns && step !== 1, cased: true } as const
  // Beside it, not instead: a server that is just coming back must not miss a turn.
  return step === 2 ? [stream, datagram] : [datagram]
}

/**
 * Whether a server that is listed before this one may still know better: only where it was asked a moment ago, since
 * nothing was known of it. What stands second is often a public server, which knows no private name.
 */
export const mayBeOverruled = (
  by: AskedServer,
  peers: ReadonlyArray<AskedServer>,
  plan: AskPlan,
  memory: ServerMemory,
  now: number
): boolean =>
  plan.order === "fallback" &&
  peers
    .slice(0, peers.indexOf(by))
    .some(
      (peer) =>
        peer.asked > 0 &&
        !peer.heard &&
        peer.failure === null &&
        !isSilent(memory, peer) &&
        now - peer.askedAt < plan.resendMs
    )
