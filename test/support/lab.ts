/** System tests run in the lab: real namespaces, real programs. One fresh lab per test. */
import { Effect, Schema, type Scope } from "effect"
import * as LabLayer from "../../layers/lab/Lab.ts"
import { Lab, labAddresses, type LabError, type LabHost } from "../../src/lab/demo/Lab.ts"
import { gatewayPort, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"

/** Gives the test a lab of its own and takes it away again, whatever happens. */
export const inLab = <A, E>(effect: Effect.Effect<A, E, Lab | Scope.Scope>): Effect.Effect<A, E | LabError> =>
  effect.pipe(Effect.scoped, Effect.provide(LabLayer.layer, { local: true }))

export const { inner, outer } = labAddresses

/** A `sallyport.yaml` for the lab: one client, `app.corp.internal` and more resources when wanted. */
export const gatewayConfig = (options: {
  readonly clientKey: string
  /** What clients dial; default: the gateway's address. */
  readonly endpoint?: string
  readonly presharedKey?: string
  /** More lines below `clients:`. */
  readonly clients?: string
  readonly resources?: string
  /** Addresses of the set `corp`, IPv6 in brackets; default: the company's name server. */
  readonly resolvers?: ReadonlyArray<string>
  readonly more?: string
}): string => `endpoint: ${options.endpoint ?? outer.gateway.v4}:${gatewayPort}
resolvers: { corp: [${(options.resolvers ?? [inner.dns.v4]).map((at) => `"udp://${at}"`).join(", ")}] }
clients:
  visitor:
    public_key: "${options.clientKey}"${options.presharedKey === undefined ? "" : `\n    preshared_key: "${options.presharedKey}"`}
    tunnel_ipv4: ${tunnelAddresses.client.v4}
    tunnel_ipv6: "${tunnelAddresses.client.v6}"
${options.clients ?? ""}
resources:
${options.resources ?? `  intranet: { name: app.corp.internal, resolver: corp, allow: [visitor] }`}
${options.more ?? ""}
`

/** Answers of `dig +short`, one per line, sorted; empty when there was none. Never waits longer than 10 s. */
export const dig = Effect.fnUntraced(function* (host: LabHost, server: string, ...question: ReadonlyArray<string>) {
  const lab = yield* Lab
  const { stdout } = yield* lab.attempt(host, ["dig", `@${server}`, "+short", "+time=2", "+tries=1", ...question])
  return stdout
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith(";"))
    .toSorted()
})

/** All that `dig` prints: status, flags and sections. */
export const digFully = Effect.fnUntraced(function* (
  host: LabHost,
  server: string,
  ...question: ReadonlyArray<string>
) {
  const lab = yield* Lab
  const result = yield* lab.attempt(host, ["dig", `@${server}`, "+time=2", "+tries=1", ...question])
  return result.stdout
})

const CurlReport = Schema.fromJsonString(
  Schema.Struct({
    exitcode: Schema.Finite,
    http_code: Schema.Finite,
    size_download: Schema.Finite,
    time_total: Schema.Finite,
    errormsg: Schema.NullOr(Schema.String)
  })
)

/** What `curl` says about one request; a refused or unreachable one is a result too (`exitcode` 7). */
export const curl = Effect.fnUntraced(function* (host: LabHost, ...parameters: ReadonlyArray<string>) {
  const lab = yield* Lab
  const { stdout } = yield* lab.attempt(
    host,
    ["curl", "--silent", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{json}", ...parameters],
    { timeout: "25 seconds" }
  )
  return yield* Schema.decodeEffect(CurlReport)(stdout)
})

/** Drops DNS at the name server's host (or, with `false`, lets it pass again): a black hole, not a refusal. */
export const blackHoleDns = Effect.fnUntraced(function* (on: boolean) {
  const lab = yield* Lab
  yield* lab.attempt("lan", ["nft", "delete", "table", "inet", "black_hole"])
  if (!on) return
  yield* lab.exec("lan", ["nft", "-f", "-"], {
    input: `table inet black_hole {
  chain in {
    type filter hook input priority 0;
    meta l4proto { tcp, udp } th dport 53 drop
  }
}
`
  })
})

/** Loses `percent` of the packets (of those that `match` is true for) that the host receives from its wire, by chance. */
export const losePackets = Effect.fnUntraced(function* (host: LabHost, device: string, percent: number, match = "") {
  const lab = yield* Lab
  yield* lab.attempt(host, ["nft", "delete", "table", "inet", "loss"])
  if (percent === 0) return
  yield* lab.exec(host, ["nft", "-f", "-"], {
    input: `table inet loss {
  chain in {
    type filter hook prerouting priority -300;
    iifname ${device} ${match} numgen random mod 100 < ${percent} counter drop
  }
}
`
  })
})
