/**
 * One end of a bare pair at a TURN relay: no tunnel, no cipher, datagrams only, sent and received in the same batches as
 * the gateway's. Argument: its UDP port. Reads commands as JSON lines and answers each with one:
 *
 *   {"op":"allocate","server","username","password"}  → {"relayed": port}: this end talks through the relay
 *   {"op":"peer","address","port"}                    → {}: whom it sends to; through a channel if it has an allocation
 *   {"op":"receive"}                                  → {}: counts from now on
 *   {"op":"send","seconds","size","window"}           → {"sent"}: at most `window` datagrams under way
 *   {"op":"send","seconds","size","megabits"}         → {"sent"}: as many as that, whatever arrives
 *   {"op":"received"}                                 → {"count","seconds"}: datagrams, from the first to the last
 */
import { randomFillSync } from "node:crypto"
import process from "node:process"
import { createInterface } from "node:readline"
import { openUdp } from "../../../layers/dataplane/native/fds.ts"
import { makeMemory } from "../../../layers/dataplane/native/memory.ts"
import { makePacketIo } from "../../../layers/dataplane/native/packetIo.ts"
import { type Channel, channelHeaderLength, writeChannelHeader } from "../../../src/ice/channelTable.ts"
import { Relays } from "../../../src/ice/Relays.ts"
import { RelayId } from "../../../src/model/Relay.ts"
import { copyWords } from "../../../src/packet/address.ts"
import { makeEndpoint } from "../../../src/packet/endpoint.ts"
import { type TransportAddress, transportAddress } from "../../../src/packet/transportAddress.ts"

type Command =
  | { readonly op: "allocate"; readonly server: string; readonly username: string; readonly password: string }
  | { readonly op: "peer"; readonly address: string; readonly port: number }
  | { readonly op: "receive" | "received" }
  | {
      readonly op: "send"
      readonly seconds: number
      readonly size: number
      readonly window?: number
      readonly megabits?: number
    }

/** Datagrams carry their kind and number: data has a number each, an acknowledgement the newest one that arrived. */
const dataKind = 0xd0
const ackKind = 0xa0
const ackLength = 48
/** At least this many new datagrams are acknowledged together, as a TCP behind GRO would. */
const ackEvery = 8
/** With nothing acknowledged for so long, what is under way is given up. */
const patienceMs = 20
/** Bytes that one send may have. */
const largestBatch = 64_000

const socket = openUdp({ family: 4, port: Number(process.argv[2]), gro: true })
if (!("fd" in socket)) throw new Error(socket.message)
const memory = makeMemory(1)
const { arena } = memory
const io = makePacketIo({ memory, tun: -1, udp4: socket.fd, udp6: -1, event: -1, udpSegment: true })
const received = arena.reserve(65_536)
const outgoing = arena.reserve(65_536)
const acknowledgement = arena.reserve(128)
const control = arena.reserve(2_048)
const view = new DataView(memory.memory.buffer)
const from = makeEndpoint()
const target = makeEndpoint()
const relay = RelayId.make("relay")

let channel: Channel | undefined
const relays = new Relays({
  families: { ipv4: true, ipv6: false },
  randomBytes: (out) => void randomFillSync(out),
  transmit: (to, bytes) => {
    const endpoint = makeEndpoint()
    copyWords(to.address, endpoint.remote)
    endpoint.port = to.port
    arena.bytes.set(bytes, control)
    io.send(endpoint, control, bytes.length, bytes.length, 0)
  },
  events: {
    found: () => undefined,
    lost: () => undefined,
    relayLost: (_, reason) => {
      throw new Error(`relay lost: ${reason}`)
    },
    channelBound: () => undefined,
    channelRefused: () => {
      throw new Error("the relay refuses the peer")
    }
  }
})

let count = 0
let firstAt = 0
let lastAt = 0
let newest = 0
let unacknowledged = 0
let acknowledged = 0
let acknowledgedAt = 0

const own = transportAddress("0.0.0.0", Number(process.argv[2]))!

const send = (at: number, length: number, size: number): void => {
  if (channel !== undefined) channel.sent = true
  io.send(channel?.server ?? target, at, length, size, 0)
}

/** Writes one datagram and yields its whole length. */
const write = (at: number, kind: number, number: number, size: number): number => {
  const header = channel === undefined ? 0 : channelHeaderLength
  if (channel !== undefined) writeChannelHeader(arena.bytes, at, channel.number, size)
  arena.bytes[at + header] = kind
  view.setUint32(at + header + 4, number, true)
  return header + size
}

const acknowledge = (): void => {
  unacknowledged = 0
  const length = write(acknowledgement, ackKind, newest, ackLength)
  send(acknowledgement, length, length)
}

