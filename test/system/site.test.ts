/** Two gateways with one key over one PostgreSQL: what one gives a client, the other translates, whatever becomes of it. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Lab, type LabHost } from "../../src/lab/demo/Lab.ts"
import { type Gateway, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { curl, dig, inner } from "../support/lab.ts"
import { appName } from "../support/labWorld.ts"
import { inSite, site, startSiteWithoutKey, until } from "../support/site.ts"

/** All but the last one are of a pattern. */
const names = {
  one: "one.svc.corp.internal",
  two: "two.svc.corp.internal",
  late: "late.svc.corp.internal",
  exact: appName
} as const

it.live(
  "a name that one gateway gave is translated at the other within a second; without PostgreSQL both go on",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { config, connect, nameServer, postgres, start } = yield* startSiteWithoutKey({ masquerade: true })
      for (const name of Object.values(names)) yield* nameServer.set({ name, a: [inner.origin.v4] })

      // The key of the second one comes from the first one, as an operator carries it.
      const first = yield* start("gateway")
      const sallyport = (...words: ReadonlyArray<string>) =>
        lab.exec("gateway", [...lab.program("sallyport"), ...words])
      const copy = `${lab.directory}/copy`
      yield* sallyport("backup", copy, "--config", first.configPath)
      const state = `${config}\nstate_dir: ${lab.directory}/otherGateway-state\n`
      yield* sallyport("restore", copy, "--config", yield* lab.writeFile("restore.yaml", state))
      const second = yield* start("otherGateway")
      assert.strictEqual(second.publicKey, first.publicKey)

      // The client is at both of them at a time.
      yield* connect("client", first.publicKey, { endpoint: site.gateway.outer.v4 })
      yield* connect("openClient", first.publicKey, { endpoint: site.otherGateway.outer.v4, as: "client" })
      const ask = Effect.fnUntraced(function* (host: LabHost, label: keyof typeof names) {
        const [proxy = ""] = yield* dig(host, tunnelAddresses.gateway.v4, names[label], "A")
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
      assert.isBelow(learned, 1_000)
      yield* opens("openClient", one)
      assert.strictEqual(yield* ask("openClient", "one"), one)

      // What PostgreSQL tells the second one comes late; the client is there at once.
      const word = `tcp sport ${postgres.port} drop`
      yield* lab.exec("otherGateway", ["nft", "-f", "-"], {
        input: `table inet held { chain inward { type filter hook input priority 0; ${word}; }; }`
      })
      const late = yield* ask("client", "late")
      const goesOn = Effect.andThen(
        Effect.sleep("500 millis"),
        lab.exec("otherGateway", ["nft", "delete table inet held"])
      )
      yield* Effect.all([opens("openClient", late), goesOn], { concurrency: 2 })
      const { dataPlane } = (yield* second.status).counters
      assert.isAtLeast(dataPlane["outbound.parked"]!, 1)
      assert.strictEqual(dataPlane["outbound.unmapped"], 0)

      const exact = yield* ask("client", "exact")
      yield* has(second, exact)
      yield* opens("openClient", exact)

      yield* postgres.kill
      const [atFirst, atSecond] = [yield* ask("client", "two"), yield* ask("openClient", "two")]
      assert.notStrictEqual(atFirst, atSecond)
      yield* opens("client", atFirst)
      yield* opens("openClient", atSecond)
      yield* opens("openClient", one)

      yield* postgres.start
      for (const gateway of [first, second]) yield* has(gateway, atFirst, atSecond)
      yield* opens("client", atSecond)
      yield* opens("openClient", atFirst)
      assert.strictEqual(yield* ask("client", "two"), yield* ask("openClient", "two"))
      yield* Effect.logInfo(`the other gateway had the name ${learned} ms after the answer`)
    }).pipe(inSite),
  90_000
)
