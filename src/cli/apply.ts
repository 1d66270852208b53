import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import { parsePostgresAddress } from "../config/postgresAddress.ts"
import { ConfigError } from "../config/problem.ts"
import { monotonicMillis } from "../loops/monotonic.ts"
import { type PolicyStore, PolicyStores } from "../shared/PolicyStore.ts"
import type { PolicyVersion, SitePolicy } from "../shared/SitePolicy.ts"
import { changeLines } from "./changeLines.ts"
import { ControlError } from "./ControlClient.ts"
import { load } from "./load.ts"
import { switchFlag } from "./switchFlag.ts"
import { counted, list } from "./textTable.ts"
import { fromFlag, UsageError } from "./usageError.ts"

/** `sallyport apply FILE`: what the file says of clients, resources and names is the policy of all gateways of its site. */
export const apply = Command.make(
  "apply",
  {
    file: Argument.String("file").pipe(Argument.withDescription("A sallyport.yaml with the policy of the whole site")),
    state: Flag.String("state").pipe(
      Flag.withMetavar("<address>"),
      Flag.withDescription("The site's PostgreSQL (default: state: in the file)"),
      Flag.optional
    ),
    dryRun: switchFlag("dry-run", "Check it, and show what would change; nothing is written"),
    json: switchFlag("json", "Print what has changed, and who has it, as JSON")
  },
  Effect.fnUntraced(function* ({ dryRun, file, json, state }) {
    const { text, wanted } = yield* readPolicy(file)
    const address = Option.isSome(state) ? yield* fromFlag("--state", parsePostgresAddress(state.value)) : wanted.state
    if (address === null) {
      return yield* new UsageError({ message: `${file} names no site — add state: to it, or --state` })
    }
    const stores = yield* PolicyStores
    const store = yield* stores.open(address)
    const { isOutrun, policy } = yield* store.newest
    const changes = yield* changesSince(policy, wanted)
    const lines = changeLines(changes)
    const tell = (answer: Omit<Answer, "changes">, more: ReadonlyArray<string>) =>
      Console.log(json ? JSON.stringify({ ...answer, changes }) : [...lines, ...more].join("\n"))
    const is = policy === null ? "the site has no policy yet" : `policy ${policy.version} of the site says the same`
    const isSame = policy !== null && lines.length === 0 && !isOutrun
    if (dryRun) {
      const over = isSame || policy === null ? is : `policy ${policy.version} is the newest one`
      return yield* tell({ version: policy?.version ?? null, written: false, gateways: [] }, [
        `${over}; nothing is written`
      ])
    }
    const version = isSame
      ? policy
      : yield* store.apply({ text, by: yield* stores.author, compared: policy?.token ?? null })
    if (version === null) return yield* overtaken(store)
    const { gateways, tookMs } = yield* whoHas(store, version)
    const late = gateways.flatMap(({ gateway, has }) => (has ? [] : [gateway]))
    const inForce = `policy ${version.version} is in force at`
    const outcome =
      gateways.length === 0
        ? `policy ${version.version} is written; no gateway lives, and each takes it when it comes`
        : late.length === 0
          ? `${inForce} all ${counted(gateways.length, "living gateway")} after ${tookMs} ms`
          : `${inForce} ${gateways.length - late.length} of ${counted(gateways.length, "living gateway")}`
    yield* tell({ version: version.version, written: !isSame, gateways }, [
      isSame ? `${is}; nothing is written` : outcome
    ])
    if (late.length > 0) {
      return yield* new ControlError({
        message: `gateway ${list(late.map(String))} does not go by policy ${version.version} after ${tookMs} ms — sallyport status there says why`
      })
    }
  }, Effect.scoped)
).pipe(Command.withDescription("Make a file's clients, resources and names the policy of all gateways of its site"))

/** How it went, as JSON. */
interface Answer {
  /** The site's newest one now; `null`: there is none. */
  readonly version: number | null
  readonly written: boolean
  /** Those that live, and whether they go by it. */
  readonly gateways: ReadonlyArray<{ readonly gateway: number; readonly has: boolean }>
  readonly changes: Parameters<typeof changeLines>[0]
}

/** As `check` does. */
const readPolicy = Effect.fnUntraced(function* (file: string) {
  const { readBounded } = yield* load(() => import("../config/readConfig.ts"))
  const { parseConfig } = yield* load(() => import("../config/parseConfig.ts"))
  const { failuresOf, testConfig } = yield* load(() => import("./testConfig.ts"))
  const { readNameFiles } = yield* load(() => import("./readNameFiles.ts"))
  const text = yield* readBounded(file)
  const wanted = yield* Effect.fromResult(parseConfig(text, file))
  for (const warning of wanted.warnings) yield* Console.error(`warning: ${warning}`)
  const broken = failuresOf(yield* testConfig(wanted, readNameFiles))
  if (broken.length > 0) return yield* new ConfigError({ message: broken.join("\n") })
  return { text, wanted }
})

/** Of a site without a policy all of it is new. Where there are several sites, it is told what changes at any of them. */
const changesSince = Effect.fnUntraced(function* (policy: SitePolicy | null, file: GatewayConfig) {
  const { withPolicy } = yield* load(() => import("../config/sitePolicy.ts"))
  const { policyDifference } = yield* load(() => import("../control/standalone/policyDifference.ts"))
  const { changeReport } = yield* load(() => import("../control/standalone/changeReport.ts"))
  const wanted = everywhere(file)
  const nothing = {
    ...wanted,
    clients: [],
    resources: [],
    grants: [],
    resolvers: new Map(),
    zones: [],
    records: new Map()
  }
  const before = policy === null ? null : withPolicy(file, policy.text, `policy ${policy.version} of the site`)
  if (before !== null && Result.isFailure(before)) {
    yield* Console.error(`warning: all is told as new, since this version cannot read ${before.failure.message}`)
  }
  const was = before === null ? nothing : Result.match(before, { onFailure: () => nothing, onSuccess: everywhere })
  return changeReport(policyDifference(was, wanted))
})

/** With what all sites serve; a resource that has moved to another one is another one. */
const everywhere = (config: GatewayConfig): GatewayConfig => {
  if (config.sites === null) return config
  const { elsewhere, ...sites } = config.sites
  const theirs = elsewhere.map(({ resource, site, ...grant }) => ({
    ...grant,
    resource: { ...resource, site: site.name }
  }))
  return {
    ...config,
    resources: [...config.resources, ...theirs.map(({ resource }) => resource)],
    grants: [...config.grants, ...theirs],
    sites: { ...sites, elsewhere: [] }
  }
}

const overtaken = Effect.fnUntraced(function* (store: PolicyStore) {
  const { policy } = yield* store.newest
  const other = policy === null ? "another policy" : `policy ${policy.version} of ${policy.by}`
  return yield* new ControlError({
    message: `nothing is written: ${other} has come in between — see what it is, and apply the file again`
  })
})

/** It is everywhere within a second, where all is well. */
const patienceMs = 2_000

const whoHas = Effect.fnUntraced(function* (store: PolicyStore, { token }: PolicyVersion) {
  const since = yield* monotonicMillis
  for (;;) {
    const holders = yield* store.holders
    const gateways = holders.map(({ gateway, inForce }) => ({ gateway, has: inForce?.token === token }))
    const tookMs = Math.round((yield* monotonicMillis) - since)
    if (gateways.every(({ has }) => has) || tookMs >= patienceMs) return { gateways, tookMs }
    yield* Effect.sleep("25 millis")
  }
})
