import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { clientConf } from "../../src/config/clientConf.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { recordType } from "../../src/dns/registry.ts"
import { key } from "./fixtures.ts"

const good = (text: string) => {
  const result = parseConfig(text, "s.yaml")
  if (Result.isFailure(result)) throw new Error(result.failure.message)
  return result.success
}

const wrong = (text: string): ReadonlyArray<string> => {
  const result = parseConfig(text, "s.yaml")
  return Result.isSuccess(result) ? [] : result.failure.message.split("\n")
}

const base = `endpoint: vpn.example.com:51820
resolvers: { corp: [udp://10.0.0.53], eu: [udp://10.1.0.53] }
clients: { alice: { public_key: "${key(1)}", groups: [eng] }, bob: { public_key: "${key(2)}" } }
`

describe("zones, search domains, records and block lists of a sallyport.yaml", () => {
  const config = good(`${base}zones:
  Corp.Internal.: corp
  10.in-addr.arpa: { resolver: eu, allow: [eng] }
search: [corp.internal, Lab.Internal.]
records:
  nas.home: { a: 192.168.1.5, aaaa: ["fd00::5", "FD00:0::6"], txt: [hello, ""], ttl: 60 }
  www.home: { cname: NAS.home }
  long.home: { txt: "${"x".repeat(300)}" }
block: [/etc/blocked.txt]
`)

  it("say who knows a zone, and who may ask", () => {
    assert.deepStrictEqual(
      config.zones.map(({ clients, ...zone }) => ({ ...zone, clients: clients === null ? null : [...clients] })),
      [
        { domain: "corp.internal", resolver: "corp", clients: null },
        { domain: "10.in-addr.arpa", resolver: "eu", clients: ["alice"] }
      ] as never
    )
  })

  it("say what a name has", () => {
    const address = (type: number, text: string) => ({ type, data: { _tag: "Address", address: text }, ttl: 60 })
    const txt = (...bytes: ReadonlyArray<number>) => ({ _tag: "Raw", bytes: Uint8Array.from(bytes) })
    assert.deepStrictEqual(config.records.get("nas.home"), [
      address(recordType.A, "192.168.1.5"),
      address(recordType.AAAA, "fd00::5"),
      address(recordType.AAAA, "fd00::6"),
      { type: recordType.TXT, data: txt(5, ...Buffer.from("hello")), ttl: 60 },
      { type: recordType.TXT, data: txt(0), ttl: 60 }
    ] as never)
    assert.deepStrictEqual(config.records.get("www.home"), [
      { type: recordType.CNAME, data: { _tag: "Name", name: "nas.home" }, ttl: 300 }
    ])
    const [long] = config.records.get("long.home")!
    assert.deepStrictEqual(long!.data, txt(255, ...Buffer.alloc(255, "x"), 45, ...Buffer.alloc(45, "x")) as never)
  })

  it("stand in a client's file and in the order given", () => {
    assert.deepStrictEqual(config.search, ["corp.internal", "lab.internal"])
    assert.deepStrictEqual(config.block, ["/etc/blocked.txt"])
    const conf = clientConf(config, config.clients[0]!, {
      gatewayPublicKey: key(9),
      endpoint: [],
      ipv4Only: false,
      dns: "all"
    })
    assert.include(conf, "\nDNS = 100.64.0.1, fd00:2021:1111::1, corp.internal, lab.internal\n")
    const four = clientConf(config, config.clients[0]!, {
      gatewayPublicKey: key(9),
      endpoint: [],
      ipv4Only: true,
      dns: "all"
    })
    assert.include(four, "\nDNS = 100.64.0.1, corp.internal, lab.internal\n")
  })
})

