/**
 * `SharedState`, and the `StateStore` that tells the site what is put into it: over the gateway's own state, its copy of the
 * site and the site's store.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import { type StateError, StateStore, type StoredMapping } from "../../src/host/StateStore.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { makeOddities } from "../../src/loops/oddities.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { SharedState, type SiteNews } from "../../src/shared/SharedState.ts"
import {
  maxWritten,
  type ReleasedMapping,
  SharedStore,
  type SharedStoreError,
  type SignIn
} from "../../src/shared/SharedStore.ts"
import { SiteCopy } from "../../src/shared/SiteCopy.ts"
import { deadlineMs } from "../../src/shared/SiteSource.ts"

/** What is put within this time is told together. */
const batchTime = "100 millis"
/** Between two exchanges: what one has written is news of its own, and would have the next change written alone. */
const restTime = "200 millis"
/** Before all is read again. */
const writesAtOnce = 10
/** Until a disk that failed is tried again. */
const diskTime = "1 second"
/** Pages that nobody has taken yet. */
const pagesAhead = 4

/** What a gateway is in its site. */
export interface Membership {
  /** The same one in each of its lives, and no other one's. */
  readonly id: string
  /** What it has of the site by its own account. */
  readonly held: Effect.Effect<Pick<SignIn, "gateway" | "blocks">>
  /** Whether only another gateway can have given the slot. */
  readonly isOthers: (slot: number) => boolean
  /** Asks the site for more, after all is told and before all is read. */
  readonly ask: (gateway: number) => Effect.Effect<void, SharedStoreError>
  /** The site was read to its end. Yields names that are to be withdrawn, until they are; `null`: no slots have come, either. */
  readonly read: Effect.Effect<ReadonlyArray<StoredMapping> | null, StateError>
}

