/**
 * The keys of the state, told to the packet path. The end of an old one is a date, by the host's clock, which may be ahead:
 * so that no wrong date costs clients their way in, the gateway must also have run as long as the old key was to answer.
 */
import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Layer from "effect/Layer"
import * as Semaphore from "effect/Semaphore"
import {
  defaultDays,
  KeyRefused,
  type KeyReport,
  type KeyRequest,
  KeyRotation
} from "../../../src/control/standalone/KeyRotation.ts"
import { Registry } from "../../../src/control/Registry.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import { EventLog } from "../../../src/events/EventLog.ts"
import { type GatewayKeys, type StateError, StateStore } from "../../../src/host/StateStore.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import { makeOddities } from "../../../src/loops/oddities.ts"
import { superviseForever } from "../../../src/loops/superviseForever.ts"
import { Site } from "../../../src/shared/Site.ts"

const dayMs = 86_400_000
const lookEvery = "10 seconds"
/** How long the gateway has run with an old key is written down in steps of so much: a restart forgets less than one. */
const stepMs = 600_000
/** A host whose clock says less has no date to speak of: a board without a battery begins in 1970. */
const earliestDate = Date.UTC(2026, 0)
/** Clients that a line of the log names. */
const maxNamed = 20

export interface KeyRotationOptions {
  /** Both base64. */
  readonly publicKeyOf: (privateKey: string) => string
}

export const layer = ({
  publicKeyOf
}: KeyRotationOptions): Layer.Layer<KeyRotation, StateError, DataPlane | Registry | StateStore> =>
  Layer.effect(
    KeyRotation,
    Effect.gen(function* () {
      const dataPlane = yield* DataPlane
      const events = yield* EventLog
      const registry = yield* Registry
      const store = yield* StateStore
      const inSite = (yield* Site) !== null
      /** As they are written, and (monotonic milliseconds) since when. */
      let keys = yield* store.keys
      let writtenAt = yield* monotonicMillis
      const turn = Semaphore.makeUnsafe(1)
      const loudly = makeOddities(Effect.logError)

      const keysNow = Effect.map(monotonicMillis, (now): GatewayKeys => {
        const { ending, privateKey } = keys
        if (ending === null) return keys
        return { privateKey, ending: { ...ending, leftMs: Math.max(0, ending.leftMs - (now - writtenAt)) } }
      })
      const write = Effect.fnUntraced(function* (next: GatewayKeys, put: Effect.Effect<void, StateError>) {
        const now = yield* monotonicMillis
        yield* put
        keys = next
        writtenAt = now
      })

      const tellPackets = Effect.suspend(() =>
        dataPlane.send({ _tag: "SetKeys", privateKey: keys.privateKey, endingKey: keys.ending?.privateKey ?? null })
      )
      const shown = ({ ending, privateKey }: GatewayKeys): ReturnType<KeyRotation["Service"]["current"]> => ({
        publicKey: publicKeyOf(privateKey),
        ending: ending === null ? null : { publicKey: publicKeyOf(ending.privateKey), endsAt: ending.endsAt }
      })
      let current = shown(keys)
      const report = (forgotten: string | null): KeyReport => {
        const known = dataPlane.desired.gatewayKeys()
        const clients = registry.current().config.clients.map(({ id }) => id)
        const left = clients.filter((id) => known.get(id) !== current.publicKey)
        return { ...current, forgotten, left, moved: clients.length - left.length, inSite }
      }

      /** Whatever ends the process half-way, the next start has what is written. */
      const set = Effect.fnUntraced(function* (next: GatewayKeys) {
        const ended = next.ending === null ? (current.ending?.publicKey ?? null) : null
        yield* write(next, store.putKeys(next))
        current = shown(next)
        yield* tellPackets
        const made = report(ended)
        const what = describe(made)
        yield* Effect.logWarning(what)
        yield* events.record({ _tag: "KeysChanged", what })
        return made
      })

      const next = Effect.fnUntraced(function* ({ days, step }: KeyRequest) {
        const { ending, privateKey } = yield* keysNow
        if (step !== "rotate") {
          if (ending === null) {
            return yield* refused(`there is only one key, nothing to ${step} — sallyport key rotate begins a rotation`)
          }
          if (step === "finish") return { privateKey, ending: null }
          return { privateKey: ending.privateKey, ending: { ...ending, privateKey } }
        }
        if (ending !== null && days === null) {
          return yield* refused(
            `the key is being replaced, and ${current.ending?.publicKey} answers until ${dateOf(ending.endsAt)} — end that with --finish or --cancel, or move the date with --days`
          )
        }
        const now = yield* Clock.currentTimeMillis
        if (now < earliestDate) {
          return yield* refused(`this host's clock says ${dateOf(now)}, and the end is a date — set the clock first`)
        }
        const leftMs = (days ?? defaultDays) * dayMs
        const end = { endsAt: now + leftMs, leftMs }
        return ending === null
          ? { privateKey: Base64.encode(randomBytesUnsafe(32)), ending: { privateKey, ...end } }
          : { privateKey, ending: { ...ending, ...end } }
      })

      const take = (request: KeyRequest) =>
        next(request).pipe(
          Effect.flatMap(set),
          Effect.mapError(({ message }) => new KeyRefused({ message })),
          Effect.uninterruptible
        )

      const look = Effect.gen(function* () {
        const now = yield* keysNow
        if (now.ending === null || keys.ending === null) return
        if (now.ending.leftMs === 0 && (yield* Clock.currentTimeMillis) >= now.ending.endsAt) {
          yield* Effect.catch(take({ step: "finish", days: null }), ({ message }) =>
            loudly("end", `the old key cannot be forgotten yet: ${message}`)
          )
        } else if (keys.ending.leftMs - now.ending.leftMs >= stepMs) {
          // Where it cannot be written, `status` says so.
          yield* Effect.ignore(write(now, store.putKeyLeft(now.ending.leftMs)))
        }
      }).pipe((look) => turn.withPermit(look))

      if (current.ending !== null) {
        const { endsAt, publicKey } = current.ending
        yield* Effect.logInfo(
          `the gateway's key is being replaced: ${publicKey} answers as well until ${dateOf(endsAt)}`
        )
        yield* tellPackets
      }
      yield* Effect.forkScoped(superviseForever("KeyRotation", Effect.andThen(look, Effect.sleep(lookEvery))))
      return KeyRotation.of({ current: () => current, change: (request) => turn.withPermit(take(request)) })
    })
  )

const refused = (message: string) => new KeyRefused({ message })

const dateOf = (epochMs: number): string => DateTime.formatIso(DateTime.makeUnsafe(epochMs))

/** The audit line. */
const describe = ({ ending, forgotten, left, moved, publicKey }: KeyReport): string => {
  const more = left.length > maxNamed ? ` and ${left.length - maxNamed} more` : ""
  const who = left.length === 0 ? "" : `: ${left.slice(0, maxNamed).join(", ")}${more}`
  const state =
    ending === null
      ? `it is the only one${forgotten === null ? "" : `, ${forgotten} is forgotten`}`
      : `${ending.publicKey} answers as well until ${dateOf(ending.endsAt)}`
  return `clients are given the gateway's key ${publicKey}, and ${state}; ${moved} of ${moved + left.length} clients have it${left.length === 0 ? "" : `, not yet${who}`}`
}
