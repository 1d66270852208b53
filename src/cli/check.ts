import * as Command from "effect/cli/Command"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import { ConfigError } from "../config/problem.ts"
import type { TestOutcome } from "../control/standalone/policyTests.ts"
import { isOpen } from "../model/Authorization.ts"
import { rightsByClient } from "../model/Grant.ts"
import { formatPortFilters } from "../model/PortFilter.ts"
import { formatHostPort } from "../packet/endpoint.ts"
import { configFlag } from "./configFlag.ts"
import { endpointInside, routedNetworks } from "./endpointInside.ts"
import { HostIpv6 } from "./HostIpv6.ts"
import { HostNames } from "./HostNames.ts"
import { load } from "./load.ts"
import { counted, table } from "./textTable.ts"

/** `sallyport check`: says what is wrong with the file, or what it means. Touches nothing. */
export const check = Command.make(
  "check",
  { config: configFlag },
  Effect.fnUntraced(function* ({ config: file }) {
    const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
    const { testConfig } = yield* load(() => import("./testConfig.ts"))
    const { nameTables } = yield* load(() => import("./checkNames.ts"))
    const { readNameFiles } = yield* load(() => import("./readNameFiles.ts"))
    const { configRemarks } = yield* load(() => import("./configRemarks.ts"))
    const config = yield* readConfig(file)
    const { clients, endpoint, sites } = config
    const elsewhere = sites?.elsewhere ?? []
    const resources = [...config.resources, ...elsewhere.map(({ resource }) => resource)]
    const grants = [...config.grants, ...elsewhere]
    yield* Console.log(
      `${file} is correct: ${counted(clients.length, "client")}, ${counted(resources.length, "resource")}`
    )
    yield* Console.log(
      `clients dial ${formatHostPort(endpoint.host, endpoint.port)}; the gateway listens on UDP port ${config.listenPort}`
    )
    if (sites !== null) {
      const others = sites.all.slice(1).map(({ name }) => name)
      yield* Console.log(
        `the gateway is of site ${sites.own.name}; ${others.length === 0 ? "there is no other one" : `others are ${others.join(", ")}`}`
      )
    }
    for (const line of yield* endpointLines(config)) yield* Console.log(line)
    const missing = yield* (yield* HostIpv6).missing
    if (missing !== null) yield* Console.log(missing)
    const now = yield* Clock.currentTimeMillis
    for (const { text, warning } of yield* configRemarks(config, file, now)) {
      yield* Console.log(warning ? `warning: ${text}` : text)
    }
    if (clients.length > 0) {
      const rights = rightsByClient(grants.filter((grant) => isOpen(grant, now)))
      const rows = clients.map(({ id, tunnel4, tunnel6 }) => {
        const reached = rights.get(id)?.map(({ resource }) => resource.id) ?? ["nothing"]
        return [id, tunnel4, tunnel6, reached.join(" ")]
      })
      yield* Console.log(`\n${table(["CLIENT", "IPV4", "IPV6", "MAY REACH"], rows)}`)
    }
    if (resources.length > 0) {
      const rows = resources.map((resource) => [
        resource.id,
        resource.kind === "dns" ? resource.pattern : resource.kind === "cidr" ? resource.network : "the Internet",
        formatPortFilters(resource.filters),
        resource.kind === "internet" ? "-" : (resource.resolver ?? "-"),
        ...(sites === null ? [] : [(elsewhere.find((grant) => grant.resource === resource)?.site ?? sites.own).name])
      ])
      const site = sites === null ? [] : ["SITE"]
      yield* Console.log(`\n${table(["RESOURCE", "IS", "PORTS", "RESOLVER", ...site], rows)}`)
    }
    for (const part of nameTables(config)) yield* Console.log(`\n${part}`)
    yield* tellTests(yield* testConfig(config, readNameFiles))
  })
).pipe(Command.withDescription("Check the configuration, and say what it means, without touching anything"))

/** Fails where one does not hold. */
const tellTests = Effect.fnUntraced(function* (outcomes: ReadonlyArray<TestOutcome>) {
  if (outcomes.length === 0) return
  yield* Console.log("")
  for (const { fix, found, test } of outcomes) {
    yield* Console.log(fix === null ? `✔ ${found}` : `✘ ${test.place}: expects ${test.expect}, but ${found} — ${fix}`)
  }
  const failed = outcomes.filter(({ fix }) => fix !== null).length
  if (failed > 0) {
    return yield* new ConfigError({
      message: `${failed} of ${counted(outcomes.length, "test")} do not hold — see above`
    })
  }
})

const endpointLines = Effect.fnUntraced(function* (config: GatewayConfig) {
  const { host } = config.endpoint
  const addresses = yield* (yield* HostNames).lookup(host)
  return addresses.length === 0
    ? [`${host} does not resolve here: whether it is inside one of the networks cannot be told`]
    : endpointInside("file", addresses, routedNetworks(config))
})