/** The `StateStore` that it needs is the gateway's own one. */
export const layer = ({
  ask,
  held,
  id,
  isOthers,
  read: hasRead
}: Membership): Layer.Layer<StateStore | SharedState, StateError, StateStore | SharedStore | SiteCopy> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const own = yield* StateStore
      const store = yield* SharedStore
      const copy = yield* SiteCopy
      const news = yield* Queue.bounded<SiteNews>(pagesAhead)
      const loudly = makeOddities(Effect.logError)
      const tellOfDisk = ({ message }: StateError) => loudly("disk", `the site is told nothing new: ${message}`)
      const tellOfState = ({ message }: StateError) => loudly("state", `a name of the site is not kept: ${message}`)
      const publish = (some: Partial<SiteNews>) => Queue.offer(news, { changes: [], conflicts: [], ...some })

      /** There is something to exchange; and there was something put, or asked for, a moment ago. */
      const due = yield* Queue.sliding<void>(1)
      const put = yield* Queue.sliding<void>(1)
      /** Something in the own state may not be in the copy: a disk was full, the process ended in between, blocks came back. */
      let missing = true
      /** `readAt` by the monotonic clock; `null`: that was in an earlier life. */
      let askedAt: number | null = null
      /** The connection on which the gateway has signed in. */
      let signedInSince: number | null = null

      const signIn = Effect.gen(function* () {
        const { cursor } = yield* copy.standing
        const { blocks, gateway } = yield* held
        const directory = Array.from(copy.directory, ([domain, slot]) => ({ domain, slot }))
        yield* copy.signedIn(yield* store.signIn({ id, gateway, blocks, directory, cursor }))
      })

      /** As if it had never been: that its slot is free is not told to anybody. */
      const drop = (mapping: ReleasedMapping) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => own.removeMapping(mapping, now))

      const tell = Effect.gen(function* () {
        if (missing) {
          missing = false
          yield* Effect.flatMap(own.mappings, copy.putMissing).pipe(
            Effect.tapError(() => Effect.sync(() => void (missing = true)))
          )
        }
        // What has come back of it counts, whatever becomes of the connection.
        for (let write = 0; write < writesAtOnce; write++) {
          const changes = yield* copy.unsent(maxWritten)
          if (changes.length === 0) return
          const conflicts = yield* store.write(changes)
          yield* copy.sent(changes)
          if (conflicts.length === 0) continue
          for (const conflict of conflicts) {
            yield* copy.withdraw(conflict)
            yield* drop(conflict)
          }
          yield* publish({ conflicts })
        }
      })

      const read = Effect.gen(function* () {
        let told = false
        for (;;) {
          const { cursor, gateway, readAt } = yield* copy.standing
          const now = yield* Clock.currentTimeMillis
          const asked = yield* monotonicMillis
          const page = yield* store.read(gateway!, cursor)
          if (page.anew && cursor !== null && !told) {
            // It has lost what was read, and perhaps what was told. Who has signed in just now does so twice.
            yield* signIn
            yield* tell
            told = true
            continue
          }
          const changes = yield* copy.take(page, now)
          if (page.anew) missing = true
          if ((yield* copy.standing).readAt !== readAt) askedAt = asked
          // They do not come again: from here to there nothing may fail.
          if (changes.length > 0) yield* publish({ changes })
          for (const { _tag, mapping } of changes) {
            if (_tag === "Put" && !isOthers(mapping.slot)) yield* Effect.catch(own.putMapping(mapping), tellOfState)
          }
          if (page.last) break
        }
        yield* forget(copy.sweep, tellOfGone)
        const withdrawn = yield* hasRead
        if (withdrawn === null) return
        // First, since whoever is gone from the disk does not come again.
        if (withdrawn.length > 0) {
          yield* publish({ changes: withdrawn.map((mapping) => ({ _tag: "Released", mapping })) })
        }
        yield* Effect.forEach(withdrawn, drop, { discard: true })
        missing = true
        yield* Queue.offer(due, undefined)
      })

      /** Whether what others have told is too old to rely on. */
      const isTooOld = Effect.gen(function* () {
        const { readAt } = yield* copy.standing
        if (readAt === null) return false
        const age = (yield* Clock.currentTimeMillis) - readAt.own
        if (age >= deadlineMs) return true
        // Dates are set back by a little at any time; only of another life that leaves nothing to go by.
        return askedAt === null ? age < 0 : (yield* monotonicMillis) - askedAt >= deadlineMs
      })
      /** `some` yields what it forgets, until that is nothing. */
      const forget = Effect.fnUntraced(function* (
        some: SiteCopy["Service"]["lapse"],
        tell: (gone: ReadonlyArray<ReleasedMapping>) => Effect.Effect<unknown>
      ) {
        for (let gone = yield* some; gone.length > 0; gone = yield* some) yield* tell(gone)
      })
      /** A slot of the directory stands for its name all the same. */
      const tellOfGone = (gone: ReadonlyArray<ReleasedMapping>) =>
        publish({
          changes: gone.flatMap((mapping) => (isOthers(mapping.slot) ? [{ _tag: "Released", mapping }] : []))
        })
      // Nobody has been told of them in this life.
      if (yield* isTooOld) yield* forget(copy.lapse, () => Effect.void)

      const exchange = Effect.gen(function* () {
        if (yield* isTooOld) yield* forget(copy.lapse, tellOfGone)
        const status = yield* store.status
        if (status._tag === "Away") return
        if (signedInSince !== status.sinceMs) {
          yield* signIn
          signedInSince = status.sinceMs
        }
        yield* tell
        yield* ask((yield* copy.standing).gateway!)
        yield* read
        // What the store has not as it is here.
        if (missing || (yield* copy.unsent(1)).length > 0) yield* Queue.offer(due, undefined)
      }).pipe(
        Effect.catchTag("StateError", (error) =>
          tellOfDisk(error).pipe(Effect.andThen(Effect.sleep(diskTime)), Effect.andThen(Queue.offer(due, undefined)))
        ),
        // The store tells of its troubles itself, and has news when they are over.
        Effect.ignore
      )

      const forever = (loop: string, turn: Effect.Effect<unknown>) =>
        Effect.forkScoped(superviseForever(`SharedState.${loop}`, turn))
      yield* forever("exchange", Queue.take(due).pipe(Effect.andThen(exchange), Effect.andThen(Effect.sleep(restTime))))
      yield* forever("news", Effect.andThen(Queue.take(store.news), Queue.offer(due, undefined)))
      yield* forever(
        "batch",
        Queue.take(put).pipe(Effect.andThen(Effect.sleep(batchTime)), Effect.andThen(Queue.offer(due, undefined)))
      )
      yield* forever("deadline", Effect.andThen(Effect.sleep("1 minute"), Queue.offer(due, undefined)))

      const keep = (work: Effect.Effect<void, StateError>) =>
        work.pipe(
          Effect.catch((error) => {
            missing = true
            return tellOfDisk(error)
          }),
          Effect.andThen(Queue.offer(put, undefined))
        )

      return Context.make(
        SharedState,
        SharedState.of({
          standing: copy.standing,
          mappings: copy.mappings,
          mappingsOf: copy.mappingsOf,
          news,
          store: store.status,
          again: Effect.asVoid(Queue.offer(due, undefined)),
          soon: Effect.asVoid(Queue.offer(put, undefined))
        })
      ).pipe(
        Context.add(
          StateStore,
          StateStore.of({
            ...own,
            // What others gave is kept in the copy only, to be forgotten with all that they told.
            putMapping: (mapping) =>
              isOthers(mapping.slot)
                ? keep(copy.put(mapping))
                : Effect.andThen(own.putMapping(mapping), keep(copy.put(mapping))),
            removeMapping: (mapping, releasedAt) =>
              isOthers(mapping.slot)
                ? keep(copy.release(mapping))
                : Effect.andThen(own.removeMapping(mapping, releasedAt), keep(copy.release(mapping))),
            takeRested: copy.takeRested
          })
        )
      )
    })
  )
