/** An operator changes the file fifty times while a hundred clients download: it breaks only for those whose right has gone. */
import { fileURLToPath } from "node:url"
import { assert, it } from "@effect/vitest"
import { Effect, Queue, Schedule, Schema } from "effect"
import { writeFileSync } from "node:fs"
import * as ControlClient from "../../layers/cli/ControlClient.ts"
import { askReload } from "../../src/cli/askReload.ts"
import { startNameServer, startOrigins } from "../../src/lab/demo/company.ts"
import { Lab, LabError } from "../../src/lab/demo/Lab.ts"
import { gatewayPort, startGateway } from "../../src/lab/demo/tunnel.ts"
import type { FleetJob } from "../bench/support/fleet.ts"
import { appName } from "../support/labWorld.ts"
import { inLab, inner, outer } from "../support/lab.ts"

const clients = 100
/** The last of them, who lose their right. */
const leaving = 10
const bytes = 500_000
/** What each may have read more after a reload. */
const step = 8_000

/** What a file says that is changed, and changed back. */
const usual = {
  client: "",
  network: `lan: { cidr: ${inner.origin.v4}/32`,
  name: `intranet: { name: ${appName}`,
  ports: "[tcp/80]",
  group: "staff",
  left: ", leaving",
  resolvers: `"udp://${inner.dns.v4}"`,
  expires: "",
  more: "log_level: info",
  resource: ""
}
type File = typeof usual

const changes: ReadonlyArray<readonly [what: string, change: Partial<File>]> = [
  ["a client added", { client: `  late: { public_key: "${"B".repeat(42)}E=", groups: [staff] }` }],
  ["a network renamed", { network: `office: { cidr: ${inner.origin.v4}/32` }],
  ["a network widened", { network: `lan: { cidr: ${inner.network.v4}` }],
  ["a name renamed", { name: `app: { name: ${appName}` }],
  ["a name widened", { name: `intranet: { name: "*.corp.internal"` }],
  [
    "names and networks that change their places",
    { network: `intranet: { cidr: ${inner.origin.v4}/32`, name: `lan: { name: ${appName}` }
  ],
  ["more ports", { ports: "[tcp/80, tcp/443, icmp]" }],
  ["a group renamed", { group: "crew" }],
  ["another resolver", { resolvers: `"udp://[${inner.dns.v6}]"` }],
  ["an expiry", { expires: ", expires: 2099-01-01" }],
  ["settings", { more: "log_level: debug\nlog_dns: true\nsearch: [corp.internal]\nother_names: refuse" }],
  [
    "the gateway's host opened",
    { resource: `  own: { cidr: ${inner.gateway.v4}/32, allow: [staff], allow_gateway_host: true }` }
  ]
]

const Downloads = Schema.Array(Schema.Struct({ end: Schema.NullOr(Schema.String), received: Schema.Finite }))

/** The helper that is all the clients. */
const startCrowd = Effect.fnUntraced(function* (job: FleetJob) {
  const lab = yield* Lab
  const path = yield* lab.writeFile("crowd.json", JSON.stringify(job))
  const main = fileURLToPath(new URL("../support/crowdMain.ts", import.meta.url))
  const child = yield* lab.spawn("client", [process.execPath, main, path])
  const line = Queue.take(child.lines).pipe(
    Effect.timeout("60 seconds"),
    Effect.catch(() => Effect.flatMap(child.output, (output) => new LabError({ message: `the crowd: ${output}` })))
  )
  yield* line
  let id = 0
  return <A>(method: string, parameters: object, result: Schema.Decoder<A>) =>
    Effect.gen(function* () {
      yield* child.send(JSON.stringify({ id: ++id, method, parameters }))
      const answer = yield* Schema.decodeEffect(Schema.fromJsonString(Schema.Struct({ result })))(yield* line)
      return answer.result
    })
})

