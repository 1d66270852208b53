import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { Channel } from "../../../src/control/firezone/channel.ts"

const maxQueued = 128
const frames = (channel: Channel): Array<{ topic: string; event: string; payload: unknown; ref: number }> =>
  channel.takeFrames().map((text) => JSON.parse(text))

const reply = (ref: number, status = "ok", response: unknown = {}, topic = "gateway") =>
  JSON.stringify({ topic, event: "phx_reply", payload: { status, response }, ref })

const push = (event: string, payload: unknown) => JSON.stringify({ topic: "gateway", event, payload, ref: null })

const joined = (now = 0): Channel => {
  const channel = new Channel()
  channel.open(now)
  frames(channel)
  assert.deepStrictEqual(channel.receive(reply(0), now), [{ _tag: "Joined" }])
  return channel
}

const broken = (events: ReadonlyArray<{ readonly _tag: string }>): boolean => events.some((e) => e._tag === "Broken")

describe("the Phoenix channel", () => {
  it("joins first, with the envelope's four keys, and sends nothing else before the join is answered", () => {
    const channel = new Channel()
    channel.send({ event: "flow_authorized", payload: { ref: "a" } })
    channel.open(0)
    channel.send({ event: "flow_authorized", payload: { ref: "b" } })
    assert.deepStrictEqual(frames(channel), [{ topic: "gateway", event: "phx_join", payload: null, ref: 0 }])
    assert.deepStrictEqual(channel.receive(reply(0), 1), [{ _tag: "Joined" }])
    assert.deepStrictEqual(frames(channel), [
      { topic: "gateway", event: "flow_authorized", payload: { ref: "a" }, ref: 1 },
      { topic: "gateway", event: "flow_authorized", payload: { ref: "b" }, ref: 2 }
    ])
    channel.send({ event: "no_relays", payload: {} })
    assert.deepStrictEqual(frames(channel), [{ topic: "gateway", event: "no_relays", payload: {}, ref: 3 }])
  })

  it("gives up a join that is not answered within 5 s, or is refused", () => {
    const channel = new Channel()
    channel.open(0)
    assert.strictEqual(channel.nextAt, 5_000)
    assert.deepStrictEqual(channel.tick(4_999), [])
    assert.isTrue(broken(channel.tick(5_000)))
    const refused = new Channel()
    refused.open(0)
    assert.isTrue(broken(refused.receive(reply(0, "error", { reason: "not_found" }), 1)))
  })

  it("sends a heartbeat on the topic phoenix 10 s after the connect and every 10 s", () => {
    const channel = joined()
    assert.strictEqual(channel.nextAt, 10_000)
    for (const at of [10_000, 20_000, 30_000]) {
      assert.deepStrictEqual(channel.tick(at), [])
      const [beat, ...more] = frames(channel)
      assert.deepInclude(beat, { topic: "phoenix", event: "heartbeat", payload: {} })
      assert.lengthOf(more, 0)
      assert.deepStrictEqual(channel.receive(reply(beat!.ref, "ok", {}, "phoenix"), at + 1), [])
    }
  })

  it("is broken with more than three heartbeats unanswered, and not before", () => {
    const channel = joined()
    for (const at of [10_000, 20_000, 30_000, 40_000]) assert.deepStrictEqual(channel.tick(at), [])
    assert.isTrue(broken(channel.tick(50_000)))
    const late = joined()
    for (const at of [10_000, 20_000, 30_000, 40_000]) late.tick(at)
    late.receive(reply(frames(late).at(-1)!.ref, "ok", {}, "phoenix"), 45_000)
    assert.isFalse(broken(late.tick(50_000)))
  })

  it("passes messages on, and skips what is no message without ending", () => {
    const channel = joined()
    assert.deepStrictEqual(channel.receive(push("init", { a: 1 }), 1), [
      { _tag: "Message", event: "init", payload: { a: 1 } }
    ])
    for (const text of ["", "{", "null", "[]", "7", '"x"', "{}", '{"topic":1,"event":2}']) {
      assert.deepStrictEqual(
        channel.receive(text, 1).map((e) => e._tag),
        ["Skipped"],
        text
      )
    }
    const foreign = JSON.stringify({ topic: "other", event: "init", payload: {}, ref: null })
    assert.deepStrictEqual(channel.receive(foreign, 1), [])
    assert.isTrue(channel.joined)
  })

  it("keeps 128 messages at most while it is away: the oldest go, and are counted", () => {
    const channel = new Channel()
    for (let n = 0; n < maxQueued + 5; n++) channel.send({ event: "flow_authorized", payload: { ref: `${n}` } })
    channel.open(0)
    frames(channel)
    channel.receive(reply(0), 0)
    const sent = frames(channel)
    assert.lengthOf(sent, maxQueued)
    assert.deepStrictEqual(sent[0]!.payload, { ref: "5" })
    assert.strictEqual(channel.dropped, 5)
  })

  it("does not queue the same message twice, but sends it twice when it is joined", () => {
    const channel = new Channel()
    for (let n = 0; n < 3; n++) channel.send({ event: "no_relays", payload: {} })
    channel.open(0)
    frames(channel)
    channel.receive(reply(0), 0)
    assert.lengthOf(frames(channel), 1)
    channel.send({ event: "no_relays", payload: {} })
    channel.send({ event: "no_relays", payload: {} })
    assert.lengthOf(frames(channel), 2)
  })

  it("keeps what was not sent over a reconnect, with references from 0", () => {
    const channel = joined()
    channel.close()
    assert.strictEqual(channel.nextAt, Number.POSITIVE_INFINITY)
    channel.send({ event: "flow_authorized", payload: { ref: "late" } })
    assert.lengthOf(channel.takeFrames(), 0)
    channel.open(100)
    assert.strictEqual(frames(channel)[0]!.ref, 0)
    channel.receive(reply(0), 101)
    assert.deepStrictEqual(frames(channel), [
      { topic: "gateway", event: "flow_authorized", payload: { ref: "late" }, ref: 1 }
    ])
  })

  it("joins again on 'unmatched topic', sends the lost message again, and leaves the connection alone", () => {
    const channel = joined()
    channel.send({ event: "flow_authorized", payload: { ref: "a" } })
    channel.send({ event: "flow_authorized", payload: { ref: "b" } })
    const [a, b] = frames(channel)
    assert.deepStrictEqual(channel.receive(reply(a!.ref, "error", { reason: "unmatched topic" }), 5_000), [])
    assert.deepStrictEqual(channel.receive(reply(b!.ref, "error", { reason: "unmatched topic" }), 5_000), [])
    const [join, ...none] = frames(channel)
    assert.strictEqual(join!.event, "phx_join")
    assert.lengthOf(none, 0)
    assert.deepStrictEqual(channel.receive(reply(join!.ref), 5_001), [{ _tag: "Joined" }])
    assert.deepStrictEqual(
      frames(channel).map((f) => f.payload),
      [{ ref: "b" }, { ref: "a" }]
    )
  })

  it("joins at most once a second when the portal's side keeps dying, and forgets a message after three tries", () => {
    const channel = joined()
    channel.send({ event: "no_relays", payload: {} })
    let now = 5_000
    let joins = 0
    for (let n = 0; n < 100; n++, now += 100) {
      channel.tick(now)
      for (const frame of frames(channel)) {
        if (frame.event === "phx_join") joins++
        if (frame.event === "heartbeat") continue
        channel.receive(
          reply(frame.ref, frame.event === "phx_join" ? "ok" : "error", { reason: "unmatched topic" }),
          now
        )
      }
    }
    assert.isAtMost(joins, 4)
    assert.strictEqual(channel.dropped, 1)
    const dying = joined()
    let deaths = 0
    for (let at = 5_000; at < 15_000; at += 100) {
      dying.receive(JSON.stringify({ topic: "gateway", event: "phx_error", payload: {}, ref: null }), at)
      dying.tick(at)
      for (const frame of frames(dying)) {
        if (frame.event !== "phx_join") continue
        deaths++
        dying.receive(reply(frame.ref), at)
      }
    }
    assert.isAtMost(deaths, 11)
    assert.isAtLeast(deaths, 9)
  })

  it("tells which of our messages the portal refused, and goes on", () => {
    const channel = joined()
    channel.send({ event: "flow_authorized", payload: { ref: "forged" } })
    const [frame] = frames(channel)
    assert.deepStrictEqual(channel.receive(reply(frame!.ref, "error", { reason: "invalid_ref" }), 1), [
      { _tag: "Refused", event: "flow_authorized", request: { ref: "forged" }, reason: "invalid_ref" }
    ])
    assert.isTrue(channel.joined)
  })

  it("is broken by phx_close", () => {
    assert.isTrue(broken(joined().receive(push("phx_close", {}), 1)))
  })

  it.prop(
    "survives any frames and ticks, with a bounded memory",
    [Schema.Array(Schema.Union([Schema.String, Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12 }))]))],
    ([steps]) => {
      const channel = joined()
      let now = 0
      for (const step of steps) {
        if (typeof step === "string") {
          channel.receive(step, now)
          channel.receive(JSON.stringify({ topic: "gateway", event: step, payload: step, ref: step.length }), now)
          channel.receive(reply(step.length, "error", step), now)
        } else {
          now += step * 1_000
          channel.send({ event: "x", payload: step })
          channel.tick(now)
        }
      }
      assert.isAtMost(channel.takeFrames().length, steps.length * 4)
    }
  )
})

describe("the Phoenix channel of a client", () => {
  it("joins its own topic and is told what the portal answered to which message", () => {
    const channel = new Channel({ topic: "client", answers: true })
    channel.open(0)
    assert.deepStrictEqual(frames(channel), [{ topic: "client", event: "phx_join", payload: null, ref: 0 }])
    channel.receive(reply(0, "ok", {}, "client"), 0)
    channel.send({ event: "prepare_connection", payload: { resource_id: "r" } })
    assert.deepStrictEqual(channel.receive(reply(1, "ok", { gateway_id: "g" }, "client"), 1), [
      {
        _tag: "Answered",
        event: "prepare_connection",
        request: { resource_id: "r" },
        response: { gateway_id: "g" }
      }
    ])
    assert.deepStrictEqual(channel.receive(push("init", {}), 1), [])
  })
})
