/** Keeps the channel to the portal up: connects, joins, beats, reconnects as `connectPolicy` says. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import { Channel, type ChannelEvent, type ChannelOptions } from "../../../src/control/firezone/channel.ts"
import * as Policy from "../../../src/control/firezone/connectPolicy.ts"
import type { Push } from "../../../src/control/firezone/pushes.ts"
import { type PortalConnection, PortalSocket } from "../../../src/control/firezone/PortalSocket.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import { makeOutlive } from "../../../src/loops/outlive.ts"
import { ControlPlaneEnded } from "../../../src/control/ControlPlane.ts"

export interface PortalLinkOptions {
  /** Absent: a gateway's. */
  readonly channel?: ChannelOptions
  /** Whether the token goes where portals of 2024 look for it, from the start. */
  readonly legacy: boolean
  /** How long the portal may be away. */
  readonly maxPartition: Duration.Duration
  /** Called for every message, one after the other, in the turn of its frame. */
  readonly onMessage: (event: string, payload: unknown) => Effect.Effect<void, ControlPlaneEnded>
  /** What the portal answered to a message of ours or refused; answers only when `channel` wants them. */
  readonly onReply?: (reply: PortalReply) => Effect.Effect<void, ControlPlaneEnded>
  /** After each join that was answered. */
  readonly onJoined: (connection: PortalConnection) => Effect.Effect<void>
  /** Something in the portal's messages was not understood. */
  readonly onOdd: (kind: string, message: string) => Effect.Effect<void>
}

type PortalReply = Extract<ChannelEvent, { readonly _tag: "Answered" | "Refused" }>

interface PortalLink {
  /** Sent in this turn when joined; else kept, bounded. */
  readonly send: (message: Push) => void
  readonly joined: () => boolean
  /** Why there is no connection, or since when there is one. */
  readonly detail: () => string
  readonly counters: () => Readonly<Record<string, number>>
  /** Runs until the portal is given up. */
  readonly run: Effect.Effect<never, ControlPlaneEnded>
}

/** TCP, TLS and upgrade together. */
const connectTimeout = Duration.seconds(15)

export const makePortalLink = Effect.fnUntraced(function* (options: PortalLinkOptions) {
  const socket = yield* PortalSocket
  const channel = new Channel(options.channel)
  const counters = { connects: 0, joins: 0, frames: 0, refused: 0 }
  let connection: PortalConnection | null = null
  let detail = "not connected yet"

  const flush = (): void => {
    for (const frame of channel.takeFrames()) connection?.send(frame)
  }

  let link = Policy.initialLink(yield* monotonicMillis, options.legacy)

  const joined = Effect.fnUntraced(function* (open: PortalConnection) {
    counters.joins++
    const now = yield* monotonicMillis
    const again = link.everJoined
    link = Policy.joined(link, now)
    detail = "joined"
    yield* Effect.logInfo(again ? "connected to the portal again" : "connected to the portal")
    yield* options.onJoined(open)
  })

  const handle = Effect.fnUntraced(function* (open: PortalConnection, events: ReadonlyArray<ChannelEvent>) {
    for (const event of events) {
      switch (event._tag) {
        case "Joined":
          yield* joined(open)
          break
        case "Message":
          yield* options.onMessage(event.event, event.payload)
          break
        case "Skipped":
          yield* options.onOdd("frame", `skipped a frame of the portal: ${event.problem}`)
          break
        case "Answered":
          if (options.onReply !== undefined) yield* options.onReply(event)
          break
        case "Refused":
          counters.refused++
          if (options.onReply !== undefined) yield* options.onReply(event)
          yield* options.onOdd(`refused ${event.reason}`, `the portal refused ${event.event}: ${event.reason}`)
          break
        case "Broken":
          return event.reason
      }
    }
    flush()
    return null
  })

  /** One connection, from its handshake to its end; why it ended. */
  const connectOnce = Effect.gen(function* () {
    counters.connects++
    const open = yield* socket.connect(link.legacy).pipe(
      Effect.mapError(({ detail, retryAfter, status }) =>
        status === null ? network(detail) : ({ _tag: "Http", status, retryAfter } as const)
      ),
      Effect.timeoutOrElse({
        duration: connectTimeout,
        orElse: () => Effect.fail(network(`no connection within ${Duration.toSeconds(connectTimeout)} s`))
      })
    )
    connection = open
    channel.open(yield* monotonicMillis)
    flush()
    for (;;) {
      const now = yield* monotonicMillis
      const frame = yield* open.receive.pipe(
        Effect.mapError((closed) => network(closed.detail)),
        Effect.timeoutOption(Math.max(0, channel.nextAt - now))
      )
      const then = yield* monotonicMillis
      if (Option.isSome(frame)) counters.frames++
      const events = Option.isSome(frame) ? channel.receive(frame.value, then) : []
      const broken = (yield* handle(open, events)) ?? (yield* handle(open, channel.tick(then)))
      if (broken !== null) return yield* Effect.fail(network(broken))
    }
  }).pipe(
    Effect.ensuring(
      Effect.sync(() => {
        connection = null
        channel.close()
      })
    ),
    Effect.scoped,
    // A bug in here must not take the data plane away: it costs this connection.
    makeOutlive("ControlPlane.connection"),
    Effect.andThen(Effect.fail(network("internal error")))
  )

  const retry = Effect.fnUntraced(function* (failure: Policy.ConnectFailure) {
    const now = yield* monotonicMillis
    const wasUp = detail === "joined"
    if (wasUp) link = Policy.lost(link, now)
    const first = link.attempts === 0
    const random = yield* Random.next
    const decision = Policy.decide(link, failure, now, random, Duration.toMillis(options.maxPartition))
    if (decision._tag === "Fatal") return yield* new ControlPlaneEnded({ message: decision.message })
    if (decision.link.legacy && !link.legacy) {
      yield* Effect.logWarning(
        "the portal wants no token in a header: trying the way of 2024, with the token in the URL"
      )
    }
    link = decision.link
    detail = Policy.describe(failure)
    const line = `no connection to the portal: ${detail}; next try in ${Math.round(decision.afterMs / 100) / 10} s`
    yield* first ? Effect.logWarning(line) : Effect.logDebug(line)
    yield* Effect.sleep(decision.afterMs)
  })

  const run: Effect.Effect<never, ControlPlaneEnded> = Effect.forever(
    Effect.catchTag(connectOnce, ["Network", "Http"], retry)
  )

  return {
    send: (message) => {
      channel.send(message)
      flush()
    },
    joined: () => channel.joined,
    detail: () => detail,
    counters: () => ({ ...counters, dropped: channel.dropped }),
    run
  } satisfies PortalLink
})

const network = (detail: string): Policy.ConnectFailure => ({ _tag: "Network", detail })