it.live(
  "fifty reloads of every kind cut the flows of those whose right has gone, and nobody else's",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const nameServer = yield* startNameServer
      yield* nameServer.set({ mode: "answer", name: appName, a: [inner.origin.v4], aaaa: [], ttl: 60 })
      yield* startOrigins
      const keys = yield* Effect.forEach(Array.from({ length: clients }), () => lab.keyPair)
      const tunnel4 = (i: number) => `100.65.0.${i}`
      const configOf = (change: Partial<File>) => {
        const { client, expires, group, left, more, name, network, ports, resolvers, resource } = {
          ...usual,
          ...change
        }
        const known = keys.map(({ publicKey }, i) => {
          const of = i < clients - leaving ? group : "leaving"
          return `  c${i}: { public_key: "${publicKey}", groups: [${of}], tunnel_ipv4: ${tunnel4(i)} }`
        })
        return `endpoint: ${outer.gateway.v4}:${gatewayPort}
resolvers: { corp: [${resolvers}] }
clients:
${[...known, client].join("\n")}
resources:
  ${network}, ports: ${ports}, allow: [${group}${left}]${expires} }
  ${name}, resolver: corp, ports: ${ports}, allow: [${group}${left}]${expires} }
${resource}
${more}
`
      }
      const gateway = yield* startGateway({ config: configOf({}) })
      const ask = yield* startCrowd({
        gateway: { address: outer.gateway.v4, port: gatewayPort, publicKey: gateway.publicKey },
        clients: keys.map(({ privateKey }, i) => ({ privateKey, tunnel4: tunnel4(i) })),
        sources: [outer.client.v4],
        parameters: {}
      })
      const connected = yield* ask("connect", {}, Schema.Finite)
      for (let client = 0; client < clients; client++) {
        // Half of them by the name, half by the network.
        const address =
          client % 2 === 0 ? yield* ask("resolve", { client, name: appName }, Schema.String) : inner.origin.v4
        yield* ask("download", { client, address, bytes }, Schema.Null)
      }
      const downloads = ask("downloads", {}, Downloads)
      let allowed = 0
      /** Those who still may read as much as they are allowed to. */
      const readOn = Effect.fnUntraced(function* (to: number, readers: number) {
        allowed = to
        yield* ask("allow", { bytes: allowed }, Schema.Null)
        const all = (now: typeof Downloads.Type) => now.slice(0, readers).every(({ received }) => received >= allowed)
        const now = yield* Effect.repeat(downloads, {
          until: all,
          schedule: Schedule.spaced("20 millis"),
          times: 1_500
        })
        assert.isTrue(all(now), `${allowed} bytes: ${JSON.stringify(now)}`)
      })
      const own = `state_dir: ${lab.directory}/gateway-state\ncontrol_socket: ${lab.directory}/gateway.sock\n`
      const write = (text: string) => Effect.sync(() => writeFileSync(gateway.configPath, text + own))
      const socket = `${lab.directory}/gateway.sock`
      const reload = askReload(socket)
      const cut: Record<string, number> = {}
      let reloads = 0
      const take = Effect.fnUntraced(function* (what: string, change: Partial<File>, readers: number) {
        yield* write(configOf(change))
        const { sessions, version, warnings } = yield* reload
        cut[what] = (cut[what] ?? 0) + sessions.cut
        assert.strictEqual(version, ++reloads + 1, what)
        assert.deepStrictEqual(warnings, [], what)
        yield* readOn(allowed + step, readers)
      })

      yield* readOn(step, clients)
      for (const [what, change] of changes) {
        yield* take(what, change, clients)
        yield* take(what, {}, clients)
      }
      yield* take("a right taken away", { left: "" }, clients - leaving)
      yield* write(`${configOf({ left: "" })}resources: {}\n`)
      const refused = yield* Effect.flip(reload)
      for (const [what, change] of changes) {
        yield* take(what, { ...change, left: "" }, clients - leaving)
        yield* take(what, { left: "" }, clients - leaving)
      }
      yield* ask("allow", { bytes: Number.MAX_SAFE_INTEGER }, Schema.Null)
      const ends = (yield* Effect.repeat(downloads, {
        until: (now) => now.slice(0, clients - leaving).every(({ end }) => end !== null),
        schedule: Schedule.spaced("50 millis"),
        times: 400
      })).map(({ end, received }) => (received < bytes ? "cut" : end))

      assert.strictEqual(connected, clients)
      assert.strictEqual(reloads + 1, 50)
      assert.match(refused.message, /\.yaml:\d+:\d+: /)
      assert.deepStrictEqual(cut, {
        ...Object.fromEntries(changes.map(([what]) => [what, 0])),
        "a right taken away": leaving
      })
      assert.deepStrictEqual(
        ends,
        Array.from({ length: clients }, (_, i) => (i < clients - leaving ? "whole" : "cut"))
      )
    }).pipe(Effect.provide(ControlClient.layer), inLab),
  { timeout: 180_000 }
)
