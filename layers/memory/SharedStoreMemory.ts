/** `SharedStore` in memory: a site that the gateways of a test share. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import type { DirectoryEntry } from "../../src/shared/directory.ts"
import { keptPolicies, type PolicyStore } from "../../src/shared/PolicyStore.ts"
import {
  type Conflict,
  type Cursor,
  maxWritten,
  type MappingChange,
  SharedStore,
  SharedStoreError,
  type SharedStoreStatus
} from "../../src/shared/SharedStore.ts"
import type { PolicyVersion, SitePolicy } from "../../src/shared/SitePolicy.ts"

/** Changes of one page. */
const pageSize = 1_000
const dayMs = 86_400_000

interface Kept<A> {
  readonly value: A
  readonly revision: number
}

interface Tables {
  /** Number by id. */
  readonly gateways: ReadonlyMap<string, number>
  /** By block: whose it is. */
  readonly blocks: ReadonlyMap<number, number>
  readonly mappings: ReadonlyMap<string, Kept<MappingChange>>
  readonly directory: ReadonlyMap<string, Kept<DirectoryEntry>>
  /** The newest one first. */
  readonly policies: ReadonlyArray<SitePolicy>
  /** By gateway. */
  readonly inForce: ReadonlyMap<number, PolicyVersion | null>
  /** What tells each revision from another one with its number, and when it was; the last one is the newest. */
  readonly revisions: ReadonlyArray<{ readonly token: string; readonly at: number }>
}

export class SiteMemory {
  private tables: Tables = {
    gateways: new Map(),
    blocks: new Map(),
    mappings: new Map(),
    directory: new Map(),
    policies: [],
    inForce: new Map(),
    revisions: [{ token: "first", at: 0 }]
  }
  /** Which gateways have signed in since the start. */
  readonly signedIn = new Set<number>()
  /** Which are not waited for. */
  readonly forgotten = new Set<number>()
  /** Whether another process is the gateway that signs in. */
  isTaken = false
  /** Nobody is told that there is something to read. */
  isSilent = false
  /** Pages that were read. */
  reads = 0
  private made = 0
  private readonly listeners = new Set<Queue.Queue<void>>()
  private status: SharedStoreStatus = { _tag: "Connected", at, sinceMs: 0 }

  /** From now on nobody is connected. */
  readonly leave: Effect.Effect<void> = Effect.map(monotonicMillis, (sinceMs) => {
    const message = `PostgreSQL ${at}: connect ECONNREFUSED — see whether it runs there, and the way to it`
    this.status = { _tag: "Away", error: new SharedStoreError({ reason: "Unreachable", message }), sinceMs }
  })

  /** From now on everybody is, again. */
  readonly comeBack: Effect.Effect<void> = Effect.map(monotonicMillis, (sinceMs) => {
    this.status = { _tag: "Connected", at, sinceMs }
    this.tell()
  })

  /** Nobody is signed in any more. */
  restart(): void {
    this.signedIn.clear()
  }

  /** All that has happened was so much earlier, in milliseconds. */
  age(ms: number): void {
    const revisions = this.tables.revisions.map((each) => ({ ...each, at: each.at - ms }))
    this.tables = { ...this.tables, revisions }
  }

  /** All that it has now. What comes back from there has another history from then on, and nobody is signed in. */
  backup(): () => void {
    const { tables } = this
    return () => {
      this.tables = tables
      this.signedIn.clear()
      this.tell()
    }
  }

  /** Grows with every change. */
  get revision(): number {
    return this.tables.revisions.length
  }

  readonly standing = Effect.sync(() => this.status)

  /** What somebody who is no gateway does; all gateways live. */
  readonly policyStore: PolicyStore = {
    newest: Effect.suspend(() =>
      this.read(({ inForce, policies: [policy = null] }) => ({
        policy,
        isOutrun: [...inForce.values()].some(
          (held) =>
            held !== null &&
            (held.version > (policy?.version ?? 0) || (held.version === policy?.version && held.token !== policy.token))
        )
      }))
    ),
    apply: ({ by, compared, text }) =>
      this.change<PolicyVersion | null>(({ inForce, policies }, _revision, at) => {
        if ((policies[0]?.token ?? null) !== compared) return [null, null]
        const known = [...policies, ...inForce.values()].map((each) => each?.version ?? 0)
        const policy = {
          version: Math.max(0, ...known) + 1,
          token: `00000000-0000-4000-8000-${`${++this.made}`.padStart(12, "0")}`,
          text,
          by,
          at
        }
        return [
          { version: policy.version, token: policy.token },
          { policies: [policy, ...policies].slice(0, keptPolicies) }
        ]
      }),
    holders: Effect.suspend(() =>
      this.read(({ gateways, inForce }) =>
        [...gateways.values()]
          .toSorted((a, b) => a - b)
          .map((gateway) => ({ gateway, inForce: inForce.get(gateway) ?? null }))
      )
    )
  }

