import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const maxDays = 366

/** How long both keys answer unless it is said. */
export const defaultDays = 30

export const KeyRequest = Schema.Struct({
  /**
   * `rotate`: a new key is handed out, the one before answers for so many days more; again, with `days`: until another
   * date. `cancel`: the one before is handed out again, and the new one answers until that date. `finish`: only the one
   * that is handed out answers.
   */
  step: Schema.Literals(["rotate", "cancel", "finish"]),
  /** With `rotate` only. */
  days: Schema.NullOr(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: maxDays })))
})
export type KeyRequest = typeof KeyRequest.Type

/** What a request came to; keys are public ones in base64. */
export const KeyReport = Schema.Struct({
  /** The one that clients are given. */
  publicKey: Schema.String,
  /** One that answers besides it, until a date in epoch milliseconds. */
  ending: Schema.NullOr(Schema.Struct({ publicKey: Schema.String, endsAt: Schema.Finite })),
  /** One that answers no more. */
  forgotten: Schema.NullOr(Schema.String),
  /** Clients that have not proved to know `publicKey`, and how many have. */
  left: Schema.Array(Schema.String),
  moved: Schema.Int,
  /** There are other gateways that clients may come to, which know nothing of this. */
  inSite: Schema.Boolean
})
export type KeyReport = typeof KeyReport.Type

/** The keys are what they were; `message` is one line with cause and fix. */
export class KeyRefused extends Schema.TaggedError<KeyRefused>()("KeyRefused", { message: Schema.String }) {}

/**
 * The gateway's keys. One is replaced without cutting anybody: for a time the old one and the new one answer side by side,
 * and each client goes over with its new file.
 */
export class KeyRotation extends Context.Service<
  KeyRotation,
  {
    /** Asked each time. */
    readonly current: () => Pick<KeyReport, "publicKey" | "ending">
    /** One at a time; durable before it returns. */
    readonly change: (request: KeyRequest) => Effect.Effect<KeyReport, KeyRefused>
  }
>()("sallyport/control/standalone/KeyRotation") {}
