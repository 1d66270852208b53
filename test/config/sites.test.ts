/** Several sites in a file, and the file of a client that has a peer for each. */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { clientConf } from "../../src/config/clientConf.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { contains, parseAddress, parseNetwork } from "../../src/packet/address.ts"
import { proxyIpsOf, proxyNetworks, slotCapacity } from "../../src/control/standalone/proxyPool.ts"
import { maxSites, slotZones } from "../../src/shared/slotZones.ts"
import { key } from "./fixtures.ts"

const parse = (text: string) => Result.getOrThrow(parseConfig(text, "s.yaml"))
const complaints = (text: string): ReadonlyArray<string> =>
  Result.match(parseConfig(text, "s.yaml"), {
    onFailure: ({ message }) => message.split("\n"),
    onSuccess: () => []
  })

const sites = `state: postgres://db1
site: berlin
sites:
  berlin: { number: 0, endpoint: "vpn.example.com:51820", public_key: "${key(8)}" }
  tokyo: { number: 5, endpoint: "tokyo.example.com:443", public_key: "${key(9)}" }`
const clients = `clients:
  alice: { public_key: "${key(1)}" }`
const resources = `resources:
  wiki: { name: wiki.corp.internal, allow: [alice] }
  lab: { cidr: 10.1.0.0/16, site: tokyo, allow: [alice] }
  build: { name: "*.tokyo.internal", site: tokyo, allow: [alice] }`
const file = (...parts: ReadonlyArray<string>) => ["endpoint: vpn.example.com:51820", ...parts].join("\n")

