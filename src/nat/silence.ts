import { protocolUdp } from "../packet/protocols.ts"
import { grownInts, grownTimes, SlotLists } from "./slotLists.ts"

/** A session without any reply is unanswered this long after its first packet. */
const firstReplyWithin = 3_000

/** Silence of a confirmed session under outgoing traffic, and the grace that the packet which ends it gets. */
export const confirmedSilence = 120_000
const confirmedGrace = 1_000

/** UDP ports per mapping that are remembered to have replied. */
const rememberedPorts = 8

/**
 * Which mappings send without being answered (`Traffic: Unanswered`). A mapping waits from the first packet of a
 * session, or from a packet on a confirmed session that has been silent for 120 s; any reply of the mapping ends the
 * waiting. A session without reply that is older than the mapping's last reply counts as confirmed by it. Each wait is
 * reported once; later packets of a session that is still without reply start another, so an idle name is never
 * reported. UDP counts only to ports that have replied once (syslog and the like never do; of more
 * than eight ports of a mapping the one learned first is forgotten). Work is per packet or per report, memory per
 * mapping.
 */
export class Silence {
  private links = new Int32Array(64 * LINKS)
  private flags = new Int32Array(64)
  private times = new Float64Array(64 * TIMES)
  private ports = new Int32Array(64 * PORTS)
  private readonly unconfirmed = new SlotLists(this.links, LINKS, 0, 1)
  private readonly confirmed = new SlotLists(this.links, LINKS, 2, 1)

  /**
   * A packet of a session left for the mapping's real address. `firstOutAt` and `lastInAt` are the session's
   * (`lastInAt` −1: unconfirmed); `port` is the real port, 0 for echo.
   */
  outbound(mapping: number, protocol: number, port: number, firstOutAt: number, lastInAt: number, now: number): void {
    if (lastInAt >= 0 && now - lastInAt < confirmedSilence) return
    this.makeRoomFor(mapping)
    if (protocol === protocolUdp && !this.remembers(mapping, port)) return
    const flags = this.flags[mapping]!
    const lastReply = this.times[mapping * TIMES + LAST_REPLY]!
    if (lastInAt < 0 && firstOutAt >= lastReply) {
      if ((flags & WAITS_FIRST) !== 0) return
      this.flags[mapping] = flags | WAITS_FIRST
      this.times[mapping * TIMES + FIRST_SINCE] = now
      this.unconfirmed.addFirst(0, mapping)
    } else {
      if ((flags & WAITS_CONFIRMED) !== 0 || (lastInAt < 0 && now - lastReply < confirmedSilence)) return
      this.flags[mapping] = flags | WAITS_CONFIRMED
      this.times[mapping * TIMES + CONFIRMED_SINCE] = now
      this.confirmed.addFirst(0, mapping)
    }
  }

  /** A packet came back. True when this is the first reply since something was reported: time for `Traffic: Answered`. */
  inbound(mapping: number, protocol: number, port: number, now: number): boolean {
    this.makeRoomFor(mapping)
    this.times[mapping * TIMES + LAST_REPLY] = now
    if (protocol === protocolUdp && !this.remembers(mapping, port)) this.remember(mapping, port)
    const flags = this.flags[mapping]!
    if (flags === 0) return false
    this.stopWaiting(mapping)
    return (flags & REPORTED) !== 0
  }

  /** Notes that the engine reported trouble of another kind (unmapped, unreachable), so that the next reply is told. */
  reported(mapping: number): void {
    this.makeRoomFor(mapping)
    this.flags[mapping]! |= REPORTED
  }

  /** The next mapping whose traffic is unanswered, or −1. Call until −1; costs what is due. */
  next(now: number): number {
    const first = this.unconfirmed.last(0)
    if (first >= 0 && now - this.times[first * TIMES + FIRST_SINCE]! >= firstReplyWithin) return this.report(first)
    const later = this.confirmed.last(0)
    if (later >= 0 && now - this.times[later * TIMES + CONFIRMED_SINCE]! >= confirmedGrace) return this.report(later)
    return -1
  }

  forgetMapping(mapping: number): void {
    if (mapping >= this.flags.length) return
    this.stopWaiting(mapping)
    this.times.fill(0, mapping * TIMES, mapping * TIMES + TIMES)
    this.ports.fill(0, mapping * PORTS, mapping * PORTS + PORTS)
  }

  private report(mapping: number): number {
    this.stopWaiting(mapping)
    this.flags[mapping] = REPORTED
    return mapping
  }

  private stopWaiting(mapping: number): void {
    const flags = this.flags[mapping]!
    if ((flags & WAITS_FIRST) !== 0) this.unconfirmed.remove(0, mapping)
    if ((flags & WAITS_CONFIRMED) !== 0) this.confirmed.remove(0, mapping)
    this.flags[mapping] = 0
  }

  private remembers(mapping: number, port: number): boolean {
    const end = mapping * PORTS + rememberedPorts
    for (let i = mapping * PORTS; i < end; i++) {
      if (this.ports[i] === port + 1) return true
    }
    return false
  }

  private remember(mapping: number, port: number): void {
    const at = mapping * PORTS
    const turn = this.ports[at + rememberedPorts]!
    this.ports[at + turn] = port + 1
    this.ports[at + rememberedPorts] = (turn + 1) % rememberedPorts
  }

  private makeRoomFor(mapping: number): void {
    if (mapping < this.flags.length) return
    this.flags = grownInts(this.flags, mapping + 1)
    const size = this.flags.length
    this.links = grownInts(this.links, size * LINKS)
    this.times = grownTimes(this.times, size * TIMES)
    this.ports = grownInts(this.ports, size * PORTS)
    this.unconfirmed.adopt(this.links)
    this.confirmed.adopt(this.links)
  }
}

const LINKS = 4
/** The ports, each plus one, and whose turn it is to be replaced. */
const PORTS = rememberedPorts + 1
const TIMES = 3
const FIRST_SINCE = 0
const CONFIRMED_SINCE = 1
const LAST_REPLY = 2

const WAITS_FIRST = 1
const WAITS_CONFIRMED = 2
const REPORTED = 4
