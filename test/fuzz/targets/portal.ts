/** What a portal, or who stands between, tells a gateway and a client: frames, messages, replies, and what follows. */
import { Channel, type ChannelEvent } from "../../../src/control/firezone/channel.ts"
import { decodeMessage } from "../../../src/control/firezone/messages.ts"
import { Session } from "../../../src/control/firezone/session.ts"
import { ClientSession } from "../../../src/lab/client/ClientSession.ts"
import { decodeClientMessage, decodeRefusal, decodeReply } from "../../../src/lab/client/portalMessages.ts"
import { mutate } from "../../support/mutate.ts"
import { everyClientMessage, everyMessage } from "../../support/portalMessages.ts"
import { jsonWords } from "../jsonWords.ts"
import type { Random } from "../Random.ts"
import { invariant, type Target, utf8 } from "../Target.ts"

const frame = (topic: string, event: string, payload: unknown, ref: number | null = null): string =>
  JSON.stringify({ topic, event, payload, ref })
const joined = frame("gateway", "phx_reply", { status: "ok", response: {} }, 0)
const events = [...everyMessage, ...everyClientMessage].map(([event]) => event)
const ice = { username: "x", password: "y".repeat(22) }

class Peers {
  private readonly channel = new Channel({ topic: "gateway", answers: true })
  private readonly session = new Session()
  private readonly clients: ReadonlyArray<ClientSession>
  private now = 1_000_000

  constructor(random: Random) {
    const bytes = (length: number) => Uint8Array.from({ length }, () => random.next())
    this.clients = (["A", "B", "C"] as const).map(
      (generation) => new ClientSession({ generation, internet: true, random: bytes })
    )
    this.channel.open(this.now)
    this.channel.receive(joined, this.now)
  }

  receive(text: string): ReadonlyArray<ChannelEvent> {
    this.now += 20
    const told = this.channel.receive(text, this.now)
    if (told.some(({ _tag }) => _tag === "Broken")) this.channel.open(this.now)
    this.channel.tick(this.now)
    this.channel.takeFrames()
    return told
  }

  handle(event: string, payload: unknown): void {
    const decoded = decodeMessage(event, payload)
    if (decoded._tag === "Message") {
      for (const action of this.session.handle(decoded.message, this.now)) {
        if (action._tag === "Send") this.channel.send(action.message)
        if (action._tag !== "Accept") continue
        const reply = action.reply(ice)
        if (reply !== null) this.channel.send(reply)
      }
    }
    const told = [decodeClientMessage(event, payload), decodeReply(event, payload, payload)]
    for (const client of this.clients) {
      for (const one of told) if (one._tag === "Message") client.handle(one.message, this.now)
      client.tick(this.now)
    }
    decodeRefusal(payload, "offline")
  }
}

const payloadOf = (text: string): unknown => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && "payload" in value ? value.payload : value
  } catch {
    return undefined
  }
}

export const target: Target = {
  seeds: utf8(
    ...everyMessage.map(([event, payload]) => frame("gateway", event, payload)),
    ...everyClientMessage.map(([event, payload]) => frame("client", event, payload)),
    joined,
    frame("phoenix", "phx_reply", { status: "error", response: { reason: "unmatched topic" } }, 1)
  ),
  dictionary: jsonWords,
  maxLength: 6_000,
  lifetime: 50,
  bound: 100,
  start: (random) => {
    const peers = new Peers(random)
    return (input) => {
      const text = Buffer.from(input).toString("utf8")
      for (const told of peers.receive(text)) if (told._tag === "Message") peers.handle(told.event, told.payload)
      const payload = payloadOf(text)
      if (payload !== undefined) peers.handle(random.pick(events), payload)
      const [event, good] = random.pick([...everyMessage, ...everyClientMessage])
      let bad = good
      for (let changes = random.below(3); changes >= 0; changes--) {
        const path = Array.from({ length: random.below(6) }, () => random.below(40))
        bad = mutate(bad, { path, how: random.below(25) })
      }
      peers.handle(event, bad)
      invariant(!("polluted" in {}), "no prototype is changed")
    }
  }
}
