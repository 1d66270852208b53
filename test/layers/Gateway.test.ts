/** The composition itself, as another program has it: only what touches the system is swapped. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Logger, References, Schedule, Stream } from "effect"
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as ControlClient from "../../layers/cli/ControlClient.ts"
import * as Gateway from "../../layers/Gateway.ts"
import type { GatewayParts } from "../../layers/GatewayParts.ts"
import * as DataPlaneMemory from "../../layers/memory/DataPlaneMemory.ts"
import * as DnsSocketsMemory from "../../layers/memory/DnsSocketsMemory.ts"
import * as HostNetworkMemory from "../../layers/memory/HostNetworkMemory.ts"
import { fetchStatus } from "../../src/cli/fetchStatus.ts"
import { holdTests, holdTestsAtStart } from "../../src/cli/testConfig.ts"
import { followFile } from "../../src/config/fileChanges.ts"
import { readConfig } from "../../src/config/readConfig.ts"
import { decode } from "../../src/dns/decode.ts"
import { isMalformed } from "../../src/dns/message.ts"
import { encodeQuery } from "../../src/dns/query.ts"
import { recordType } from "../../src/dns/registry.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"
import { Resolver } from "../../src/resolution/Resolver.ts"
import { example } from "../config/fixtures.ts"
import { dnsResource } from "../support/access.ts"
import { destinations, lan, syn, tcp } from "../support/engineSteps.ts"
import { gatewayPrivateKey, gatewayPublicKey, key, makeClient, tunnel4 } from "../support/engineWorld.ts"
import { connect, MemoryClient, sendInner } from "../support/memoryClient.ts"
import { addressesIn, configOf } from "../support/standalone.ts"

const own4 = "10.77.0.7"
const resolver = Layer.succeed(Resolver, {
  resolve: () => Effect.succeed({ addresses: [own4], ttlSeconds: 60 })
})

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "sallyport-gateway-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

/** What touches the system. */
const inMemory = (live: GatewayParts): GatewayParts => ({
  ...live,
  dataPlane: DataPlaneMemory.layer({ privateKey: gatewayPrivateKey }),
  dnsSockets: DnsSocketsMemory.make().layer,
  host: HostNetworkMemory.make().layer
})

/** The lines that are logged, each with its level. */
const linesOf = () => {
  const lines: Array<string> = []
  const log = Logger.make<unknown, void>(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))
  return { lines, logger: Logger.layer([log]) }
}

