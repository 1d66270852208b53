/** The policy in memory, with a way to read it anew. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { withPolicy } from "../../../src/config/sitePolicy.ts"
import { makeYamlReader } from "../../../src/config/yamlReader.ts"
import {
  type Applied,
  type PolicyChange,
  Registry,
  ReloadRefused,
  type ReloadReport,
  type VersionedPolicy
} from "../../../src/control/Registry.ts"
import { changeReport } from "../../../src/control/standalone/changeReport.ts"
import { isNothing, policyDifference } from "../../../src/control/standalone/policyDifference.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import type { SitePolicy } from "../../../src/shared/SitePolicy.ts"

export interface RegistryOptions {
  readonly config: GatewayConfig
  /** Of the site, as it was known last. */
  readonly policy?: SitePolicy | null
  /** Reads what is wanted now, and checks it. */
  readonly read?: Effect.Effect<GatewayConfig, { readonly message: string }>
}

const nothing: Applied = { sessions: { cut: 0, untouched: 0 }, warnings: [] }

const noFile = new ReloadRefused({ message: "this gateway has no file to read again — start it with sallyport up" })

/** What is wanted, and by whom: the gateway's own file, and the site. */
interface Wanted {
  readonly own: GatewayConfig
  readonly policy: SitePolicy | null
}

export const layer = ({ config, policy = null, read = noFile }: RegistryOptions): Layer.Layer<Registry> =>
  Layer.effect(
    Registry,
    Effect.gen(function* () {
      const readYaml = makeYamlReader()
      const configOf = ({ own, policy }: Wanted) =>
        policy === null
          ? Result.succeed(own)
          : withPolicy(own, policy.text, `policy ${policy.version} of the site`, readYaml)
      const first = configOf({ own: config, policy })
      if (Result.isFailure(first)) {
        for (const line of first.failure.message.split("\n")) yield* Effect.logError(`${ownCounts}: ${line}`)
      }
      let wanted: Wanted = { own: config, policy: Result.isFailure(first) ? null : policy }
      let current: VersionedPolicy = {
        version: 1,
        config: Result.getOrElse(first, () => config),
        site: wanted.policy
      }
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
      const take = Effect.fnUntraced(function* (next: Wanted, change: PolicyChange, since: number) {
        wanted = next
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

      /** The change to what is wanted next. */
      const changeTo = Effect.fnUntraced(function* (next: Wanted) {
        const since = yield* monotonicMillis
        const config = yield* Effect.fromResult(configOf(next))
        const before = current
        const difference = policyDifference(before.config, config)
        const { fixed } = difference
        if (fixed.length > 0) {
          return yield* new ReloadRefused({
            message: `${fixed.join(", ")} cannot change while the gateway runs — restart it, or take that change back`
          })
        }
        const version = isNothing(difference) ? before.version : before.version + 1
        return { next, change: { before, after: { version, config, site: next.policy }, difference }, since }
      })

      /** One at a time. */
      const follow = (next: Effect.Effect<Wanted, { readonly message: string }>) =>
        next.pipe(
          Effect.flatMap(changeTo),
          Effect.onError(() => finish),
          Effect.flatMap(({ change, next, since }) => take(next, change, since)),
          Effect.mapError(({ message }) => new ReloadRefused({ message })),
          (reload) => turn.withPermit(reload)
        )

      const reload = follow(Effect.map(read, (own) => ({ ...wanted, own }))).pipe(
        Effect.tapError(({ message }) =>
          Effect.forEach(message.split("\n"), (line) => Effect.logError(`nothing was reloaded: ${line}`))
        )
      )

      return Registry.of({
        current: () => current,
        reload,
        adopt: (policy) => follow(Effect.sync(() => ({ ...wanted, policy }))),
        follow: (by) =>
          Effect.acquireRelease(
            Effect.sync(() => void (apply = by)),
            () => Effect.sync(() => void (apply = () => Effect.succeed(nothing)))
          )
      })
    })
  )

const ownCounts = "what the file says counts, as the site's policy that was known last cannot be used"

const changeOf = (before: VersionedPolicy, after: VersionedPolicy): PolicyChange => ({
  before,
  after,
  difference: policyDifference(before.config, after.config)
})

const reportOf = ({ after, difference }: PolicyChange, applied: Applied, tookMs: number): ReloadReport => ({
  version: after.version,
  ...(after.site === null ? {} : { site: after.site.version }),
  ...changeReport(difference),
  ...applied,
  tookMs
})

/** The audit line. */
const tell = ({ clients, grants, resolvers, resources, sessions, settings, site, tookMs, version }: ReloadReport) =>
  Effect.logInfo("reloaded").pipe(
    Effect.annotateLogs({
      version,
      ...(site === undefined ? {} : { sitePolicy: site }),
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
