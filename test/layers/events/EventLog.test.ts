import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as fileLogLevel from "../../../layers/cli/fileLogLevel.ts"
import * as EventLogLive from "../../../layers/events/EventLog.ts"
import type { Event } from "../../../src/events/Event.ts"
import { EventCollectors } from "../../../src/events/EventCollectors.ts"
import { EventLog } from "../../../src/events/EventLog.ts"

/** Whoever records these has told them in a line of the log. */
const toldByOthers: ReadonlyArray<Event> = [
  { _tag: "ClientConnected", client: "bob", endpoint: "192.0.2.7:51820" },
  { _tag: "ClientSilent", client: "bob" },
  { _tag: "Expired", client: "bob", resource: "lab" },
  { _tag: "Reloaded", what: "bob lost lab" },
  { _tag: "KeysChanged", what: "a key was made" }
]

const revoked = (resource: string): Event => ({ _tag: "Revoked", client: "bob", resource })

describe("the log of what happened", () => {
  it.effect("gives who follows what is kept, then each event once as it comes", () =>
    Effect.gen(function* () {
      const { follow, record } = yield* EventLog
      yield* record(revoked("first"))
      const reader = yield* Effect.forkChild(Stream.runCollect(Stream.take(follow, 3)))
      yield* Effect.yieldNow
      yield* record(revoked("second"))
      yield* Effect.yieldNow
      yield* record(revoked("third"))
      const seen = yield* Fiber.join(reader)
      assert.deepStrictEqual(
        Array.from(seen, ({ event, number }) => [number, event]),
        [
          [1, revoked("first")],
          [2, revoked("second")],
          [3, revoked("third")]
        ]
      )
    }).pipe(Effect.provide(EventLogLive.layer))
  )

  it.effect("tells decisions at level debug, what happens to flows at trace, and nothing of them at info", () => {
    const lines: Array<string> = []
    const logger = Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])
    const opened: Event = {
      _tag: "FlowOpened",
      client: "bob",
      to: { domain: null, resource: "lab", address: "10.20.0.7", protocol: "tcp", port: 22 },
      real: null,
      bytesIn: 0
    }
    const tell = (level: "Info" | "Debug" | "Trace") =>
      Effect.gen(function* () {
        const { record } = yield* EventLog
        yield* record(revoked("lab"))
        yield* record(opened)
        return lines.splice(0)
      }).pipe(
        Effect.provide(Layer.merge(EventLogLive.layer, logger)),
        Effect.provideService(References.MinimumLogLevel, level)
      )
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* tell("Info"), [])
      assert.deepStrictEqual(yield* tell("Debug"), ["revoked bob → lab"])
      assert.deepStrictEqual(yield* tell("Trace"), ["revoked bob → lab", "flow opened bob → 10.20.0.7 tcp/22 of lab"])
    })
  })

  it.effect("makes no text of what no line is written about, whoever sets the level", () => {
    let texts = 0
    const closed: Event = {
      _tag: "FlowClosed",
      client: "bob",
      to: { domain: null, resource: "lab", address: "10.20.0.7", protocol: "tcp", port: 22 },
      real: null,
      get why() {
        texts++
        return "closed"
      },
      bytesIn: 0,
      bytesOut: 0,
      durationMs: 0
    }
    const tell = (level: "Info" | "Trace", by: "program" | "file") =>
      Effect.flatMap(EventLog, ({ record }) => record(closed)).pipe(
        Effect.provide(
          EventLogLive.layer.pipe(
            Layer.provideMerge(by === "file" ? fileLogLevel.layer(() => level) : Layer.empty),
            Layer.provideMerge(Logger.layer([Logger.make(() => {})]))
          )
        ),
        Effect.provideService(References.MinimumLogLevel, level)
      )
    return Effect.gen(function* () {
      for (const by of ["program", "file"] as const) {
        yield* tell("Info", by)
        assert.strictEqual(texts, 0, by)
        yield* tell("Trace", by)
        assert.strictEqual(texts, 1, by)
        texts = 0
      }
    })
  })

  it.effect(
    "gives a collector each event once, with its fields, whatever the level is and whoever sets it or told it",
    () => {
      const lines: Array<string> = []
      const records: Array<readonly [text: string, attributes: Readonly<Record<string, unknown>>]> = []
      const collector = Logger.make<unknown, void>(({ fiber, message }) => {
        records.push([String(message), fiber.getRef(References.CurrentLogAnnotations)])
      })
      const local = Logger.make<unknown, void>(({ message }) => void lines.push(String(message)))
      const tell = (level: "Warn" | "Info" | "Debug", by: "program" | "file") =>
        Effect.gen(function* () {
          const { record } = yield* EventLog
          yield* record({
            _tag: "Refused",
            client: "bob",
            packets: 3,
            reason: "filtered",
            to: { domain: "a\u001b.example", resource: null, address: "100.96.0.1", protocol: "tcp", port: 22 }
          })
          for (const event of toldByOthers) yield* record(event)
          return [lines.splice(0).length, records.splice(0)] as const
        }).pipe(
          Effect.provide(
            EventLogLive.layer.pipe(
              Layer.provideMerge(by === "file" ? fileLogLevel.layer(() => level) : Layer.empty),
              Layer.provideMerge(Logger.layer([local, collector])),
              Layer.provideMerge(Layer.succeed(EventCollectors, new Map([[collector, collector]])))
            )
          ),
          Effect.provideService(References.MinimumLogLevel, level)
        )
      return Effect.gen(function* () {
        const refused = [
          "refused bob → a?.example (100.96.0.1) tcp/22: the resource's ports do not let it through (3 packets)",
          {
            "event.name": "Refused",
            client: "bob",
            packets: 3,
            reason: "filtered",
            domain: "a?.example",
            address: "100.96.0.1",
            protocol: "tcp",
            port: 22
          }
        ] as const
        for (const by of ["program", "file"] as const) {
          for (const level of ["Warn", "Info", "Debug"] as const) {
            const [told, [first, ...others]] = yield* tell(level, by)
            assert.strictEqual(told, level === "Debug" ? 1 : 0, by)
            assert.deepStrictEqual(first, refused)
            assert.deepStrictEqual(
              others.map(([, attributes]) => attributes["event.name"]),
              toldByOthers.map(({ _tag }) => _tag)
            )
          }
        }
      })
    }
  )
})