describe("an embedded gateway", () => {
  it.live(
    "sends a client's packet where the swapped Resolver says, and gives the host back when its scope closes",
    () =>
      Effect.gen(function* () {
        const stateDir = yield* directory
        const config = configOf([dnsResource("**.corp")], { stateDir, controlSocket: join(stateDir, "sock") })
        const host = HostNetworkMemory.make()
        const sockets = DnsSocketsMemory.make()
        const dataPlane = DataPlaneMemory.layer({ privateKey: gatewayPrivateKey })
        const gateway = Gateway.layer(config, {
          swap: (live) => ({ ...live, resolver, dataPlane, dnsSockets: sockets.layer, host: host.layer })
        })
        const question = encodeQuery({ id: 7, domain: "git.corp", type: recordType.A }, false)
        const ask = sockets.ask(question!, { address: tunnel4(1), port: 5_353 }, "udp")

        yield* Effect.gen(function* () {
          const client = makeClient(1)
          const out = yield* lan
          yield* connect(client)
          const answer = decode((yield* ask)!, 64)
          const [proxy] = isMalformed(answer) ? [] : addressesIn(answer)
          yield* sendInner(client, tcp(443, syn, proxy))
          yield* Effect.sync(() => out.length).pipe(
            Effect.repeat({ until: (packets) => packets > 0, schedule: Schedule.spaced("10 millis") }),
            Effect.timeout("5 seconds")
          )
          const [git] = yield* (yield* Resolutions).list

          assert.strictEqual(host.plans.length, 1)
          assert.deepStrictEqual(git!.mapping.proxyIps.slice(0, 1), [proxy])
          assert.deepStrictEqual(destinations(out), [own4])
        }).pipe(Effect.provide(Layer.merge(gateway, dataPlane)))

        assert.deepStrictEqual(host.plans, [])
        assert.isNull(yield* ask)
      }).pipe(Effect.provideService(References.MinimumLogLevel, "Error"))
  )

  it.live("says in its status that two devices use one client's key, and where they are", () =>
    Effect.gen(function* () {
      const stateDir = yield* directory
      const controlSocket = join(stateDir, "sock")
      const dataPlane = DataPlaneMemory.layer({ privateKey: gatewayPrivateKey })
      const gateway = Gateway.layer(configOf([], { stateDir, controlSocket }), {
        swap: (live) => ({ ...inMemory(live), dataPlane })
      })
      const deviceAt = (port: number) => new MemoryClient({ privateKey: key(1), gatewayKey: gatewayPublicKey, port })

      yield* Effect.gen(function* () {
        const devices = [deviceAt(40_001), deviceAt(40_002)]
        const takesOver = Effect.suspend(() => {
          devices.reverse()
          return connect(devices[0]!)
        })
        const [shared, own] = yield* takesOver.pipe(
          Effect.andThen(fetchStatus(controlSocket)),
          Effect.map(({ clients }) => clients),
          Effect.repeat({
            until: (clients) => clients.some(({ twoPlaces }) => twoPlaces !== undefined),
            schedule: Schedule.spaced("50 millis")
          }),
          Effect.timeout("20 seconds")
        )

        assert.sameMembers([...shared!.twoPlaces!.endpoints], ["192.0.2.2:40001", "192.0.2.2:40002"])
        assert.isUndefined(own!.twoPlaces)
      }).pipe(Effect.provide([Layer.merge(gateway, dataPlane), ControlClient.layer]))
    }).pipe(Effect.provideService(References.MinimumLogLevel, "Error"))
  )

  it.live("reads each block list once, and tells of it once", () =>
    Effect.gen(function* () {
      const stateDir = yield* directory
      const block = [join(stateDir, "ads"), join(stateDir, "missing")]
      writeFileSync(block[0]!, "ads.example\n")
      const config = configOf([], { stateDir, controlSocket: join(stateDir, "sock"), block })
      const { lines, logger } = linesOf()

      yield* Layer.build(Gateway.layer(config, { swap: inMemory })).pipe(Effect.provide(logger))

      assert.deepStrictEqual(
        lines.filter((line) => line.includes("block list")).map((line) => line.replace(/ \(.*/, "")),
        [`Info block list ${block[0]}: 1 names`, `Warn the block list ${block[1]} cannot be read`]
      )
    })
  )

  it.live(
    "holds the tests of its file by the lists that it has in memory; where they do not hold it begins nothing",
    () =>
      Effect.gen(function* () {
        const stateDir = yield* directory
        const [file, list] = [join(stateDir, "sallyport.yaml"), join(stateDir, "ads")]
        const lasting = example.replaceAll("2027-", "2127-")
        const own = `state_dir: ${stateDir}/state\ncontrol_socket: ${join(stateDir, "sock")}\nlisten_http: off\nblock: [${list}]\n`
        const write = (more: string) =>
          writeFileSync(
            file,
            `${lasting}${own}tests: [{ client: bob, reach: "ads.example:443", expect: denied }]\n${more}`
          )
        write("")
        const config = yield* readConfig(file)
        const host = HostNetworkMemory.make()
        const swap = (live: GatewayParts): GatewayParts => ({ ...inMemory(live), host: host.layer })
        const changed = yield* Deferred.make<void>()
        const { lines, logger } = linesOf()
        const gateway = Gateway.layer(config, {
          swap,
          mayStart: holdTestsAtStart(config),
          read: Effect.flatMap(Effect.provide(readConfig(file), NodeServices.layer), holdTests),
          reloads: Stream.fromEffect(Deferred.await(changed))
        })
        const build = Effect.provide(Layer.build(gateway), logger)
        const refused = yield* Effect.flip(build)
        assert.include(refused.message, "bob reaches ads.example:443")
        assert.deepStrictEqual([host.plans, existsSync(`${stateDir}/state`)], [[], false])

        writeFileSync(list, "ads.example\n")
        yield* build
        rmSync(list)
        write("log_dns: true\n")
        yield* Deferred.succeed(changed, undefined)
        const told = yield* Effect.sync(() => lines.filter((line) => line.includes("reloaded"))).pipe(
          Effect.repeat({ until: ({ length }) => length > 0, schedule: Schedule.spaced("50 millis") }),
          Effect.timeout("20 seconds")
        )

        assert.deepStrictEqual(told, ["Info reloaded"])
      }).pipe(Effect.provide(NodeServices.layer))
  )

  it.live("takes its file anew when it has changed, where the file says so, and logs as it says by then", () =>
    Effect.gen(function* () {
      const stateDir = yield* directory
      const file = join(stateDir, "sallyport.yaml")
      const own = `state_dir: ${stateDir}\ncontrol_socket: ${join(stateDir, "sock")}\nlisten_http: off\nreload: on_change\n`
      const write = (level: string) => writeFileSync(file, `${example}${own}log_level: ${level}\n`)
      write("warn")
      const followed = yield* followFile(file)
      const config = yield* readConfig(file)
      const read = Effect.provide(readConfig(file), NodeServices.layer)
      const { lines, logger } = linesOf()
      yield* Layer.build(Gateway.layer(config, { swap: inMemory, read, file: followed, levelOfFile: true })).pipe(
        Effect.provide(logger),
        Effect.provideService(References.MinimumLogLevel, "Warn")
      )
      const told = () => lines.filter((line) => line.startsWith("Info"))
      assert.deepStrictEqual(told(), [])

      write("debug")
      yield* Effect.sync(told).pipe(
        Effect.repeat({ until: ({ length }) => length > 0, schedule: Schedule.spaced("50 millis") }),
        Effect.timeout("20 seconds")
      )

      assert.deepStrictEqual(told(), ["Info reloaded"])
    }).pipe(Effect.provide(NodeServices.layer))
  )
})
