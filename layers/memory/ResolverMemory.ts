import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import type { Name } from "../../src/model/Mapping.ts"
import {
  type Answer,
  ResolutionError,
  type ResolutionReason,
  Resolver,
  Timeout
} from "../../src/resolution/Resolver.ts"

/** What the resolver does with a name. */
export type Behaviour =
  | { readonly _tag: "Answer"; readonly addresses: ReadonlyArray<string>; readonly ttlSeconds: number }
  | { readonly _tag: "Fail"; readonly reason: ResolutionReason }
  /** No server answers: asked again every second, given up after 10 s, as a real resolver does. */
  | { readonly _tag: "Silent" }
  /** Never returns. */
  | { readonly _tag: "Hang" }
  /** Dies with a defect. */
  | { readonly _tag: "Die"; readonly defect: unknown }
  /** Behaves like `as`, some milliseconds late; `stubborn`: even when interrupted. */
  | { readonly _tag: "Late"; readonly afterMs: number; readonly stubborn: boolean; readonly as: Behaviour }

export interface Call {
  readonly name: Name
  /** Monotonic milliseconds. */
  readonly at: number
}

/** Scripts the in-memory resolver. */
export class ResolverScript extends Context.Service<
  ResolverScript,
  {
    /** For one domain, or for all without a script of their own with `*`. */
    readonly set: (domain: string, behaviour: Behaviour) => Effect.Effect<void>
    readonly calls: Effect.Effect<ReadonlyArray<Call>>
    /** How many calls have come back, with an answer, an error or a defect. */
    readonly returned: Effect.Effect<number>
  }
>()("sallyport/layers/ResolverScript") {}

export const answer = (addresses: ReadonlyArray<string>, ttlSeconds = 300): Behaviour => ({
  _tag: "Answer",
  addresses,
  ttlSeconds
})

export const fail = (reason: ResolutionReason): Behaviour => ({ _tag: "Fail", reason })

/** A resolver that does what a test tells it to; until then it is silent. */
export const layer: Layer.Layer<Resolver | ResolverScript> = Layer.effectContext(
  Effect.sync(() => {
    const script = new Map<string, Behaviour>()
    const calls: Array<Call> = []
    let returned = 0

    const scripted = (name: Name): Behaviour => script.get(name.domain) ?? script.get("*") ?? { _tag: "Silent" }

    const behave = (name: Name, behaviour: Behaviour): Effect.Effect<Answer, ResolutionError> => {
      switch (behaviour._tag) {
        case "Answer":
          return Effect.succeed({ addresses: behaviour.addresses, ttlSeconds: behaviour.ttlSeconds })
        case "Fail":
          return new ResolutionError({ ...name, reason: behaviour.reason })
        case "Silent":
          return waitForServer(name, 0)
        case "Hang":
          return Effect.never
        case "Die":
          return Effect.die(behaviour.defect)
        case "Late": {
          const late = Effect.andThen(Effect.sleep(behaviour.afterMs), behave(name, behaviour.as))
          return behaviour.stubborn ? Effect.uninterruptible(late) : late
        }
      }
    }

    const waitForServer = (name: Name, waitedMs: number): Effect.Effect<Answer, ResolutionError> =>
      Effect.andThen(
        Effect.sleep(resendMs),
        Effect.suspend(() => {
          const behaviour = scripted(name)
          if (behaviour._tag !== "Silent") return behave(name, behaviour)
          const waited = waitedMs + resendMs
          return waited < giveUpMs
            ? waitForServer(name, waited)
            : new ResolutionError({ ...name, reason: new Timeout({ afterMs: giveUpMs }) })
        })
      )

    const resolve = Effect.fnUntraced(function* (name: Name) {
      calls.push({ name, at: yield* monotonicMillis })
      return yield* behave(name, scripted(name)).pipe(
        Effect.onExit(() =>
          Effect.sync(() => {
            returned++
          })
        )
      )
    })

    return Context.make(Resolver, Resolver.of({ resolve })).pipe(
      Context.add(
        ResolverScript,
        ResolverScript.of({
          set: (domain, behaviour) => Effect.sync(() => void script.set(domain, behaviour)),
          calls: Effect.sync(() => calls.slice()),
          returned: Effect.sync(() => returned)
        })
      )
    )
  })
)

const resendMs = 1_000
const giveUpMs = 10_000
