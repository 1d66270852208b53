import type { Words } from "../packet/address.ts"

/** Later fragments follow their first one for this long, in milliseconds. */
const fragmentLifetime = 5_000
/** Fragmented datagrams of one client under way in one direction; the oldest makes room. */
const fragmentedDatagrams = 32

export const fromClient = 0
export const toClient = 1
export type Direction = typeof fromClient | typeof toClient

/** What of a packet says where it belongs in its datagram. */
export interface FragmentView {
  readonly protocol: number
  readonly identification: number
  readonly fragmentOffset: number
  readonly fragmentEnd: number
}

/**
 * Which way later fragments go: that of the first one of their datagram, which carries the ports and was let through by
 * the ordinary rules. A datagram is known by client, direction, the address at its other end, protocol and identification
 * (RFC 791 §3.2, RFC 8200 §4.5). Fragments must come in order, each beginning where the one before ended: so none can
 * overlap what was judged (RFC 1858, RFC 3128, RFC 5722), and one that overtook its predecessor costs its datagram.
 *
 * Clients are small numbers. `now` is monotonic milliseconds. A client's memory (3 KiB) is made at its first fragment.
 */
export class Fragments {
  private readonly rings: Array<Int32Array | undefined> = []

  /** The first fragment of a datagram goes through: later ones get `replacement` where it had `address`. */
  begin(
    direction: Direction,
    client: number,
    view: FragmentView,
    address: Readonly<Words>,
    replacement: Readonly<Words>,
    now: number
  ): void {
    const ring = this.ringOf(direction, client)
    let at = find(ring, view, address)
    if (at < 0) {
      at = ring[0]!
      const next = at + SIZE
      ring[0] = next < ring.length ? next : 1
    }
    ring[at + IDENTIFICATION] = view.identification
    ring[at + PROTOCOL] = view.protocol
    ring[at + ADDRESS] = address.w0
    ring[at + ADDRESS + 1] = address.w1
    ring[at + ADDRESS + 2] = address.w2
    ring[at + ADDRESS + 3] = address.w3
    ring[at + REPLACEMENT] = replacement.w0
    ring[at + REPLACEMENT + 1] = replacement.w1
    ring[at + REPLACEMENT + 2] = replacement.w2
    ring[at + REPLACEMENT + 3] = replacement.w3
    ring[at + END] = view.fragmentEnd
    ring[at + SINCE] = now
  }

  /** Fills `replacement` for a later fragment. False: its first one is not known, or it does not come next. */
  follow(
    direction: Direction,
    client: number,
    view: FragmentView,
    address: Readonly<Words>,
    replacement: Words,
    now: number
  ): boolean {
    const ring = this.rings[client * 2 + direction]
    if (ring === undefined) return false
    const at = find(ring, view, address)
    if (at < 0 || ring[at + END] !== view.fragmentOffset) return false
    // Whole numbers of 32 bits wrap alike.
    const age = ((now | 0) - ring[at + SINCE]!) | 0
    if (age < 0 || age >= fragmentLifetime) return false
    ring[at + END] = view.fragmentEnd
    replacement.w0 = ring[at + REPLACEMENT]!
    replacement.w1 = ring[at + REPLACEMENT + 1]!
    replacement.w2 = ring[at + REPLACEMENT + 2]!
    replacement.w3 = ring[at + REPLACEMENT + 3]!
    return true
  }

  /** What the client may reach has changed: what is under way ends. */
  forgetClient(client: number): void {
    this.rings[client * 2 + fromClient] = undefined
    this.rings[client * 2 + toClient] = undefined
  }

  private ringOf(direction: Direction, client: number): Int32Array {
    const known = this.rings[client * 2 + direction]
    if (known !== undefined) return known
    const ring = new Int32Array(1 + fragmentedDatagrams * SIZE)
    ring[0] = 1
    this.rings[client * 2 + direction] = ring
    return ring
  }
}

/** Where the datagram's record begins, or −1. */
const find = (ring: Int32Array, view: FragmentView, address: Readonly<Words>): number => {
  for (let at = 1; at < ring.length; at += SIZE) {
    if (
      ring[at + IDENTIFICATION] === view.identification &&
      ring[at + END] !== 0 &&
      ring[at + ADDRESS + 3] === address.w3 &&
      ring[at + PROTOCOL] === view.protocol &&
      ring[at + ADDRESS + 2] === address.w2 &&
      ring[at + ADDRESS + 1] === address.w1 &&
      ring[at + ADDRESS] === address.w0
    ) {
      return at
    }
  }
  return -1
}

/** A ring is the place of the next record, then the records; an end of 0 is an empty one. */
const IDENTIFICATION = 0
const PROTOCOL = 1
const END = 2
const SINCE = 3
const ADDRESS = 4
const REPLACEMENT = 8
const SIZE = 12
