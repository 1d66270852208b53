/** The policy in memory, with a way to read it anew. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Semaphore from "effect/Semaphore"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import {
  type Applied,
  type PolicyChange,
  Registry,
  ReloadRefused,
  type ReloadReport,
  type VersionedPolicy
} from "../../../src/control/Registry.ts"
import {
  countGrants,
  type GrantChange,
  isNothing,
  kindOfChange,
  policyDifference
} from "../../../src/control/standalone/policyDifference.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import type { Authorization } from "../../../src/model/Authorization.ts"
import { formatPortFilters } from "../../../src/model/PortFilter.ts"

export interface RegistryOptions {
  readonly config: GatewayConfig
  /** Reads what is wanted now, and checks it. */
  readonly read?: Effect.Effect<GatewayConfig, { readonly message: string }>
}

const nothing: Applied = { sessions: { cut: 0, untouched: 0 }, warnings: [] }

const noFile = new ReloadRefused({ message: "this gateway has no file to read again — start it with sallyport up" })

export const layer = ({ config, read = noFile }: RegistryOptions): Layer.Layer<Registry> =>
  Layer.sync(Registry, () => {
    let current: VersionedPolicy = { version: 1, config }
    let apply: (change: PolicyChange) => Effect.Effect<Applied> = () => Effect.succeed(nothing)
    const turn = Semaphore.makeUnsafe(1)

    /** Changes that may have been made half-way only, as the gateway met a bug: nothing later covers what is missing. */
    let unfinished: ReadonlyArray<PolicyChange> = []
    const make = Effect.fnUntraced(function* (change: PolicyChange) {
      unfinished = [...unfinished, change]
      const applied = yield* apply(change)
      unfinished = unfinished.filter((each) => each !== change)
      for (const warning of applied.warnings) yield* Effect.logError(warning)
      return applied
    })

    /** What is to be taken away is, even where the file is wrong by now. A bug that is met each time locks nobody out. */
    const finish = Effect.suspend(() => {
      const again = unfinished
      unfinished = []
      const inPart = `policy ${current.version} is in force in part only, as the gateway met a bug, and met it again: take the last change of the file back, or restart the gateway`
      // From where each of them began to what is wanted now.
      return Effect.forEach(again, ({ before }) =>
        Effect.catchCause(make(changeOf(before, current)), (cause) =>
          Effect.as(Effect.logError(inPart, cause), { ...nothing, warnings: [inPart] })
        )
      )
    }).pipe(Effect.uninterruptible)

    /** In force and told, whatever becomes of who asked for it. */
    const take = Effect.fnUntraced(function* (change: PolicyChange, since: number) {
      current = change.after
      const applied = yield* make(change)
      const all = [applied, ...(yield* finish)]
      const cut = all.reduce((sum, { sessions }) => sum + sessions.cut, 0)
      const warnings = [...new Set(all.flatMap((each) => each.warnings))]
      const tookMs = Math.round((yield* monotonicMillis) - since)
      const report = reportOf(change, { sessions: { ...applied.sessions, cut }, warnings }, tookMs)
      yield* tell(report)
      return report
    }, Effect.uninterruptible)

    /** The change to what is wanted now. */
    const change = Effect.gen(function* () {
      const wanted = yield* read
      const since = yield* monotonicMillis
      const before = current
      const difference = policyDifference(before.config, wanted)
      const { fixed } = difference
      if (fixed.length > 0) {
        return yield* new ReloadRefused({
          message: `${fixed.join(", ")} cannot change while the gateway runs — restart it, or take that change back`
        })
      }
      const version = isNothing(difference) ? before.version : before.version + 1
      return { change: { before, after: { version, config: wanted }, difference }, since }
    })

    const reload = change.pipe(
      Effect.onError(() => finish),
      Effect.flatMap(({ change, since }) => take(change, since)),
      Effect.mapError(({ message }) => new ReloadRefused({ message })),
      Effect.tapError(({ message }) =>
        Effect.forEach(message.split("\n"), (line) => Effect.logError(`nothing was reloaded: ${line}`))
      ),
      (reload) => turn.withPermit(reload)
    )

    return Registry.of({
      current: () => current,
      reload,
      follow: (by) =>
        Effect.acquireRelease(
          Effect.sync(() => void (apply = by)),
          () => Effect.sync(() => void (apply = () => Effect.succeed(nothing)))
        )
    })
  })

const changeOf = (before: VersionedPolicy, after: VersionedPolicy): PolicyChange => ({
  before,
  after,
  difference: policyDifference(before.config, after.config)
})

const reportOf = ({ after, difference }: PolicyChange, applied: Applied, tookMs: number): ReloadReport => {
  const { clients, grants, resolvers, resources, settings } = difference
  const named = (list: ReadonlyArray<{ readonly id: string }>) => list.map(({ id }) => id)
  return {
    version: after.version,
    clients: { ...clients, added: named(clients.added), changed: named(clients.changed) },
    resources,
    grants: { ...countGrants(grants), named: grants.slice(0, maxNamed).map(nameGrant) },
    resolvers,
    settings,
    ...applied,
    tookMs
  }
}

/** Grants that a report names. */
const maxNamed = 100

const nameGrant = (grant: GrantChange): ReloadReport["grants"]["named"][number] => {
  const { after, before, client, resource } = grant
  const was = before === null ? null : describeGrant(before)
  const allows = after === null ? was! : describeGrant(after)
  return { client, resource, change: kindOfChange(grant), allows, before: was === allows ? null : was }
}

const describeGrant = ({ expiresAt, resource }: Authorization): string => {
  const ports = formatPortFilters(resource.filters)
  return expiresAt === null ? ports : `${ports}, until ${DateTime.formatIso(DateTime.makeUnsafe(expiresAt))}`
}

/** The audit line. */
const tell = ({ clients, grants, resolvers, resources, sessions, settings, tookMs, version }: ReloadReport) =>
  Effect.logInfo("reloaded").pipe(
    Effect.annotateLogs({
      version,
      clients: counts(clients),
      resources: counts(resources),
      grants: `+${grants.added} ~${grants.changed} -${grants.removed}`,
      changed: [...resolvers.map((name) => `resolvers.${name}`), ...settings].join(" ") || "nothing else",
      sessionsCut: sessions.cut,
      tookMs
    })
  )

const counts = ({ added, changed, removed }: ReloadReport["clients"]): string =>
  `+${added.length} ~${changed.length} -${removed.length}`
