/** A portal in memory: the other side of `PortalSocket`, for tests. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import { PortalClosed, PortalSocket, PortalUnreachable } from "../../src/control/firezone/PortalSocket.ts"

export interface SentFrame {
  readonly topic: string
  readonly event: string
  readonly payload: unknown
  readonly ref: number
}

/** What happens to a handshake. */
export type HandshakeOutcome =
  | { readonly _tag: "Accept" }
  /** Neither yes nor no. */
  | { readonly _tag: "Hang" }
  | { readonly _tag: "Refuse"; readonly status: number | null; readonly retryAfter?: string }

export class PortalMemory extends Context.Service<
  PortalMemory,
  {
    /** From now on; `Accept` at first. */
    readonly handshakes: (outcome: HandshakeOutcome) => void
    /** `false`: joins and heartbeats are left unanswered. */
    readonly answering: (on: boolean) => void
    /** The date that its handshakes say; `null` at first: none. */
    readonly dated: (epochMs: number | null) => void
    /** When and how each handshake came: epoch milliseconds of the clock, with the token in the query or not. */
    readonly connects: ReadonlyArray<{ readonly legacy: boolean }>
    /** Every frame but joins and heartbeats since the start or the last `forget`. */
    readonly sent: ReadonlyArray<SentFrame>
    /** All of them. */
    readonly frames: ReadonlyArray<SentFrame>
    readonly forget: () => void
    readonly isOpen: () => boolean
    readonly push: (event: string, payload: unknown) => Effect.Effect<void>
    readonly pushText: (text: string) => Effect.Effect<void>
    readonly close: Effect.Effect<void>
    /** Called for every frame that the gateway sends, in its turn. */
    readonly onSend: (listener: (frame: SentFrame) => void) => void
  }
>()("sallyport/layers/PortalMemory") {}

export const layer: Layer.Layer<PortalSocket | PortalMemory> = Layer.effectContext(
  Effect.sync(() => {
    let outcome: HandshakeOutcome = { _tag: "Accept" }
    let answers = true
    let date: number | null = null
    let open: Queue.Queue<string, PortalClosed> | null = null
    let listener: (frame: SentFrame) => void = () => {}
    const connects: Array<{ readonly legacy: boolean }> = []
    const sent: Array<SentFrame> = []
    const frames: Array<SentFrame> = []

    const reply = (frame: SentFrame): string =>
      JSON.stringify({
        topic: frame.topic,
        event: "phx_reply",
        payload: { status: "ok", response: {} },
        ref: frame.ref
      })

    const receive = (queue: Queue.Queue<string, PortalClosed>, text: string): void => {
      const frame = JSON.parse(text) as SentFrame
      frames.push(frame)
      listener(frame)
      if (frame.event !== "phx_join" && frame.event !== "heartbeat") return void sent.push(frame)
      if (answers) Queue.offerUnsafe(queue, reply(frame))
    }

    const connect = Effect.fnUntraced(function* (legacy: boolean) {
      connects.push({ legacy })
      if (outcome._tag === "Hang") return yield* Effect.never
      if (outcome._tag === "Refuse") {
        const { retryAfter = null, status } = outcome
        return yield* new PortalUnreachable({ status, retryAfter, detail: "refused by the test" })
      }
      const queue = yield* Queue.unbounded<string, PortalClosed>()
      yield* Effect.acquireRelease(
        Effect.sync(() => void (open = queue)),
        () => Effect.sync(() => void (open = open === queue ? null : open))
      )
      return {
        localAddress: "192.0.2.10",
        remoteAddress: "192.0.2.1",
        date,
        receive: Queue.take(queue),
        send: (text: string) => receive(queue, text)
      }
    })

    const pushText = (text: string) =>
      Effect.suspend(() => (open === null ? Effect.void : Effect.asVoid(Queue.offer(open, text))))

    return Context.make(PortalSocket, PortalSocket.of({ connect })).pipe(
      Context.add(
        PortalMemory,
        PortalMemory.of({
          handshakes: (next) => void (outcome = next),
          answering: (on) => void (answers = on),
          dated: (next) => void (date = next),
          connects,
          sent,
          frames,
          forget: () => {
            sent.splice(0)
            frames.splice(0)
          },
          isOpen: () => open !== null,
          push: (event, payload) => pushText(JSON.stringify({ topic: "gateway", event, payload, ref: null })),
          pushText,
          close: Effect.suspend(() => {
            const queue = open
            open = null
            return queue === null
              ? Effect.void
              : Effect.asVoid(Queue.fail(queue, new PortalClosed({ detail: "the portal closed the connection" })))
          }),
          onSend: (next) => void (listener = next)
        })
      )
    )
  })
)
