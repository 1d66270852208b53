/**
 * Refused packets as sums, by client, destination, protocol, port and reason, until they are told. Each client has rows of
 * its own: one that scans ports fills its rows, and what comes on top of them is one number; others lose nothing by it.
 * A packet allocates nothing.
 */
import type { Words } from "../../packet/address.ts"
import type { PacketView } from "../../packet/packetView.ts"
import { grownInts } from "../../nat/slotLists.ts"

/** Told apart per client and telling. */
const rowsPerClient = 16

interface RefusedSum {
  /** The number that `note` was given; −1: of several. */
  readonly reason: number
  readonly protocol: number
  readonly port: number
  readonly destination: Words
  readonly packets: number
}

export class Refusals {
  private readonly tables: Array<Int32Array | undefined> = []
  /** Clients with something to tell, the first one first, and how many they are. */
  private waiting = new Int32Array(64)
  private count = 0

  /** `reason` is any number from 0 up. */
  note(client: number, reason: number, view: Readonly<PacketView>): void {
    const table = (this.tables[client] ??= new Int32Array(HEADER + rowsPerClient * ROW))
    if (table[WAITS] === 0) this.wait(client, table)
    const flow = (view.protocol << 16) | (view.query ? 0 : view.destinationPort)
    const { destination } = view
    const end = HEADER + table[ROWS]! * ROW
    for (let at = HEADER; at < end; at += ROW) {
      if (
        table[at + FLOW] === flow &&
        table[at + REASON] === reason &&
        table[at + DESTINATION + 3] === destination.w3 &&
        table[at + DESTINATION + 2] === destination.w2 &&
        table[at + DESTINATION + 1] === destination.w1 &&
        table[at + DESTINATION] === destination.w0
      ) {
        table[at + PACKETS]!++
        return
      }
    }
    if (table[ROWS] === rowsPerClient) {
      table[FURTHER]!++
      return
    }
    table[ROWS]!++
    table[end + REASON] = reason
    table[end + FLOW] = flow
    table[end + DESTINATION] = destination.w0
    table[end + DESTINATION + 1] = destination.w1
    table[end + DESTINATION + 2] = destination.w2
    table[end + DESTINATION + 3] = destination.w3
    table[end + PACKETS] = 1
  }

  /** The sums of clients in the order of their first packet; who does not fit into `rows` has its turn next time. */
  take(rows: number, tell: (client: number, sum: RefusedSum) => void): void {
    let left = rows
    let done = 0
    for (; done < this.count && left > rowsPerClient; done++) {
      const client = this.waiting[done]!
      const table = this.tables[client]!
      left -= table[ROWS]! + 1
      for (let row = 0; row < table[ROWS]!; row++) {
        const at = HEADER + row * ROW
        tell(client, {
          reason: table[at + REASON]!,
          protocol: table[at + FLOW]! >>> 16,
          port: table[at + FLOW]! & 0xffff,
          destination: {
            w0: table[at + DESTINATION]!,
            w1: table[at + DESTINATION + 1]!,
            w2: table[at + DESTINATION + 2]!,
            w3: table[at + DESTINATION + 3]!
          },
          packets: table[at + PACKETS]!
        })
      }
      if (table[FURTHER]! > 0) tell(client, { ...further, packets: table[FURTHER]! })
      table.fill(0, 0, HEADER)
    }
    this.waiting.copyWithin(0, done, this.count)
    this.waiting.fill(0, (this.count -= done))
  }

  forgetClient(client: number): void {
    if (this.tables[client] === undefined) return
    this.tables[client] = undefined
    const at = this.waiting.subarray(0, this.count).indexOf(client)
    if (at < 0) return
    this.waiting.copyWithin(at, at + 1, this.count)
    this.waiting[--this.count] = 0
  }

  private wait(client: number, table: Int32Array): void {
    table[WAITS] = 1
    if (this.count === this.waiting.length) this.waiting = grownInts(this.waiting, this.count + 1)
    this.waiting[this.count++] = client
  }
}

const further: Omit<RefusedSum, "packets"> = {
  reason: -1,
  protocol: 0,
  port: 0,
  destination: { w0: 0, w1: 0, w2: 0, w3: 0 }
}

const HEADER = 3
const WAITS = 0
const ROWS = 1
const FURTHER = 2

const ROW = 7
const REASON = 0
const FLOW = 1
const DESTINATION = 2
const PACKETS = 6
