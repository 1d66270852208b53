/** What clients tell the gateway inside the tunnel, and the gateway clients. */
import { domainStatus, readAssignedIps } from "../../../src/control/firezone/inTunnel.ts"
import { readDomainStatus } from "../../../src/lab/client/domainStatus.ts"
import { invariant, type Target, utf8 } from "../Target.ts"

export const target: Target = {
  seeds: utf8(
    '{"resource":"00000000-0000-4000-8000-000000000001","domain":"a.b","proxy_ips":["100.96.0.1","fd00:2021:1111:8000::1"]}',
    '{"status":"active","resource":"00000000-0000-4000-8000-000000000001","domain":"a"}'
  ),
  dictionary: utf8("null", "\\u0000", "\\ud800", "proxy_ips", "::", "100.96.0.1", '"Active"', "[", "{", '"__proto__":'),
  maxLength: 1_400,
  lifetime: 1,
  bound: 20,
  start: () => (input) => {
    readDomainStatus(input)
    const assigned = readAssignedIps(input)
    if (assigned === undefined) return
    const told = readDomainStatus(domainStatus("Active", assigned.echo))
    invariant(told !== undefined, "what the gateway answers can be read")
  }
}
