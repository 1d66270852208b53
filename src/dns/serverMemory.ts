/**
 * What is remembered of each DNS server beyond one question, so that a peculiarity costs once and not at each question.
 * All times are monotonic milliseconds and come in as arguments.
 */
import type { ResolverOrder } from "../model/ResolverSet.ts"
import type { UpstreamServer } from "./Upstream.ts"

/** One server. Times since when something holds are `null` where it does not. */
export interface ServerKnowledge {
  /** The last answer of any kind, and the last one by datagram. */
  readonly answeredAt: number | null
  readonly datagramAt: number | null
  /** Smoothed, in milliseconds (7/8 of the old, as in RFC 6298). */
  readonly latencyMs: number | null
  /** It let a question die where another server answered, or nothing gets to it. */
  readonly silentSince: number | null
  /** It has answered a question with EDNS. */
  readonly ednsWorks: boolean
  /** It answers without EDNS only. */
  readonly noEdnsSince: number | null
  /** It answers over TCP, not over UDP. */
  readonly tcpOnlySince: number | null
  /** It answers truncated over UDP, and not over TCP. */
  readonly noTcpSince: number | null
  /** It does not keep the case of a question (see dns0x20). */
  readonly changesCaseSince: number | null
}

/** What a probe, a question in the background that nobody waits for, tries to find out. */
export type ProbeAim =
  /** Whether a silent server is back, or how quick a living one is. */
  | "Life"
  /** Whether it answers by datagram, and with EDNS, after all. */
  | "Datagrams"

export interface Answered {
  readonly latencyMs: number
  readonly via: "datagram" | "stream"
  /** The question had EDNS and the answer is no complaint about it. */
  readonly withEdns: boolean
}

/** The servers of 8 times as many sets as anybody has; the one that was not used for longest goes first. */
const maxServers = 256

/** A peculiarity is believed for so long, then looked at again (unbound's infra-host-ttl). */
const believedMs = 900_000

/** A silent server is probed after so long at first, doubling up to the most; only while its set is asked. */
const firstProbeMs = 1_000
const maxProbeMs = 15_000

/** A silent server is asked again so often, however many questions wait for it: one answer tells all that it is back. */
const resendGapMs = 50

/** The latency of a living server that others outrun is measured again after so long. */
const measuredMs = 30_000

const nothingKnown: ServerKnowledge = {
  answeredAt: null,
  datagramAt: null,
  latencyMs: null,
  silentSince: null,
  ednsWorks: false,
  noEdnsSince: null,
  tcpOnlySince: null,
  noTcpSince: null,
  changesCaseSince: null
}

type Remembered = { -readonly [K in keyof ServerKnowledge]: ServerKnowledge[K] } & {
  probing: boolean
  probeAt: number
  probeGapMs: number
  resendAt: number
  /** That EDNS fails was seen once; packets get lost, too. */
  doubtsEdns: boolean
}

/** Keys are texts of servers (`formatServer`): a server of two sets is known once. */
export class ServerMemory {
  readonly #servers = new Map<string, Remembered>()

  of(key: string): ServerKnowledge {
    return this.#servers.get(key) ?? nothingKnown
  }

  get size(): number {
    return this.#servers.size
  }