describe("several sites", () => {
  it("have what names them, the first one the rest", () => {
    const config = parse(file(sites, clients, resources))
    assert.deepStrictEqual(
      config.resources.map(({ id }) => String(id)),
      ["wiki"]
    )
    assert.deepStrictEqual(
      config.grants.map(({ resource }) => String(resource.id)),
      ["wiki"]
    )
    assert.deepStrictEqual(
      config.sites?.elsewhere.map(({ resource, site }) => `${resource.id} ${site.name}`),
      ["lab tokyo", "build tokyo"]
    )
    const atTokyo = parse(
      file(sites.replace("site: berlin", "site: tokyo"), clients, resources).replace(
        "endpoint: vpn.example.com:51820\n",
        "endpoint: tokyo.example.com:443\n"
      )
    )
    assert.deepStrictEqual(
      atTokyo.resources.map(({ id }) => String(id)),
      ["lab", "build"]
    )
  })

  it("leave the first one and its clients the addresses that they have without others", () => {
    const before = parse(file(clients, resources.replaceAll(" site: tokyo,", "")))
    const after = parse(file(sites, clients, resources))
    assert.strictEqual(after.gateway4, before.gateway4)
    assert.deepStrictEqual(after.clients, before.clients)
    assert.deepStrictEqual(
      after.sites?.all.map(({ gateway4, gateway6 }) => [gateway4, gateway6]),
      [
        ["100.64.0.1", "fd00:2021:1111::1"],
        ["100.95.255.250", "fd00:2021:1111::1f:fffa"]
      ]
    )
  })

  it("are one peer each in a client's file, with their own addresses and networks, the own one first", () => {
    const config = parse(file(sites, clients, resources))
    const conf = clientConf(config, config.clients[0]!, {
      gatewayPublicKey: key(8),
      endpoint: [],
      ipv4Only: false,
      dns: "all"
    })
    const [head = "", ...peers] = conf.split("[Peer]\n")
    assert.include(head, "DNS = 100.64.0.1, fd00:2021:1111::1, 100.95.255.250, fd00:2021:1111::1f:fffa\n")
    assert.deepStrictEqual(
      peers.map((peer) => [/PublicKey = (.*)/.exec(peer)?.[1], /Endpoint = (.*)/.exec(peer)?.[1]]),
      [
        [key(8), "vpn.example.com:51820"],
        [key(9), "tokyo.example.com:443"]
      ]
    )
    const networks = peers.map((peer) => /AllowedIPs = (.*)/.exec(peer)![1]!.split(", "))
    assert.deepStrictEqual(
      networks.map((all) => all.includes("10.1.0.0/16")),
      [false, true]
    )
    const peersOf = (address: string) =>
      networks.flatMap((all, i) =>
        all.some((text) => contains(parseNetwork(text)!, parseAddress(address)!)) ? [i] : []
      )
    assert.deepStrictEqual(["100.64.0.1", "fd00:2021:1111::1f:fffa"].map(peersOf), [[0], [1]])
    const ranges = proxyNetworks(config.network)
    const zones = Result.getOrThrow(slotZones(slotCapacity(ranges), maxSites))
    for (const [i, site] of [0, 5].entries()) {
      for (const { from, to } of zones.slice(site)) {
        for (const slot of [Math.max(1, from), to - 1]) {
          for (const address of proxyIpsOf(slot, ranges)!) assert.deepStrictEqual(peersOf(address), [i], address)
        }
      }
    }
  })

  it("are refused with place, cause and fix where they cannot be meant so", () => {
    const refused = (change: (text: string) => string, ...expected: ReadonlyArray<string>) => {
      const found = complaints(change(file(sites, clients, resources)))
      for (const each of expected)
        assert.isTrue(
          found.some((line) => line.includes(each)),
          `${each} in ${found.join("\n")}`
        )
    }
    refused(
      (text) => text.replace("site: berlin\n", ""),
      "the file does not say which of them this gateway is of — add site: to the file: berlin or tokyo"
    )
    refused((text) => text.replace("site: berlin\n", "site: berln\n"), 'unknown site "berln" — did you mean berlin?')
    refused(
      (text) => text.replace("lab: { cidr: 10.1.0.0/16, site: tokyo", "lab: { cidr: 10.1.0.0/16, site: kyoto"),
      'unknown site "kyoto" — use one of: berlin, tokyo'
    )
    refused((text) => text.replace("number: 5", "number: 0"), "same number as berlin — give every site its own")
    refused(
      (text) => text.replace("number: 0", "number: 3"),
      "no site has number 0 — give it to the one that was there first"
    )
    refused(
      (text) => text.replace("number: 5", "number: 8"),
      "8 is not a number of a site — use a whole number from 0 to 7"
    )
    refused((text) => text.replace(key(9), key(8)), "same public_key as berlin — give every site its own")
    refused((text) => text.replace("tokyo.example.com:443", "vpn.example.com:51820"), "same endpoint as berlin")
    refused(
      (text) => text.replace("endpoint: vpn.example.com:51820\n", "endpoint: vpn.example.com:1\n"),
      "it is not the endpoint of this gateway, which is of this site"
    )
    refused(
      (text) => text.replace("state: postgres://db1\n", ""),
      "several sites share one PostgreSQL — say where it is"
    )
    refused(
      (text) => `${text}\nnetwork: { proxy_ipv4: 100.96.0.0/15 }`,
      "several sites need room for 65536 — make proxy_ipv4 a /14 or larger"
    )
    refused(
      (text) => `${text}\nnetwork: { tunnel_ipv4: 100.64.0.0/29 }`,
      "100.64.0.0/29 has no room for the gateways of 8 sites — use a prefix of /28 or shorter"
    )
    refused(
      (text) => `${text}\n  same: { cidr: 10.1.0.0/16, allow: [alice] }`,
      "alice has 10.1.0.0/16 at site tokyo, and by same at site berlin: its packets go to one of them"
    )
    refused(
      (text) => text.replace(`public_key: "${key(1)}"`, `public_key: "${key(1)}", tunnel_ipv4: 100.95.255.250`),
      "100.95.255.250 is that of a site's gateways"
    )
    assert.include(
      complaints(file(clients, resources)).join("\n"),
      "there are no sites — list them (sites:), or remove site"
    )
  })
})
