/** Times of new clients taken on the gateway's outer wire (`wireMain.ts`, a process in the gateway's namespace). */
import { fileURLToPath } from "node:url"
import { Effect, Queue, Schema } from "effect"
import { Lab } from "../../../src/lab/demo/Lab.ts"

/** Seconds since the first client, and milliseconds that it took. */
export const Sample = Schema.Tuple([Schema.Finite, Schema.Finite])

export const WireTimes = Schema.Struct({
  /** Handshake initiation in → response out. */
  handshakes: Schema.Array(Sample),
  /** Data packet in → data packet out, keepalives aside: a question and its answer. */
  queries: Schema.Array(Sample),
  /** Epoch milliseconds of the first client. */
  begunAt: Schema.Finite,
  /** Packets that the kernel could not keep for us. */
  lost: Schema.Finite
})
export type WireTimes = typeof WireTimes.Type

/** Watches from now on; `stop` ends it and yields what was seen. */
export const watchWire = Effect.gen(function* () {
  const lab = yield* Lab
  const child = yield* lab.spawn("gateway", [
    process.execPath,
    fileURLToPath(new URL("./wireMain.ts", import.meta.url))
  ])
  yield* Queue.take(child.lines)
  const stop = Effect.gen(function* () {
    yield* child.send("end")
    const line = yield* Queue.take(child.lines)
    return yield* Schema.decodeEffect(Schema.fromJsonString(WireTimes))(line)
  })
  return { stop }
})
