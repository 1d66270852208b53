/** The tests of a file, held against its rules. Pure. */
import type { GatewayConfig } from "../../config/GatewayConfig.ts"
import type { PolicyTest } from "../../model/PolicyTest.ts"
import { formatTarget } from "../../model/Target.ts"
import { DestinationPolicy } from "../../nat/destinationPolicy.ts"
import { parseNetwork } from "../../packet/address.ts"
import { describeDenial } from "./describeDenial.ts"
import type { FilesOfNames } from "./nameRoutes.ts"
import { type Reach, ReachRules } from "./reach.ts"

export interface TestOutcome {
  readonly test: PolicyTest
  /** What was found, in a line: `alice reaches gitlab.corp.internal:443 by gitlab`. */
  readonly found: string
  /** `null`: the test holds. */
  readonly fix: string | null
  /** It does not hold for one reason: a grant has expired. */
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

/** `now`: epoch milliseconds. */
export const runPolicyTests = (config: GatewayConfig, files: FilesOfNames, now: number): ReadonlyArray<TestOutcome> => {
  const rules = new ReachRules(config, files, destinationsOf(config))
  return config.tests.map((test) => outcomeOf(config, test, rules.reach(test.client, test.reach, now), now))
}

const outcomeOf = (config: GatewayConfig, test: PolicyTest, { names, verdict }: Reach, now: number): TestOutcome => {
  const { client, expect, reach: target } = test
  const what = formatTarget(target)
  const isInternet = verdict._tag === "Depends" && verdict.as === "outside" && verdict.internet !== null
  if (verdict._tag === "Allowed" || isInternet) {
    const by = verdict._tag === "Allowed" ? verdict.by : verdict.internet
    const found = `${client} reaches ${what} by ${by?.resource.id ?? "the gateway itself"}`
    const fix = `take ${client} out of allow: of ${by?.resource.id ?? ""}, or write expect: allowed`
    return { test, found, fix: expect === "allowed" ? null : fix, hasExpired: false }
  }
  if (verdict._tag === "Short") {
    const found = `whether ${client} reaches ${what} hangs on which of ${verdict.names.join(", ")} exist`
    return { test, found, fix: "write the whole name", hasExpired: false }
  }
  if (verdict._tag === "Depends") {
    return {
      test,
      found: `whether ${client} reaches ${what} hangs on addresses that only the servers of ${verdict.resolver} know`,
      fix: "write the address",
      hasExpired: false
    }
  }
  const host = names.at(-1) ?? target.host
  const reason = describeDenial(verdict.why, { policy: config, client, target, host, now })
  return {
    test,
    found: `${client} does not reach ${what}: ${reason.what}`,
    fix: expect === "denied" ? null : `${reason.fix}, or write expect: denied`,
    hasExpired: expect === "allowed" && verdict.why._tag === "Expired"
  }
}
