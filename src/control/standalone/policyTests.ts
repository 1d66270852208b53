/** The tests of a file, held against its rules. Pure. */
import type { GatewayConfig } from "../../config/GatewayConfig.ts"
import type { FilesOfNames } from "../../host/NameFiles.ts"
import type { PolicyTest } from "../../model/PolicyTest.ts"
import { formatTarget } from "../../model/Target.ts"
import { DestinationPolicy } from "../../nat/destinationPolicy.ts"
import { parseNetwork } from "../../packet/address.ts"
import { describeDenial } from "./describeDenial.ts"
import { ReachRules } from "./reach.ts"

export interface TestOutcome {
  readonly test: PolicyTest
  /** What was found, in a line: `alice reaches gitlab.corp.internal:443 by gitlab`. */
  readonly found: string
  /** `null`: the test holds. */
  readonly fix: string | null
  /** It does not hold, and would if nothing had expired. */
  readonly hasExpired: boolean
}

/** What the file alone says of destinations: the addresses of the host are not known. */
export const destinationsOf = ({ network }: Pick<GatewayConfig, "network">): DestinationPolicy => {
  const destinations = new DestinationPolicy()
  destinations.setRanges(
    [network.tunnel4, network.tunnel6].map((range) => parseNetwork(range)!),
    [network.proxy4, network.proxy6].map((range) => parseNetwork(range)!)
  )
  return destinations
}

/** One by one, since a gateway that is reloading has other things to do in between. `now`: epoch milliseconds. */
export function* runPolicyTests(config: GatewayConfig, files: FilesOfNames, now: number): Generator<TestOutcome> {
  const destinations = destinationsOf(config)
  const rules = new ReachRules(config, files, destinations)
  let lasting: ReachRules | undefined
  for (const test of config.tests) {
    const outcome = outcomeOf(config, test, rules, now)
    if (outcome.fix === null) {
      yield { test, ...outcome, hasExpired: false }
      continue
    }
    lasting ??= new ReachRules({ ...config, grants: withoutEnd(config.grants) }, files, destinations)
    yield { test, ...outcome, hasExpired: outcomeOf(config, test, lasting, now).fix === null }
  }
}

const withoutEnd = (grants: GatewayConfig["grants"]): GatewayConfig["grants"] =>
  grants.map((grant) => ({ ...grant, expiresAt: null }))

const outcomeOf = (
  config: GatewayConfig,
  { client, expect, reach: target }: PolicyTest,
  rules: ReachRules,
  now: number
): Pick<TestOutcome, "found" | "fix"> => {
  const { names, verdict } = rules.reach(client, target, now)
  const what = formatTarget(target)
  const isInternet = verdict._tag === "Depends" && verdict.as === "outside" && verdict.internet !== null
  if (verdict._tag === "Allowed" || isInternet) {
    const by = (verdict._tag === "Allowed" ? verdict.by : verdict.internet)?.resource.id
    const less = by === undefined ? "" : `take ${client} out of allow: of ${by}, or `
    return {
      found: `${client} reaches ${what} by ${by ?? "the gateway itself"}`,
      fix: expect === "allowed" ? null : `${less}write expect: allowed`
    }
  }
  if (verdict._tag === "Short") {
    const found = `whether ${client} reaches ${what} hangs on which of ${verdict.names.join(", ")} exist`
    return { found, fix: "write the whole name" }
  }
  if (verdict._tag === "Depends") {
    const found = `whether ${client} reaches ${what} hangs on addresses that only the servers of ${verdict.resolver} know`
    return { found, fix: "write the address" }
  }
  const reason = describeDenial(verdict.why, {
    places: config.places,
    // For the fix alone, which costs a look at each of them.
    grants: expect === "denied" ? [] : rules.grantsOf(client),
    client,
    target,
    host: names.at(-1) ?? target.host,
    now
  })
  return {
    found: `${client} does not reach ${what}: ${reason.what}`,
    fix: expect === "denied" ? null : `${reason.fix}, or write expect: denied`
  }
}
