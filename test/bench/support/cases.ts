/** What is measured, and what has to come out (ratios to the peer of the same run). */
import type { PairName } from "./pairs.ts"

export type Direction = "up" | "down"

export type Work =
  | { readonly kind: "tcp"; readonly direction: Direction; readonly flows: number }
  | { readonly kind: "udp"; readonly direction: Direction; readonly megabits: number; readonly size: number }
  | { readonly kind: "ping"; readonly load: boolean }
  | { readonly kind: "connect" }

interface Targets {
  /** Of throughput, sallyport–sallyport to the peer's. */
  readonly throughput?: number
  /** Of the gateway's processor time per GiB. */
  readonly cpu?: number
  /** Throughput of a wireguard-go client with a Sallyport gateway to the peer's. */
  readonly mixed?: number
  /** Share of datagrams lost. */
  readonly loss?: number
  /** The peer's value: loss, or the slowest hundredth of the pings. */
  readonly notWorseThanPeer?: boolean
}

export interface Case {
  readonly name: string
  readonly work: Work
  readonly targets: Targets
  readonly pairs: ReadonlyArray<PairName>
  /** Part of `--quick`. */
  readonly quick: boolean
}

const tunnels: ReadonlyArray<PairName> = ["sallyport", "mixed", "peer"]
const arrows: Readonly<Record<Direction, string>> = { up: "client to server", down: "server to client" }
const directions: ReadonlyArray<Direction> = ["up", "down"]

const tcp = directions.flatMap((direction): ReadonlyArray<Case> => [
  {
    name: `TCP 1 flow, ${arrows[direction]}`,
    work: { kind: "tcp", direction, flows: 1 },
    targets: { throughput: 1.5, cpu: 0.65, mixed: 1.15 },
    pairs: ["floor", ...tunnels, "copy"],
    quick: true
  },
  {
    name: `TCP 16 flows, ${arrows[direction]}`,
    work: { kind: "tcp", direction, flows: 16 },
    targets: { throughput: 1.8, cpu: 0.65, mixed: 1.15 },
    pairs: ["floor", ...tunnels],
    quick: false
  }
])

const udp = (direction: Direction, megabits: number, targets: Targets): Case => ({
  name: `UDP ${megabits} Mbit/s of 1200 B, ${arrows[direction]}`,
  work: { kind: "udp", direction, megabits, size: 1_200 },
  targets,
  pairs: ["floor", ...tunnels],
  quick: megabits === 600
})

export const cases: ReadonlyArray<Case> = [
  ...tcp,
  ...directions.flatMap((direction) => [
    udp(direction, 300, {}),
    udp(direction, 600, { loss: 0.01 }),
    udp(direction, 900, direction === "up" ? { loss: 0.02 } : { loss: 0.18, notWorseThanPeer: true })
  ]),
  ...directions.map((direction): Case => ({
    name: `UDP 150 Mbit/s of 200 B, ${arrows[direction]}`,
    work: { kind: "udp", direction, megabits: 150, size: 200 },
    targets: {},
    pairs: ["floor", ...tunnels],
    quick: false
  })),
  {
    name: "ping, idle",
    work: { kind: "ping", load: false },
    targets: { notWorseThanPeer: true },
    pairs: ["floor", ...tunnels],
    quick: false
  },
  {
    name: "ping under TCP load",
    work: { kind: "ping", load: true },
    targets: { notWorseThanPeer: true },
    pairs: ["floor", ...tunnels],
    quick: false
  },
  { name: "connections", work: { kind: "connect" }, targets: {}, pairs: ["floor", ...tunnels], quick: false }
]

/** User CPU per GiB of the pair without cipher. */
export const plainUserTarget = 0.25

/** How late the gateway's main loop may come round under full load, the slowest hundredth, in milliseconds. */
export const loopTargetMs = 10
