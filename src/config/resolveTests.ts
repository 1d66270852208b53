import { ClientId } from "../model/Client.ts"
import type { PolicyTest } from "../model/PolicyTest.ts"
import { contains, parseNetwork } from "../packet/address.ts"
import type { ConfigFile } from "./fileSchema.ts"
import type { ConfiguredClient, NetworkConfig } from "./GatewayConfig.ts"
import { quote } from "./problem.ts"
import type { Report } from "./report.ts"
import { suggestFix } from "./suggest.ts"

const maxTests = 1_000

/** The tests in the order of the file; of clients that are not there none can hold. */
export const resolveTests = (
  file: ConfigFile,
  known: { readonly clients: ReadonlyArray<ConfiguredClient>; readonly network: NetworkConfig | null },
  report: Report,
  placeOf: (path: ReadonlyArray<PropertyKey>) => string
): ReadonlyArray<PolicyTest> => {
  const tests = file.tests ?? []
  if (tests.length > maxTests) report(["tests"], `more than ${maxTests} tests`, "keep those that matter", true)
  const names = new Set<string>(known.clients.map(({ id }) => id))
  const proxies = known.network === null ? [] : [known.network.proxy4, known.network.proxy6]
  return tests.slice(0, maxTests).map(({ client, expect, reach }, i) => {
    if (!names.has(client)) {
      const fix = suggestFix(client, [...names], "add it under clients, or remove the test")
      report(["tests", i, "client"], `no client is called ${quote(client)}`, fix)
    }
    const { address, host } = reach
    if (address !== undefined && proxies.some((range) => contains(parseNetwork(range)!, address))) {
      report(["tests", i, "reach"], `${host} stands for a name, at each client for another one`, "write the name")
    }
    return { client: ClientId.make(client), reach, expect, place: placeOf(["tests", i]) }
  })
}