  /** Without a revision of its own: nobody reads it but who applies. */
  hold(gateway: number, policy: PolicyVersion | null): void {
    this.tables = { ...this.tables, inForce: new Map(this.tables.inForce).set(gateway, policy) }
  }

  listen(queue: Queue.Queue<void>): () => void {
    this.listeners.add(queue)
    Queue.offerUnsafe(queue, undefined)
    return () => void this.listeners.delete(queue)
  }

  /** What a change makes of the tables, in one go; nothing where it yields none. */
  change<A>(
    work: (tables: Tables, revision: number, now: number) => readonly [A, Partial<Tables> | null]
  ): Effect.Effect<A, SharedStoreError> {
    return this.read((tables, now) => {
      const [result, changed] = work(tables, tables.revisions.length + 1, now)
      if (changed === null) return result
      const revision = { token: `token ${++this.made}`, at: now }
      const { revisions = tables.revisions } = changed
      this.tables = { ...tables, ...changed, revisions: [...revisions, revision] }
      this.tell()
      return result
    })
  }

  read<A>(work: (tables: Tables, now: number) => A): Effect.Effect<A, SharedStoreError> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.suspend(() =>
        this.status._tag === "Away" ? Effect.fail(this.status.error) : Effect.succeed(work(this.tables, now))
      )
    )
  }

  private tell(): void {
    if (!this.isSilent) for (const queue of this.listeners) Queue.offerUnsafe(queue, undefined)
  }
}

const at = "memory:5432"

