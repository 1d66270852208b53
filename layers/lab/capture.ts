/** A capture in the lab: the child process's lines turned into packets that can be searched and waited for. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { type Capture, LabError } from "../../src/lab/demo/Lab.ts"
import type { CapturedPacket } from "../../src/lab/demo/packets.ts"
import { startProcess } from "./process.ts"

const kept = 100_000

interface Waiter {
  readonly predicate: (packet: CapturedPacket) => boolean
  readonly found: Deferred.Deferred<CapturedPacket>
}

/** Starts the capture and yields once packets are being recorded. */
export const startCapture = (command: ReadonlyArray<string>): Effect.Effect<Capture, LabError, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* startProcess(command)
    const packets: Array<CapturedPacket> = []
    const waiters = new Set<Waiter>()
    let lost = 0

    const ready = yield* Queue.take(child.lines).pipe(
      Effect.map((line) => line === '{"ready":true}'),
      Effect.timeoutOption("10 seconds"),
      Effect.orElseSucceed(() => Option.some(false))
    )
    if (!Option.getOrElse(ready, () => false)) {
      const output = yield* child.output
      return yield* new LabError({ message: `the packet capture did not start: ${output.trim() || "no output"}` })
    }

    const add = (packet: CapturedPacket): void => {
      if (packets.push(packet) > kept) packets.splice(0, kept / 10)
      for (const waiter of waiters) {
        if (waiter.predicate(packet)) Deferred.doneUnsafe(waiter.found, Effect.succeed(packet))
      }
    }
    yield* Queue.takeAll(child.lines).pipe(
      Effect.map((lines) => {
        for (const line of lines) {
          const value: CaptureLine = JSON.parse(line)
          if ("lost" in value) lost += value.lost
          else add(packetOf(value))
        }
      }),
      Effect.forever,
      Effect.ignore,
      Effect.forkScoped
    )

    return {
      packets: Effect.sync(() => packets.slice()),
      lost: Effect.sync(() => lost),
      first: (predicate, { timeout }) =>
        Effect.suspend(() => {
          const seen = packets.find(predicate)
          if (seen !== undefined) return Effect.succeed(seen)
          const waiter = { predicate, found: Deferred.makeUnsafe<CapturedPacket>() }
          waiters.add(waiter)
          return Deferred.await(waiter.found).pipe(
            Effect.timeoutOption(timeout),
            Effect.map(Option.getOrNull),
            Effect.ensuring(Effect.sync(() => waiters.delete(waiter)))
          )
        })
    } satisfies Capture
  })

type CaptureLine =
  | { readonly lost: number }
  | {
      readonly time: string
      readonly device: string
      readonly outgoing: boolean
      readonly length: number
      readonly bytes: string
    }

const packetOf = (line: Exclude<CaptureLine, { readonly lost: number }>): CapturedPacket => ({
  at: Number(line.time.slice(0, -6)) + Number(line.time.slice(-6)) / 1e6,
  device: line.device,
  direction: line.outgoing ? "out" : "in",
  length: line.length,
  bytes: Buffer.from(line.bytes, "base64")
})
