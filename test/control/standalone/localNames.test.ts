/** Records, short names, the hosts file and block lists, asked as a client asks. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import * as NameFilesMemory from "../../../layers/memory/NameFilesMemory.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { extendedErrorCode } from "../../../src/dns/extendedError.ts"
import { emptyMessage, type Message } from "../../../src/dns/message.ts"
import { canonicalName } from "../../../src/dns/name.ts"
import { classInternet, rcode, recordType } from "../../../src/dns/registry.ts"
import type { LocalRecord } from "../../../src/dns/tunnelAnswer.ts"
import { cidrResource, dnsResource } from "../../support/access.ts"
import { tunnel4 } from "../../support/engineWorld.ts"
import { ask, askRaw, configOf, layerNames, messageFor, UpstreamScript } from "../../support/standalone.ts"

const git = dnsResource("git.corp.internal", { resolver: "corp" })
const lab = cidrResource("10.77.0.0/24")
const alias = (name: string): LocalRecord => ({ type: recordType.CNAME, data: { _tag: "Name", name }, ttl: 60 })
const address = (text: string): LocalRecord => ({
  type: recordType.A,
  data: { _tag: "Address", address: text },
  ttl: 60
})

const hosts = new Map([
  ["nas.example.org", ["10.77.0.5", "10.78.0.5"]],
  ["far.example.org", ["10.78.0.5"]]
])
const files = NameFilesMemory.layer(
  { hosts: (name) => hosts.get(name), blocked: (name) => (name === "ads.example.org" ? name : undefined) },
  { block_names: 1 }
)

const config: GatewayConfig = configOf([git, lab], {
  search: ["lab.internal", "corp.internal"],
  zones: [{ domain: "lab.internal", resolver: "lab", clients: null }],
  records: new Map([
    ["www.home", [alias("git.corp.internal")]],
    ["twice.home", [alias("www.home")]],
    ["ext.home", [alias("www.example.org")]],
    ["nas.home", [address("10.0.0.5"), address("10.0.0.6")]]
  ])
})
const layer = layerNames(config, files).pipe(
  Layer.provideMerge(DataPlaneRecording.layer),
  Layer.provideMerge(StateStoreMemory.layer)
)

/** The whole answer, as it stands in the message. */
const told = Effect.fnUntraced(function* (name: string, type: number = recordType.A, source = tunnel4(1)) {
  return yield* messageFor(name, type, yield* askRaw(canonicalName(name), type, source))
})

const records = (message: Message): ReadonlyArray<string> =>
  message.answers.map(({ data, name, type }) =>
    data._tag === "Name" ? `${name} -> ${data.name}` : data._tag === "Address" ? `${name} ${data.address}` : `${type}`
  )

const upstream = Effect.fnUntraced(function* (set: string, name: string, over: Partial<Message>) {
  const { answers } = yield* UpstreamScript
  answers.set(`${set} ${name} ${recordType.A}`, { ...emptyMessage, response: true, ...over })
})

const proxies = ["100.96.0.4", "100.96.0.5", "100.96.0.6", "100.96.0.7"]

describe("records of the file", () => {
  it.effect("are told as they are", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(records(yield* told("NAS.home")), ["NAS.home 10.0.0.5", "NAS.home 10.0.0.6"])
      const none = yield* told("nas.home", recordType.AAAA)
      assert.deepStrictEqual([none.rcode, none.answers.length], [rcode.NoError, 0])
      assert.deepStrictEqual((yield* UpstreamScript).asked, [])
    }).pipe(Effect.provide(layer))
  )

  it.effect(
    "that are aliases of a resource end in the client's proxy IPs, and say nothing to who may not reach it",
    () =>
      Effect.gen(function* () {
        const answer = yield* told("twice.home")
        assert.deepStrictEqual(records(answer), [
          "twice.home -> www.home",
          "www.home -> git.corp.internal",
          ...proxies.map((ip) => `git.corp.internal ${ip}`)
        ])
        assert.deepStrictEqual(records(yield* told("www.home", recordType.CNAME)), ["www.home -> git.corp.internal"])
        const other = yield* told("www.home", recordType.A, tunnel4(2))
        assert.deepStrictEqual([other.rcode, records(other)], [rcode.NXDomain, []])
      }).pipe(Effect.provide(layer))
  )

  it.effect("that are aliases of names outside end in what the servers say of these", () =>
    Effect.gen(function* () {
      const found = { ...address("9.9.9.9"), name: "www.example.org", class: classInternet }
      yield* upstream("system", "www.example.org", { answers: [found] })
      assert.deepStrictEqual(records(yield* told("ext.home")), [
        "ext.home -> www.example.org",
        "www.example.org 9.9.9.9"
      ])
    }).pipe(Effect.provide(layer))
  )
})

describe("a short name", () => {
  it.effect("is the first search domain's that has it, else what it is by itself", () =>
    Effect.gen(function* () {
      const { asked } = yield* UpstreamScript
      for (const name of ["git", "none"]) yield* upstream("lab", `${name}.lab.internal`, { rcode: rcode.NXDomain })
      yield* upstream("corp", "none.corp.internal", { rcode: rcode.NXDomain })
      yield* upstream("system", "none", { rcode: rcode.NXDomain })
      assert.deepStrictEqual(records(yield* told("git")), [
        "git -> git.corp.internal",
        ...proxies.map((ip) => `git.corp.internal ${ip}`)
      ])
      assert.deepStrictEqual(asked, [`lab git.lab.internal ${recordType.A}`])
      assert.strictEqual((yield* told("none")).rcode, rcode.NXDomain)
      assert.deepStrictEqual(asked.slice(1), [
        `lab none.lab.internal ${recordType.A}`,
        `corp none.corp.internal ${recordType.A}`,
        `system none ${recordType.A}`
      ])
    }).pipe(Effect.provide(layer))
  )

  it.effect("is not taken for missing when a search domain's servers do not answer", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* told("git")).rcode, rcode.ServFail)
    }).pipe(Effect.provide(layer))
  )
})

describe("files of the gateway's host", () => {
  it.effect("have hosts for clients that can reach them", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(records(yield* told("nas.example.org")), ["nas.example.org 10.77.0.5"])
      for (const [name, source] of [
        ["far.example.org", tunnel4(1)],
        ["nas.example.org", tunnel4(2)]
      ] as const) {
        const answer = yield* ask(name, recordType.A, source)
        assert.deepInclude(answer, { _tag: "NoData" })
        if (answer._tag === "NoData") assert.strictEqual(answer.error?.code, extendedErrorCode.Filtered)
      }
      assert.deepStrictEqual((yield* UpstreamScript).asked, [])
    }).pipe(Effect.provide(layer))
  )

  it.effect("block names: NXDOMAIN that says why, counted, and nobody is asked", () =>
    Effect.gen(function* () {
      const answer = yield* ask("ads.example.org")
      assert.deepInclude(answer, { _tag: "NameError" })
      if (answer._tag === "NameError") assert.strictEqual(answer.error?.code, extendedErrorCode.Blocked)
      assert.deepInclude(yield* (yield* TunnelNames).counters, { blocked: 1, block_names: 1 })
      assert.deepStrictEqual((yield* UpstreamScript).asked, [])
    }).pipe(Effect.provide(layer))
  )
})
