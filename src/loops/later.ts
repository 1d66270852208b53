/** Answers that no fiber waits for: one costs more than most of them. */
import * as Effect from "effect/Effect"

/** Known, or what it takes a fiber to find out. No function. */
export type Told<A> = A | Effect.Effect<A>

/**
 * A value that is not there yet: `tell` is called once, during the call or in a later turn, and not at all after what the
 * call yields was called, which gives up on it.
 */
export type Later<A> = (tell: (value: A) => void) => () => void

export const awaitTold = <A>(told: Told<A>): Effect.Effect<A> => (isEffect(told) ? told : Effect.succeed(told))

export const awaitLater = <A>(later: Later<Told<A>>): Effect.Effect<A> =>
  Effect.flatten(
    Effect.callback<Effect.Effect<A>>((resume) => Effect.sync(later((told) => resume(Effect.succeed(awaitTold(told))))))
  )

/** What `then` throws is a defect of the effect. */
export const mapTold = <A, B>(told: Told<A>, then: (value: A) => Told<B>): Told<B> => {
  if (isEffect(told)) return Effect.flatMap(told, (value) => awaitTold(then(value)))
  try {
    return then(told)
  } catch (defect) {
    return Effect.die(defect)
  }
}

export const mapLater =
  <A, B>(later: Later<Told<A>>, then: (value: A) => Told<B>): Later<Told<B>> =>
  (tell) =>
    later((told) => tell(mapTold(told, then)))

export const atOnce =
  <A>(value: A): Later<A> =>
  (tell) => {
    tell(value)
    return () => undefined
  }

const isEffect = <A>(told: Told<A>): told is Effect.Effect<A> => Effect.isEffect(told)