describe("wrong names in a sallyport.yaml", () => {
  const cases: ReadonlyArray<readonly [title: string, part: string, message: string | RegExp]> = [
    [
      "an unknown resolver of a zone",
      "zones: { corp.internal: crop }",
      's.yaml:4:25: unknown resolver "crop" — did you mean corp?'
    ],
    [
      "an unknown resolver of a zone with its clients",
      "zones: { corp.internal: { resolver: crop } }",
      's.yaml:4:37: unknown resolver "crop" — did you mean corp?'
    ],
    [
      "a zone without a resolver",
      "zones: { a.b: { allow: [eng] } }",
      /^s\.yaml:4:10: resolver is missing in zones\.a\.b/
    ],
    [
      "a zone that is a number",
      "zones: { a.b: 5 }",
      /^s\.yaml:4:15: a\.b: expected .*, found 5 — write for example zones:/
    ],
    [
      "a zone for nobody",
      "zones: { a.b: { resolver: corp, allow: [] } }",
      /^s\.yaml:4:40: nobody may ask for names in a\.b — /
    ],
    [
      "a zone for a stranger",
      "zones: { a.b: { resolver: corp, allow: [egn] } }",
      's.yaml:4:41: no client or group is called "egn" — did you mean eng?'
    ],
    [
      "a network as a zone",
      "zones: { 10.0.0.0/8: corp }",
      /^s\.yaml:4:10: "10\.0\.0\.0\/8": .* — write the reverse zone, for example 10\.in-addr\.arpa for 10\.0\.0\.0\/8$/
    ],
    [
      "a pattern as a zone",
      'zones: { "*.corp.internal": corp }',
      's.yaml:4:10: "*.corp.internal" is a pattern, not a name — a zone has all names below it: write corp.internal'
    ],
    [
      "one zone twice",
      "zones: { a.b: corp, A.B.: corp }",
      's.yaml:4:21: "A.B." is the same name as "a.b" — remove one'
    ],
    ["a search domain that is none", "search: [a..b]", /^s\.yaml:4:10: search: "a\.\.b": it has an empty label — /],
    ["a search domain twice", "search: [a.b, a.b]", /^s\.yaml:4:15: a\.b is listed twice — /],
    ["too many search domains", "search: [a, b, c, d, e, f, g]", /^s\.yaml:4:1: 7 of search — list at most 6$/],
    ["an empty record", "records: { a.b: {} }", "s.yaml:4:12: a.b has no record — give it a, aaaa, txt or cname"],
    ["a record with a TTL alone", "records: { a.b: { ttl: 5 } }", /^s\.yaml:4:12: a\.b has no record — /],
    [
      "a pattern as a record",
      'records: { "*.a.b": { a: 10.0.0.1 } }',
      /is a pattern, not a name — a record has one name/
    ],
    [
      "an IPv6 address under a",
      'records: { a.b: { a: "fd00::1" } }',
      /^s\.yaml:4:22: a: "fd00::1" is not an IPv4 address — /
    ],
    [
      "an IPv4 address under aaaa",
      "records: { a.b: { aaaa: [10.0.0.1] } }",
      /^s\.yaml:4:26: aaaa: "10\.0\.0\.1" is not an IPv6 address — /
    ],
    [
      "no values at all",
      "records: { a.b: { a: [] } }",
      /^s\.yaml:4:19: a\.b has 0 values of a — list 1 to 32 of them$/
    ],
    [
      "an alias with an address",
      "records: { a.b: { a: 10.0.0.1, cname: c.d } }",
      "s.yaml:4:32: a.b is an alias and has a — an alias has cname alone"
    ],
    [
      "a type that is not there",
      "records: { a.b: { mx: c.d } }",
      /^s\.yaml:4:19: unknown key "mx" in records\.a\.b — /
    ],
    ["a relative path of a list", "block: [lists/ads]", /^s\.yaml:4:9: block: "lists\/ads" is not an absolute path — /],
    [
      "aliases in a circle",
      "records: { a.b: { cname: c.b }, c.b: { cname: a.b }, d.b: { cname: a.b } }",
      /^s\.yaml:4:26: a\.b is an alias of more than 16 aliases, or leads back to itself — /
    ],
    [
      "a record that hides a resource",
      "resources: { git: { name: git.a, allow: [eng] } }\nrecords: { git.a: { a: 10.0.0.1 } }",
      /^s\.yaml:5:12: the record hides the resource git from all who may reach it — .*cname: git\.a$/
    ],
    [
      "a record that is a proxy IP",
      "records: { a.b: { a: 100.96.0.4 } }",
      /^s\.yaml:4:12: 100\.96\.0\.4 lies in proxy_ipv4 100\.96\.0\.0\/11 — write cname: and the resource's name$/
    ],
    [
      "a record that is another client",
      "records: { a.b: { a: 100.64.0.9 } }",
      /^s\.yaml:4:12: 100\.64\.0\.9 lies in tunnel_ipv4 100\.64\.0\.0\/11 — clients do not reach each other/
    ],
    [
      "a zone that a resource has all of",
      'resources: { all: { name: "**.corp.internal", allow: [eng] } }\nzones: { eu.corp.internal: eu }',
      /^s\.yaml:5:10: every name in eu\.corp\.internal is one of the resource all \(\*\*\.corp\.internal\): the zone would never be asked — /
    ],
    [
      "the endpoint as a resource",
      "resources: { vpn: { name: vpn.example.com, allow: [eng] } }",
      /^s\.yaml:4:27: vpn\.example\.com is the endpoint: clients would look for the gateway inside of its own tunnel — /
    ]
  ]
  for (const [title, part, message] of cases) {
    it(`are refused for ${title}`, () => {
      const lines = wrong(`${base}${part}\n`)
      assert.isNotEmpty(lines)
      if (typeof message === "string") assert.strictEqual(lines[0], message)
      else assert.match(lines[0]!, message)
      assert.isTrue(lines.every((line) => line.split(": ")[0] !== "" && line.includes(" — ")))
    })
  }

  it("are refused for an endpoint that is a network resource of its own", () => {
    const text = base.replace("vpn.example.com", "192.0.2.1") + "resources: { gw: { cidr: 192.0.2.1, allow: [eng] } }\n"
    assert.match(
      wrong(text)[0]!,
      /^s\.yaml:4:26: 192\.0\.2\.1\/32 is the endpoint: the tunnel would lead into itself — /
    )
  })

  it("are refused for networks to which no packet is let through", () => {
    const line = (cidr: string, more = "") =>
      wrong(`${base}resources: { n: { cidr: "${cidr}", allow: [eng]${more} } }\n`)[0] ?? ""
    assert.match(
      line("127.0.0.0/8"),
      /^s\.yaml:4:25: every packet to 127\.0\.0\.0\/8 is refused: loopback addresses — /
    )
    assert.match(line("::1"), /add allow_loopback: true/)
    assert.match(line("169.254.169.254"), /allow_metadata: true for a metadata service/)
    assert.match(line("fe80::/10"), /link-local addresses — add allow_link_local: true/)
    for (const network of ["224.0.0.0/4", "ff02::/16"]) assert.match(line(network), / — remove the resource/)
    assert.strictEqual(line("127.0.0.0/8", ", allow_loopback: true"), "")
    for (const network of ["10.0.0.0/8", "128.0.0.0/1", "::/1", "169.0.0.0/8"]) assert.strictEqual(line(network), "")
  })

  it("are refused for more aliases in a row than are followed", () => {
    const chain = (length: number) => Array.from({ length }, (_, i) => `  n${i}.b: { cname: n${i + 1}.b }\n`).join("")
    assert.deepStrictEqual(wrong(`${base}records:\n${chain(16)}`), [])
    assert.lengthOf(wrong(`${base}records:\n${chain(18)}`), 2)
  })
})

