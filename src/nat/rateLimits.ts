import { grownTimes } from "./slotLists.ts"

/** One token bucket per client (a small number), full at first. Refills continuously; allocates nothing per packet. */
export class RateLimits {
  private readonly perMillisecond: number
  private readonly burst: number
  private state = new Float64Array(64 * 2)

  constructor(options: { readonly perSecond: number; readonly burst: number }) {
    this.perMillisecond = options.perSecond / 1_000
    this.burst = options.burst
  }

  /** Takes a token; false: none is left. */
  take(client: number, now: number): boolean {
    if (client * 2 >= this.state.length) this.state = grownTimes(this.state, client * 2 + 2)
    const { state } = this
    // Tokens are stored as what is missing, so that zeroed memory is a full bucket.
    const missing = Math.max(0, state[client * 2]! - (now - state[client * 2 + 1]!) * this.perMillisecond)
    state[client * 2 + 1] = now
    const granted = missing + 1 <= this.burst + ROUNDING
    state[client * 2] = granted ? missing + 1 : missing
    return granted
  }

  forgetClient(client: number): void {
    if (client * 2 < this.state.length) this.state.fill(0, client * 2, client * 2 + 2)
  }
}

/** ICMP errors that the gateway sends to one client. */
export const icmpErrorLimit = { perSecond: 20, burst: 20 } as const

/** Notices of packets to proxy IPs that stand for nothing. */
export const unknownProxyLimit = { perSecond: 1, burst: 1 } as const

/** Packets of one client for the gateway itself other than questions over UDP: what is lost of TCP is sent again. */
export const gatewayPacketLimit = { perSecond: 1_000, burst: 2_000 } as const

/** In-tunnel control events of one client: one per name that it uses, each time that it asks DNS for it. */
export const controlEventLimit = { perSecond: 100, burst: 400 } as const

/** Peers behind a relay that one client names: a relay has 4,096 channel numbers for all, each taken for 15 minutes. */
export const relayPeerLimit = { perSecond: 64 / 900, burst: 64 } as const

/** `Traffic` notices about one client's mappings: what main may have to decide about. */
export const trafficLimit = { perSecond: 128, burst: 1_024 } as const

const ROUNDING = 1e-9