export const layer = (site: SiteMemory): Layer.Layer<SharedStore> =>
  Layer.effect(
    SharedStore,
    Effect.gen(function* () {
      const listen = Effect.gen(function* () {
        const queue = yield* Queue.sliding<void>(1)
        yield* Effect.acquireRelease(
          Effect.sync(() => site.listen(queue)),
          (forget) => Effect.sync(forget)
        )
        return queue
      })
      const news = yield* listen
      const policyNews = yield* listen
      const mayGrow = ({ gateways }: Tables): boolean =>
        [...gateways.values()].every((no) => site.signedIn.has(no) || site.forgotten.has(no))

      return SharedStore.of({
        status: site.standing,
        news,
        policyNews,
        lookAtPolicy: ({ gateway, inForce, known }) =>
          site.read(({ policies: [policy] }) => {
            if (gateway !== null) site.hold(gateway, inForce)
            return policy === undefined ? null : { ...policy, text: policy.token === known ? null : policy.text }
          }),
        signIn: ({ blocks, cursor, directory, gateway, id }) =>
          site.isTaken
            ? new SharedStoreError({ reason: "Taken", message: `PostgreSQL ${at}: taken — stop it` })
            : site
                .change((tables, revision, now) => {
                  const known = tables.gateways.get(id)
                  if (known !== undefined && known === (gateway ?? known) && site.signedIn.has(known)) {
                    return [{ gateway: known, lost: false }, null]
                  }
                  const allAreGone = site.signedIn.size === 0 && tables.revisions.at(-1)!.at <= now - dayMs
                  const lost = allAreGone || !isKept(tables.revisions, cursor)
                  const revisions = allAreGone
                    ? tables.revisions.map(({ at }) => ({ token: "none", at }))
                    : tables.revisions
                  const numbers = [...tables.gateways.values()]
                  const no = known ?? gateway ?? Math.max(-1, ...numbers) + 1
                  const gateways = new Map(tables.gateways).set(id, no)
                  const leased = new Map(tables.blocks)
                  const entries = new Map(tables.directory)
                  const areOthers = blocks.some((block) => (leased.get(block) ?? no) !== no)
                  if (lost) {
                    if (!areOthers) for (const block of blocks) leased.set(block, no)
                    const taken = new Set([...entries.values()].map(({ value }) => value.slot))
                    for (const value of directory) {
                      if (!entries.has(value.domain) && !taken.has(value.slot)) {
                        entries.set(value.domain, { value, revision })
                      }
                    }
                  }
                  const isTaken = known === undefined && numbers.includes(no)
                  const isOther = gateway !== null && gateway !== no
                  if (isTaken || isOther || (lost && areOthers && gateway !== null)) return [null, null]
                  site.signedIn.add(no)
                  site.forgotten.delete(no)
                  return [
                    { gateway: no, lost },
                    {
                      gateways,
                      directory: entries,
                      blocks: leased,
                      revisions,
                      mappings: allAreGone ? new Map() : tables.mappings
                    }
                  ]
                })
                .pipe(
                  Effect.flatMap((signedIn) =>
                    signedIn === null
                      ? new SharedStoreError({ reason: "Failed", message: `PostgreSQL ${at}: two owners — choose one` })
                      : Effect.succeed(signedIn)
                  )
                ),
        write: (changes) =>
          changes.length > maxWritten
            ? Effect.die(new Error(`${changes.length} changes at once`))
            : site.change((tables, revision) => {
                const mappings = new Map(tables.mappings)
                const last = new Map(changes.map((change) => [placeOf(change), change]))
                const conflicts: Array<Conflict> = []
                for (const [place, change] of last) {
                  const before = mappings.get(place)?.value
                  if (
                    change._tag === "Put" &&
                    before?._tag === "Put" &&
                    before.mapping.domain !== change.mapping.domain
                  ) {
                    const { client, domain, slot } = change.mapping
                    conflicts.push({ client, slot, domain, holder: before.mapping.domain })
                  } else mappings.set(place, { value: merged(before, change), revision })
                }
                return [conflicts, { mappings }]
              }),
        lease: (gateway, { from, to }) =>
          site.change((tables) => {
            const all = Array.from({ length: to - from }, (_, i) => from + i)
            const free = all.find((no) => !tables.blocks.has(no))
            if (free === undefined || !mayGrow(tables)) return [null, null]
            return [free, { blocks: new Map(tables.blocks).set(free, gateway) }]
          }),
        forget: (gateway) =>
          site.change(({ gateways }) => {
            if (![...gateways.values()].includes(gateway)) return ["Unknown", null]
            if (site.signedIn.has(gateway)) return ["Present", null]
            site.forgotten.add(gateway)
            return ["Forgotten", {}]
          }),
        extendDirectory: (extend) =>
          site.change((tables, revision) => {
            if (!mayGrow(tables)) return [undefined, null]
            const directory = new Map(tables.directory)
            const added = extend(new Map([...directory].map(([domain, { value }]) => [domain, value.slot])))
            for (const value of added) directory.set(value.domain, { value, revision })
            return [undefined, added.length > 0 ? { directory } : null]
          }),
        read: (gateway, after) =>
          site.read(({ blocks, directory, mappings, revisions }, now) => {
            site.reads++
            const head = revisions.length
            const from = isKept(revisions, after) ? after!.revision : 0
            const later = [...mappings.values()]
              .filter(({ revision }) => revision > from)
              .toSorted((a, b) => a.revision - b.revision)
            // A revision is read as a whole.
            const end = later[pageSize - 1]?.revision ?? head
            return {
              changes: later.filter(({ revision }) => revision <= end).map(({ value }) => value),
              directory: [...directory.values()].filter(({ revision }) => revision > from).map(({ value }) => value),
              cursor: { revision: end, head, token: revisions[head - 1]!.token },
              last: (later.at(-1)?.revision ?? 0) <= end,
              anew: from === 0,
              blocks: [...blocks].filter(([, owner]) => owner === gateway).map(([no]) => no),
              dateMs: now
            }
          })
      })
    })
  )

const isKept = (revisions: Tables["revisions"], after: Cursor | null): boolean =>
  after !== null && revisions[after.head - 1]?.token === after.token

const placeOf = ({ mapping: { client, slot } }: MappingChange): string => `${slot} ${client}`

/** The later use of the two, of one name. */
const merged = (before: MappingChange | undefined, change: MappingChange): MappingChange => {
  if (change._tag === "Released" || before?._tag !== "Put") return change
  const lastUsedAt = Math.max(before.mapping.lastUsedAt, change.mapping.lastUsedAt)
  return { ...change, mapping: { ...change.mapping, lastUsedAt } }
}