describe("what is odd in a sallyport.yaml", () => {
  const odd = (part: string) => good(`${base.replace(/^resolvers.*\n/m, "")}${part}\n`).warnings
  const resolvers = "resolvers: { corp: [udp://10.0.0.53], eu: [udp://10.1.0.53] }\n"

  it("is nothing in a file that is in order", () => {
    assert.deepStrictEqual(
      odd(`${resolvers}resources:
  git: { name: git.corp.internal, resolver: corp, allow: [eng] }
  eu: { name: "*.eu.corp.internal", resolver: eu, allow: [eng] }
  lab: { cidr: 10.0.0.0/8, resolver: corp, allow: [eng] }
records: { www.corp.internal: { cname: git.corp.internal }, gw.home: { a: 100.64.0.1 } }
search: [corp.internal]`),
      []
    )
  })

  const cases: ReadonlyArray<readonly [title: string, part: string, message: RegExp]> = [
    [
      "a resolver set that nobody asks",
      "resolvers: { corp: [udp://10.0.0.53] }",
      /:3:14: no resource and no zone asks corp — /
    ],
    [
      "a wildcard that covers the endpoint",
      'resources: { all: { name: "*.example.com", allow: [eng] } }',
      /:3:27: \*\.example\.com covers the endpoint vpn\.example\.com, which is left out of the resource — /
    ],
    [
      "one pattern with two resolvers",
      `${resolvers}resources: { a: { name: a.b, resolver: corp, allow: [eng] }, b: { name: A.b, resolver: eu, allow: [bob] } }`,
      /:4:62: b and a are both a\.b: who may reach both is told what corp says, never eu — /
    ],
    [
      "a private domain with two resolvers",
      `${resolvers}resources: { a: { name: a.lan, resolver: corp, allow: [eng] }, b: { name: b.lan, resolver: eu, allow: [bob] } }`,
      /:4:14: resources in lan have several resolvers: other names there are told not to exist — say who knows them: zones: \{ lan: corp \}$/
    ],
    [
      "a network whose reverse names nobody is said to know",
      `${resolvers}resources: { a: { name: a.b, resolver: corp, allow: [eng] }, b: { name: b.b, resolver: eu, allow: [eng] }, lab: { cidr: 10.0.0.0/8, allow: [eng] } }`,
      /:4:108: the file has several resolvers: names for the addresses of 10\.0\.0\.0\/8 are told not to exist — /
    ],
    [
      "a record among a wildcard's names",
      'resources: { all: { name: "*.a.b", allow: [eng] } }\nrecords: { x.a.b: { a: 10.0.0.1 } }',
      /:4:12: x\.a\.b is also a name of the resource all \(\*\.a\.b\): the record is told instead/
    ],
    [
      "a search domain that nobody serves",
      "search: [corp.internal]",
      /:3:10: no resource, zone or record is in corp\.internal: short names are asked of the system's servers there — /
    ],
    [
      "an alias of a name that is refused",
      "other_names: refuse\nrecords: { a.b: { cname: www.example.org } }",
      /:4:26: www\.example\.org is under no resource, zone or record, and other names are refused — /
    ]
  ]
  for (const [title, part, message] of cases) {
    it(`is ${title}`, () => {
      const warnings = odd(part)
      assert.lengthOf(warnings, 1, warnings.join("\n"))
      assert.match(warnings[0]!, message)
    })
  }
})