  /** All that were asked lately. */
  list(now: number): ReadonlyArray<UpstreamServer> {
    return [...this.#servers].map(([server, known]) => {
      const { answeredAt, changesCaseSince, latencyMs, noEdnsSince, noTcpSince, silentSince, tcpOnlySince } = known
      const oddities = [
        ...(noEdnsSince === null ? [] : ["no EDNS"]),
        ...(tcpOnlySince === null ? [] : ["TCP only"]),
        ...(isBelieved(noTcpSince, now) ? ["no TCP"] : []),
        ...(isBelieved(changesCaseSince, now) ? ["changes case"] : [])
      ]
      return { server, answeredAt, silentSince, latencyMs, oddities }
    })
  }

  /**
   * In which order the servers of a set are asked, as indices: those that live and those of which nothing is known
   * before silent ones; then as listed, or the quickest first, unmeasured ones behind those.
   *
   * @param first where the list begins (`options rotate` of resolv.conf)
   */
  order(keys: ReadonlyArray<string>, order: ResolverOrder, first = 0): ReadonlyArray<number> {
    const rank = keys.map((key) => {
      const { latencyMs, silentSince } = this.of(key)
      if (silentSince !== null) return Infinity
      return order === "fallback" ? 0 : (latencyMs ?? Number.MAX_VALUE)
    })
    const listed = keys.map((_, i) => (i + first) % keys.length)
    // A stable sort: infinities are equal.
    return listed.sort((a, b) => (rank[a] === rank[b] ? 0 : rank[a]! - rank[b]!))
  }

  /** It said something, be it a refusal. */
  answered(key: string, { latencyMs, via, withEdns }: Answered, now: number): void {
    const server = this.#touch(key)
    server.answeredAt = now
    server.latencyMs = server.latencyMs === null ? latencyMs : server.latencyMs * 0.875 + latencyMs * 0.125
    server.silentSince = null
    if (via === "datagram") {
      server.datagramAt = now
      server.tcpOnlySince = null
    }
    if (withEdns) {
      server.ednsWorks = true
      server.noEdnsSince = null
      server.doubtsEdns = false
    }
  }

  /** It let a question of `askedAt` die, or cannot be reached; what it has answered since counts more. */
  silent(key: string, askedAt: number, now: number): void {
    const server = this.#touch(key)
    if (server.answeredAt !== null && server.answeredAt >= askedAt) return
    if (server.silentSince !== null) return
    server.silentSince = now
    server.probeAt = now
    server.probeGapMs = firstProbeMs
  }

  /**
   * When a question that it has let wait may be sent again, a time that nobody else gets: now, where it is not silent.
   * `null`: not until `latest`.
   */
  reserve(key: string, now: number, latest: number): number | null {
    const server = this.#touch(key)
    if (server.silentSince === null) return now
    const at = Math.max(now, server.resendAt)
    if (at > latest) return null
    server.resendAt = at + resendGapMs
    return at
  }

  /** It answered without EDNS what it did not, or with a complaint, with it. Looked at again at once, then seldom. */
  failsEdns(key: string, now: number): void {
    const server = this.#touch(key)
    server.doubtsEdns = server.noEdnsSince === null
    server.noEdnsSince = now
    server.ednsWorks = false
  }

  /** It answered over TCP what it did not over UDP since `askedAt`. */
  failsDatagrams(key: string, askedAt: number, now: number): void {
    const server = this.#touch(key)
    if (server.datagramAt === null || server.datagramAt < askedAt) server.tcpOnlySince = now
  }

  failsTcp(key: string, now: number): void {
    this.#touch(key).noTcpSince = now
  }

  worksOverTcp(key: string): void {
    this.#touch(key).noTcpSince = null
  }

  changesCase(key: string, now: number): void {
    this.#touch(key).changesCaseSince = now
  }

  /** What to find out of a server that its set does without just now; `null` for nothing. Call `probed` at its end. */
  startProbe(key: string, order: ResolverOrder, now: number): ProbeAim | null {
    const server = this.#servers.get(key)
    const aim = aimOf(server ?? nothingKnown, server?.probeAt ?? 0, server?.doubtsEdns ?? false, order, now)
    if (aim === null || server?.probing === true) return null
    const probed = this.#touch(key)
    probed.probing = true
    probed.doubtsEdns = false
    if (aim === "Datagrams") {
      // Whatever the probe says, it holds for the same time again.
      if (probed.noEdnsSince !== null) probed.noEdnsSince = now
      if (probed.tcpOnlySince !== null) probed.tcpOnlySince = now
    }
    return aim
  }

  probed(key: string, now: number): void {
    const server = this.#servers.get(key)
    if (server === undefined) return
    server.probing = false
    server.probeAt = now + server.probeGapMs
    server.probeGapMs = Math.min(server.probeGapMs * 2, maxProbeMs)
  }

  #touch(key: string): Remembered {
    const known = this.#servers.get(key)
    if (known !== undefined) this.#servers.delete(key)
    else if (this.#servers.size >= maxServers) this.#servers.delete(this.#servers.keys().next().value!)
    const server = known ?? {
      ...nothingKnown,
      probing: false,
      probeAt: 0,
      probeGapMs: firstProbeMs,
      resendAt: Number.NEGATIVE_INFINITY,
      doubtsEdns: false
    }
    this.#servers.set(key, server)
    return server
  }
}

/** Whether what was learnt then is still believed. */
export const isBelieved = (since: number | null, now: number): boolean => since !== null && now - since < believedMs

const aimOf = (
  { answeredAt, noEdnsSince, silentSince, tcpOnlySince }: ServerKnowledge,
  probeAt: number,
  doubtsEdns: boolean,
  order: ResolverOrder,
  now: number
): ProbeAim | null => {
  if (silentSince !== null) return now >= probeAt ? "Life" : null
  const isOld = (since: number | null): boolean => since !== null && !isBelieved(since, now)
  if (doubtsEdns || isOld(noEdnsSince) || isOld(tcpOnlySince)) return "Datagrams"
  if (order === "fallback") return null
  return now - (answeredAt ?? Number.NEGATIVE_INFINITY) >= measuredMs && now >= probeAt ? "Life" : null
}
