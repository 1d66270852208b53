/** Who listens for a gateway's spans in the lab. */
import { Effect, Queue, Schedule, Schema } from "effect"
import { fileURLToPath } from "node:url"
import { Lab } from "../../src/lab/demo/Lab.ts"

export const ports = { devTools: 34437, collector: 4318 }

const Line = Schema.fromJsonString(
  Schema.Union([
    Schema.Struct({ listening: Schema.Literal(true) }),
    Schema.Struct({ span: Schema.String, attributes: Schema.Record(Schema.String, Schema.Unknown) }),
    Schema.Struct({ post: Schema.String, body: Schema.Unknown })
  ])
)

/** Dev tools and a collector on the gateway's own loopback; everything they were sent so far. */
export const startListeners = Effect.gen(function* () {
  const lab = yield* Lab
  const script = fileURLToPath(new URL("tracingMain.ts", import.meta.url))
  const child = yield* lab.spawn("gateway", [process.execPath, script, String(ports.devTools), String(ports.collector)])
  const seen: Array<typeof Line.Type> = []
  yield* Queue.take(child.lines).pipe(
    Effect.flatMap(Schema.decodeEffect(Line)),
    Effect.map((line) => void seen.push(line)),
    Effect.forever,
    Effect.forkScoped
  )
  const first = <A>(pick: (line: typeof Line.Type) => A | undefined) =>
    Effect.suspend(() => Effect.fromNullishOr(seen.map(pick).find((found) => found !== undefined))).pipe(
      Effect.retry(Schedule.spaced("20 millis")),
      Effect.timeout("15 seconds")
    )
  yield* first((line) => ("listening" in line ? line : undefined))
  return { seen, first }
})
