/** Two gateways with one key over one PostgreSQL: what one gives a client, the other translates, whatever becomes of it. */
import { assert, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { startNameServer, startOrigins } from "../../src/lab/demo/company.ts"
import { Lab, LabError, type LabHost } from "../../src/lab/demo/Lab.ts"
import { type Gateway, gatewayPort, startGateway, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { certificateAuthority } from "../support/certificates.ts"
import { curl, dig, gatewayConfig, inner } from "../support/lab.ts"
import { startPostgres } from "../support/postgres.ts"
import { inSite, site } from "../support/site.ts"
import { startWireguardGo } from "../support/wireguardGo.ts"

const nameOf = (label: string) => `${label}.svc.corp.internal`

const until = (gateway: Gateway, isSo: (report: StatusReport) => boolean) =>
  gateway.status.pipe(
    Effect.filterOrFail(isSo, (report) => new LabError({ message: JSON.stringify(report) })),
    Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 400 })
  )

it.live("a name that one gateway gave is translated at the other within a second; without PostgreSQL both go on", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const authority = yield* certificateAuthority
    const certificate = yield* Effect.promise(() => authority.issue(`IP:${inner.dns.v4}`))
    const within = { namespace: lab.namespace("lan"), address: inner.dns.v4 }
    const [server, nameServer] = yield* Effect.all(
      [startPostgres({ certificate, within }), startNameServer, startOrigins],
      { concurrency: 3 }
    )
    for (const label of ["one", "two", "exact"]) yield* nameServer.set({ name: nameOf(label), a: [inner.origin.v4] })
    const { privateKey, publicKey: clientKey } = yield* lab.keyPair
    const roots = yield* lab.writeFile("authority.pem", authority.cert)
    const database = yield* server.database
    const config = gatewayConfig({
      clientKey,
      resources: `  services: { name: "*.svc.corp.internal", resolver: corp, allow: [visitor] }
  exact: { name: ${nameOf("exact")}, resolver: corp, allow: [visitor] }`,
      more: `state: postgres://sallyport@${inner.dns.v4}:${server.port}/${database}?sslrootcert=${roots}`
    })

    // The key of the second one comes from the first one, as an operator carries it.
    const first = yield* startGateway({ config, host: "gateway" })
    const sallyport = (...words: ReadonlyArray<string>) => lab.exec("gateway", [...lab.program("sallyport"), ...words])
    const copy = `${lab.directory}/copy`
    yield* sallyport("backup", copy, "--config", first.configPath)
    const state = yield* lab.writeFile("restore.yaml", `${config}\nstate_dir: ${lab.directory}/other-state\n`)
    yield* sallyport("restore", copy, "--config", state)
    const second = yield* startGateway({ config, host: "otherGateway", name: "other" })
    assert.strictEqual(second.publicKey, first.publicKey)

    // The client is at both of them at a time.
    const connect = (host: LabHost, endpoint: string) =>
      startWireguardGo({
        host,
        device: `wg${lab.id.split("-").slice(2).join("x")}${host.slice(0, 1)}`,
        privateKey,
        addresses: [`${tunnelAddresses.client.v4}/32`],
        routes: tunnelAddresses.networks,
        peers: [
          { publicKey: first.publicKey, allowedIps: tunnelAddresses.networks, endpoint: `${endpoint}:${gatewayPort}` }
        ]
      })
    yield* connect("client", site.gateway.outer.v4)
    yield* connect("openClient", site.otherGateway.outer.v4)
    const ask = Effect.fnUntraced(function* (host: LabHost, label: string) {
      const [proxy = ""] = yield* dig(host, tunnelAddresses.gateway.v4, nameOf(label), "A")
      assert.match(proxy, /^100\./, `${label} at ${host}`)
      return proxy
    })
    const opens = Effect.fnUntraced(function* (host: LabHost, proxy: string) {
      const { errormsg, http_code } = yield* curl(host, `http://${proxy}/`)
      assert.strictEqual(http_code, 200, `${proxy} from ${host}: ${errormsg}`)
    })
    const has = (gateway: Gateway, ...proxies: ReadonlyArray<string>) =>
      until(gateway, ({ mappings }) =>
        proxies.every((proxy) => mappings.some(({ proxyIps }) => proxyIps.includes(proxy)))
      )

    const one = yield* ask("client", "one")
    const asked = Date.now()
    yield* has(second, one)
    const learned = Date.now() - asked
    yield* opens("openClient", one)
    assert.strictEqual(yield* ask("openClient", "one"), one)

    const exact = yield* ask("client", "exact")
    yield* has(second, exact)
    yield* opens("openClient", exact)

    yield* server.kill
    const [atFirst, atSecond] = [yield* ask("client", "two"), yield* ask("openClient", "two")]
    assert.notStrictEqual(atFirst, atSecond)
    yield* opens("client", atFirst)
    yield* opens("openClient", atSecond)
    yield* opens("openClient", one)

    yield* server.start
    for (const gateway of [first, second]) yield* has(gateway, atFirst, atSecond)
    yield* opens("client", atSecond)
    yield* opens("openClient", atFirst)
    assert.strictEqual(yield* ask("client", "two"), yield* ask("openClient", "two"))
    yield* Effect.logInfo(`the other gateway had the name ${learned} ms after the answer`)
  }).pipe(inSite)
)
