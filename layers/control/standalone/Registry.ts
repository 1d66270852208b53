/** The policy in memory, with a way to read it anew. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Semaphore from "effect/Semaphore"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { type PolicyChange, Registry, ReloadRefused, type ReloadReport } from "../../../src/control/Registry.ts"
import {
  countGrants,
  type GrantChange,
  isNothing,
  kindOfChange,
  policyDifference
} from "../../../src/control/standalone/policyDifference.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import type { Authorization } from "../../../src/model/Authorization.ts"
import { formatPortFilter } from "../../../src/model/PortFilter.ts"

export interface RegistryOptions {
  readonly config: GatewayConfig
  /** Reads what is wanted now, and checks it. */
  readonly read?: Effect.Effect<GatewayConfig, { readonly message: string }>
}

type Apply = (change: PolicyChange) => Effect.Effect<ReloadReport["sessions"]>

const noFile = new ReloadRefused({ message: "this gateway has no file to read again — start it with sallyport up" })

export const layer = ({ config, read = noFile }: RegistryOptions): Layer.Layer<Registry> =>
  Layer.sync(Registry, () => {
    let current = { version: 1, config }
    let apply: Apply = () => Effect.succeed({ cut: 0, untouched: 0 })
    const turn = Semaphore.makeUnsafe(1)

    /** One that met a bug half-way: it is gone through again before anything else, as nothing later covers it. */
    let unfinished: PolicyChange | null = null
    const go = (change: PolicyChange) =>
      Effect.suspend(() => {
        unfinished = change
        return apply(change)
      }).pipe(Effect.tap(() => Effect.sync(() => void (unfinished = null))))

    /** In force and told, whatever becomes of who asked for it. */
    const take = Effect.fnUntraced(function* (change: PolicyChange, since: number) {
      current = change.after
      const sessions = yield* go(change)
      const report = reportOf(change, sessions, Math.round((yield* monotonicMillis) - since))
      if (!isNothing(change.difference)) yield* tell(report)
      return report
    }, Effect.uninterruptible)

    const reload = Effect.gen(function* () {
      const wanted = yield* read
      if (unfinished !== null) yield* Effect.uninterruptible(go(unfinished))
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
      return yield* take({ before, after: { version, config: wanted }, difference }, since)
    }).pipe(
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
          () => Effect.sync(() => void (apply = () => Effect.succeed({ cut: 0, untouched: 0 })))
        )
    })
  })

const reportOf = (
  { after, difference }: PolicyChange,
  sessions: ReloadReport["sessions"],
  tookMs: number
): ReloadReport => {
  const { clients, grants, resolvers, resources, settings } = difference
  const named = (list: ReadonlyArray<{ readonly id: string }>) => list.map(({ id }) => id)
  return {
    version: after.version,
    clients: { ...clients, added: named(clients.added), changed: named(clients.changed) },
    resources,
    grants: { ...countGrants(grants), named: grants.slice(0, maxNamed).map(nameGrant) },
    resolvers,
    settings,
    sessions,
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
  const ports = resource.filters.map(formatPortFilter).join(" ") || "all ports"
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
