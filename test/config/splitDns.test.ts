import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { clientConf } from "../../src/config/clientConf.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { splitDomains } from "../../src/config/splitDns.ts"
import { parseWireguardConf } from "../../src/config/wireguardConf.ts"
import { key } from "./fixtures.ts"

const resource = (name: string) => `{ name: "${name}", allow: [alice] }`

const configOf = (patterns: ReadonlyArray<string>, more = "") => {
  const resources = patterns.map((pattern, i) => `  r${i}: ${resource(pattern)}`).join("\n")
  const text = `endpoint: vpn.example.com:51820
clients: { alice: { public_key: "${key(1)}" }, bob: { public_key: "${key(2)}" } }
resources:
  bobs: { name: bobs.example.org, allow: [bob] }
${resources}
${more}
`
  return Result.getOrThrow(parseConfig(text, "s.yaml"))
}

const domains = (patterns: ReadonlyArray<string>, more?: string) => {
  const config = configOf(patterns, more)
  return splitDomains(config, config.clients[0]!.id)
}

describe("the domains that a client asks the gateway for", () => {
  it("are those that no public server knows, whole, and of public ones what a resource covers", () => {
    assert.deepStrictEqual(domains(["gitlab.corp.internal", "*.svc.corp.internal"]), ["corp.internal"])
    assert.deepStrictEqual(domains(["nas.home", "wiki"]), ["nas.home", "wiki"])
    assert.deepStrictEqual(domains(["git.example.com", "*.dev.example.com"]), ["dev.example.com", "git.example.com"])
    assert.deepStrictEqual(domains(["db-?.eu.example.com", "**.internal"]), ["eu.example.com", "internal"])
  })

  it("are all where a pattern may be anywhere", () => {
    assert.deepStrictEqual(domains(["lab.**", "git.example.com"]), ["."])
  })

  it("are those of zones that the client may ask, and of records; nothing of another client", () => {
    const names = `zones: { lab.example.net: system, secret.example.net: { resolver: system, allow: [bob] } }
records: { www.example.net: { a: 10.0.0.1 } }`
    assert.deepStrictEqual(domains([], names), ["lab.example.net", "www.example.net"])
  })

  it("are none that a search domain holds", () => {
    assert.deepStrictEqual(domains(["*.svc.corp.internal", "a.example.com"], "search: [corp.internal]"), [
      "a.example.com"
    ])
  })

  it("are found in time among as many records as a file may have", () => {
    // Each held against each other, they took more than a minute.
    const config = configOf([])
    const names = Array.from({ length: 5_000 }, (_, i) => [`n${i}.example.net`, `a.b.n${i}.example.net`]).flat()
    const records = new Map(names.map((name) => [name, []]))
    assert.lengthOf(splitDomains({ ...config, records }, config.clients[0]!.id), 5_000)
  })
})

describe("the file of a client that asks the gateway for those only", () => {
  const search = "search: [corp.internal]"
  const confOf = (
    dns: Parameters<typeof clientConf>[2]["dns"],
    patterns: ReadonlyArray<string>,
    more = search,
    ipv4Only = false
  ) => {
    const config = configOf(patterns, more)
    return clientConf(config, config.clients[0]!, {
      gatewayPublicKey: key(9),
      endpoint: [],
      ipv4Only,
      dns,
      privateKey: key(3)
    })
  }
  const lines = (text: string) => text.split("\n").filter((line) => /^(DNS|Pre|Post)/.test(line))

  it("tells systemd-resolved, by wg-quick, and takes it back", () => {
    assert.deepStrictEqual(lines(confOf("split", ["git.example.com"])), [
      "PostUp = resolvectl dns %i 100.64.0.1 fd00:2021:1111::1",
      "PostUp = resolvectl domain %i 'corp.internal' '~git.example.com'",
      "PostUp = resolvectl default-route %i no",
      "PreDown = resolvectl revert %i"
    ])
    assert.include(confOf("split", ["lab.**"], ""), "domain %i '~.'\nPostUp = resolvectl default-route %i yes\n")
    assert.include(confOf("split", ["a.b"], "", true), "PostUp = resolvectl dns %i 100.64.0.1\n")
    assert.deepStrictEqual(lines(confOf("split", [], "")), [])
  })

  it("means the same to sallyport connect, without a word about commands", () => {
    const conf = Result.getOrThrow(parseWireguardConf(confOf("split", ["git.example.com"]), "a.conf"))
    assert.deepStrictEqual(conf.dns, ["100.64.0.1", "fd00:2021:1111::1"])
    assert.deepStrictEqual(conf.search, ["corp.internal", "~git.example.com"])
    assert.deepStrictEqual(conf.notes, [])
    const other = confOf("split", ["git.example.com"]).replaceAll("resolvectl", "resolvectl -q")
    assert.lengthOf(Result.getOrThrow(parseWireguardConf(other, "a.conf")).notes, 4)
  })

  it("has a command in no other variant, and no DNS server where nobody is to be asked", () => {
    assert.deepStrictEqual(lines(confOf("all", ["a.b"])), ["DNS = 100.64.0.1, fd00:2021:1111::1, corp.internal"])
    assert.deepStrictEqual(lines(confOf("none", ["a.b"])), [])
    assert.include(confOf("none", ["a.b"]), "\n# Names behind the gateway are asked of 100.64.0.1, fd00:2021:1111::1\n")
  })
})