const take = (at: number, length: number): void => {
  if (channel !== undefined || relays.isAllocated(relay)) {
    if (relays.receiveData(arena.bytes, at, length, from) === undefined) {
      const address: TransportAddress = { address: from.remote, port: from.port }
      relays.receive(arena.bytes, at, length, address, own, performance.now())
      return
    }
    at += channelHeaderLength
  } else if (arena.bytes[at]! < 4) {
    relays.receive(arena.bytes, at, length, { address: from.remote, port: from.port }, own, performance.now())
    return
  }
  const kind = arena.bytes[at]
  const number = view.getUint32(at + 4, true)
  if (kind === ackKind && number > acknowledged) {
    acknowledged = number
    acknowledgedAt = performance.now()
  }
  if (kind !== dataKind) return
  count++
  unacknowledged++
  newest = Math.max(newest, number)
}

const drain = (): void => {
  const before = count
  for (let length = io.receive(received, 65_000, from); length > 0; length = io.receive(received, 65_000, from)) {
    const size = io.segmentSize()
    for (let at = 0; at < length; at += size) take(received + at, Math.min(size, length - at))
    if (unacknowledged >= ackEvery) acknowledge()
  }
  if (unacknowledged > 0) acknowledge()
  if (count === before) return
  lastAt = performance.now()
  if (before === 0) firstAt = lastAt
}

const advance = (): void => {
  const now = performance.now()
  if (now >= relays.nextDeadline()) relays.advance(now)
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const until = async (what: string, holds: () => boolean): Promise<void> => {
  const deadline = performance.now() + 10_000
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}`)
    io.poll(2)
    drain()
    advance()
    await turn()
  }
}

/** Sends `many` datagrams, as many at once as fit. */
const burst = (sent: number, many: number, size: number): void => {
  const whole = size + (channel === undefined ? 0 : channelHeaderLength)
  const fit = Math.min(64, Math.floor(largestBatch / whole))
  for (let done = 0; done < many;) {
    const some = Math.min(fit, many - done)
    for (let i = 0; i < some; i++) write(outgoing + i * whole, dataKind, sent + done + i + 1, size)
    send(outgoing, some * whole, whole)
    done += some
  }
}

let numbers = 0

const sendFor = async (command: Extract<Command, { op: "send" }>): Promise<number> => {
  const { megabits = 0, seconds, size, window = 0 } = command
  const begin = performance.now()
  const first = numbers
  acknowledged = numbers
  acknowledgedAt = begin
  let turns = 0
  for (let now = begin; now < begin + seconds * 1_000; now = performance.now()) {
    if (window > 0) {
      if (now - acknowledgedAt > patienceMs) {
        acknowledged = numbers
        acknowledgedAt = now
      }
      const room = window - (numbers - acknowledged)
      if (room > 0) {
        burst(numbers, room, size)
        numbers += room
      }
    } else {
      const due = first + Math.floor(((now - begin) * megabits * 125) / size)
      burst(numbers, due - numbers, size)
      numbers = due
    }
    io.poll(1)
    drain()
    advance()
    // Renewals and the like; not with every batch.
    if (++turns % 256 === 0) await turn()
  }
  return numbers - first
}

const perform = async (command: Command): Promise<unknown> => {
  switch (command.op) {
    case "allocate": {
      const { password, server, username } = command
      relays.set([{ id: relay, addresses: [{ address: server, port: 3_478 }], username, password }], performance.now())
      await until("an allocation", () => relays.isAllocated(relay))
      const relayed = relays.candidates(relay).find((candidate) => candidate.kind === "relay")
      return { relayed: relayed?.address.port }
    }
    case "peer": {
      const peer = transportAddress(command.address, command.port)!
      if (relays.isAllocated(relay)) {
        const handle = relays.open(relay, peer, performance.now())
        await until("a channel", () => relays.channels.get(handle)?.bound === true)
        channel = relays.channels.get(handle)
      } else {
        copyWords(peer.address, target.remote)
        target.port = peer.port
      }
      return {}
    }
    case "receive":
      count = 0
      return {}
    case "received":
      return { count, seconds: (lastAt - firstAt) / 1_000 }
    case "send":
      return { sent: await sendFor(command) }
  }
}

const commands: Array<Command> = []
createInterface({ input: process.stdin })
  .on("line", (line) => commands.push(JSON.parse(line) as Command))
  .on("close", () => process.exit(0))
process.stdout.write(`"ready"\n`)
/** A test ended so long ago: nothing to hurry for, others are measured now. */
const restMs = 2_000
for (let busyAt = performance.now(); ; await turn()) {
  const command = commands.shift()
  if (command !== undefined) {
    process.stdout.write(`${JSON.stringify(await perform(command))}\n`)
    busyAt = performance.now()
  }
  const resting = performance.now() - busyAt > restMs
  if (resting) await new Promise((resolve) => setTimeout(resolve, 20))
  if (io.poll(resting ? 0 : 1)) busyAt = performance.now()
  drain()
  advance()
}
