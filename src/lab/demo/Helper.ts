/** Requests to the lab's own helper processes (name server, origins, visitor): one JSON object a line, both ways. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { Lab, LabError, type LabHost, type LabProcess, type LabProgram } from "./Lab.ts"

export interface Helper {
  readonly process: LabProcess
  /** The result, decoded; fails with the helper's complaint or after the time-out (default 30 s). */
  readonly call: <A>(
    method: string,
    parameters: Readonly<Record<string, unknown>>,
    result: Schema.Codec<A, any>,
    timeout?: Duration.Input
  ) => Effect.Effect<A, LabError>
}

const Line = Schema.fromJsonString(
  Schema.Struct({
    ready: Schema.optionalKey(Schema.Boolean),
    id: Schema.optionalKey(Schema.Finite),
    result: Schema.optionalKey(Schema.Unknown),
    error: Schema.optionalKey(Schema.String)
  })
)
const decodeLine = Schema.decodeUnknownEffect(Line)

/** Starts a helper on a host and yields when it serves; ended with the scope. */
export const startHelper: (
  host: LabHost,
  program: LabProgram,
  parameters?: ReadonlyArray<string>
) => Effect.Effect<Helper, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* (host, program, parameters = []) {
  const lab = yield* Lab
  const child = yield* lab.spawn(host, [...lab.program(program), ...parameters])
  const ready = yield* Deferred.make<void, LabError>()
  const waiting = new Map<number, Deferred.Deferred<unknown, LabError>>()
  let next = 1

  const receive = Effect.fnUntraced(function* (text: string) {
    const line = yield* decodeLine(text)
    if (line.ready === true) return yield* Deferred.succeed(ready, undefined)
    const waiter = waiting.get(line.id ?? -1)
    if (waiter === undefined) return false
    return line.error === undefined
      ? yield* Deferred.succeed(waiter, line.result)
      : yield* Deferred.fail(waiter, new LabError({ message: `${program}: ${line.error}` }))
  })
  const gone = Effect.gen(function* () {
    const error = new LabError({ message: `${program} ended: ${(yield* child.output).split("\n").at(-1) ?? ""}` })
    yield* Deferred.fail(ready, error)
    for (const waiter of waiting.values()) yield* Deferred.fail(waiter, error)
  })
  yield* Queue.take(child.lines).pipe(
    Effect.flatMap(receive),
    Effect.forever,
    Effect.catch(() => gone),
    Effect.forkScoped
  )
  yield* within(Deferred.await(ready), "40 seconds", `${program} did not start`)

  return {
    process: child,
    call: (method, parameters, result, timeout = "30 seconds") =>
      Effect.gen(function* () {
        const id = next++
        const answer = yield* Deferred.make<unknown, LabError>()
        waiting.set(id, answer)
        yield* child.send(JSON.stringify({ id, method, parameters }))
        const value = yield* within(
          Deferred.await(answer).pipe(Effect.ensuring(Effect.sync(() => waiting.delete(id)))),
          timeout,
          `${program} did not answer "${method}"`
        )
        return yield* Schema.decodeUnknownEffect(result)(value).pipe(
          Effect.mapError((error) => new LabError({ message: `${program} ${method}: ${error.message}` }))
        )
      })
  }
})

const within = <A>(effect: Effect.Effect<A, LabError>, timeout: Duration.Input, what: string) =>
  Effect.timeoutOrElse(effect, {
    duration: timeout,
    orElse: () =>
      Effect.fail(new LabError({ message: `${what} within ${Duration.format(Duration.fromInputUnsafe(timeout))}` }))
  })
