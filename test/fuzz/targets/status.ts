/** What `status` shows of a gateway's answer: names of others never command the terminal. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { renderStatus } from "../../../src/cli/renderStatus.ts"
import { StatusReport } from "../../../src/cli/statusReport.ts"
import { jsonWords } from "../jsonWords.ts"
import { invariant, type Target, utf8 } from "../Target.ts"

const decode = Schema.decodeEffect(Schema.fromJsonString(StatusReport))

const report: StatusReport = {
  version: 2,
  at: 100_000,
  gateway: { publicKey: "k", endpoint: "vpn.example.com:51820", startedAt: 1, workerEpoch: 2 },
  controlPlane: { kind: "portal", connected: false, detail: "the portal is away" },
  clients: [
    {
      name: "ann",
      publicKey: "k",
      tunnel4: "100.64.0.2",
      tunnel6: "fd00::2",
      connected: true,
      endpoint: "192.0.2.1:1",
      path: "relayed",
      lastHandshakeAt: 99_000
    }
  ],
  mappings: [
    {
      client: "ann",
      resource: "app",
      resources: ["app", "all"],
      domain: "app.corp",
      resolver: "corp",
      proxyIps: ["100.96.0.1"],
      addresses: [],
      state: "Unresolved",
      reason: "timeout",
      since: 1,
      nextTryAt: 200_000,
      lookups: 3
    }
  ],
  authorizations: [{ client: "ann", resource: "app", expiresAt: 200_000 }],
  omitted: { mappings: 1, authorizations: 0 },
  counters: { controlPlane: { a: 1 }, dataPlane: {}, resolutions: {}, dns: {}, defects: { loop: 1 } }
}

export const target: Target = {
  seeds: utf8(JSON.stringify(report)),
  dictionary: [...jsonWords, ...utf8("\\u001b[31m", "\\u202e", "\\u009b", "\\r")],
  maxLength: 4_000,
  lifetime: 1,
  bound: 50,
  start: () => (input) => {
    const read = Effect.runSyncExit(decode(Buffer.from(input).toString("utf8")))
    if (!Exit.isSuccess(read)) return
    const shown = renderStatus(read.value)
    invariant(!/(?!\n)[\p{Cc}\p{Cf}]/u.test(shown), "control characters are shown")
  }
}
