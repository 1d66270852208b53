/** One address of a relay, and what Binding over it taught us: whether it answers, and our own addresses. */
import { copyWords, isMulticast, isUnspecified } from "../packet/address.ts"
import { type Endpoint, makeEndpoint } from "../packet/endpoint.ts"
import { sameTransport, type TransportAddress } from "../packet/transportAddress.ts"

/** An address of ours that a relay taught us. `base` is where we really send from (RFC 8445 §5.1.1). */
export interface LearnedCandidate {
  readonly kind: "host" | "srflx" | "relay"
  readonly address: TransportAddress
  readonly base: TransportAddress
}

/** Between Bindings: keeps the NAT's hole open, and tells when our address changed. */
const keepaliveInterval = 25_000

export class RelayAddress {
  readonly address: TransportAddress
  readonly endpoint: Readonly<Endpoint>
  answers = false
  /** Bindings in a row without an answer. */
  failures = 0
  /** When the next Binding is due; Infinity while one is under way. */
  bindAt = Infinity
  /** Our own address and the one that a NAT gave us; at most one of each kind. */
  candidates: ReadonlyArray<LearnedCandidate> = []
  private mapped: TransportAddress | undefined

  constructor(address: TransportAddress) {
    const endpoint = makeEndpoint()
    copyWords(address.address, endpoint.remote)
    endpoint.port = address.port
    this.address = address
    this.endpoint = endpoint
  }

  /**
   * It answered: `mapped` is our address as it sees it, `local` where the answer arrived. True when it saw another address
   * before: whatever it keeps for us is kept for that one.
   */
  answered(mapped: TransportAddress | undefined, local: TransportAddress, now: number): boolean {
    const moved = this.mapped !== undefined && mapped !== undefined && !sameTransport(this.mapped, mapped)
    const base = isUsable(local) ? local : mapped
    const candidates: Array<LearnedCandidate> = []
    if (isUsable(local)) candidates.push({ kind: "host", address: local, base: local })
    if (
      mapped !== undefined &&
      base !== undefined &&
      isUsable(mapped) &&
      !(isUsable(local) && sameTransport(local, mapped))
    ) {
      candidates.push({ kind: "srflx", address: mapped, base })
    }
    this.answers = true
    this.failures = 0
    this.bindAt = now + keepaliveInterval
    this.mapped = mapped
    this.candidates = candidates
    return moved
  }

  /** It did not answer; to be asked again after `wait`, or when the next Binding is due anyway. */
  silent(wait: number, now: number): void {
    this.answers = false
    this.failures++
    this.bindAt = now + Math.min(wait, keepaliveInterval)
    this.mapped = undefined
    this.candidates = []
  }
}

/** An address and port that somebody can have. */
export const isUsable = ({ address, port }: TransportAddress): boolean =>
  port > 0 && !isUnspecified(address) && !isMulticast(address)

/** What is in `a` and not in `b`. */
export const candidatesWithout = (
  a: ReadonlyArray<LearnedCandidate>,
  b: ReadonlyArray<LearnedCandidate>
): ReadonlyArray<LearnedCandidate> =>
  a.filter(
    (one) =>
      !b.some(
        (other) =>
          one.kind === other.kind && sameTransport(one.address, other.address) && sameTransport(one.base, other.base)
      )
  )
