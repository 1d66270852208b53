import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { Effect, FileSystem, Result, Schema } from "effect"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { readConfig } from "../../src/config/readConfig.ts"
import { authorizationsOf } from "../../src/model/Grant.ts"
import { example, key } from "./fixtures.ts"

const good = (text: string) => {
  const result = parseConfig(text, "s.yaml")
  if (Result.isFailure(result)) throw new Error(result.failure.message)
  return result.success
}

const wrong = (text: string): Array<string> => {
  const result = parseConfig(text, "s.yaml")
  return Result.isSuccess(result) ? [] : result.failure.message.split("\n")
}

const base = `endpoint: vpn.example.com:51820
clients:
  alice: { public_key: "${key(1)}", groups: [eng] }
`

describe("a correct sallyport.yaml", () => {
  it("has resolver sets over UDP, TCP, TLS by name, address or pin, and HTTPS, in an order", () => {
    const pin = key(7)
    const { resolvers } = good(
      base +
        "resolvers:\n" +
        "  plain: [tcp://10.0.0.53]\n" +
        "  safe:\n" +
        "    order: fastest\n" +
        `    servers: ["tls://10.0.0.53#DNS.corp", tls://1.1.1.1, "tls://[fd00::53]:8853#sha256/${pin}"]\n` +
        "  web: [https://10.0.0.53#dns.corp, https://10.0.0.53:8443/q/x]\n"
    )
    const at = { address: "10.0.0.53" } as const
    const named = { _tag: "Name", name: "dns.corp" } as const
    assert.deepStrictEqual(Object.fromEntries(resolvers), {
      plain: { order: "fallback", servers: [{ ...at, transport: "tcp", port: 53 }] },
      safe: {
        order: "fastest",
        servers: [
          { ...at, transport: "tls", port: 853, identity: named },
          { address: "1.1.1.1", transport: "tls", port: 853, identity: { _tag: "Name", name: "1.1.1.1" } },
          { address: "fd00::53", transport: "tls", port: 8853, identity: { _tag: "Pin", sha256: pin } }
        ]
      },
      web: {
        order: "fallback",
        servers: [
          { ...at, transport: "https", port: 443, identity: named, path: "/dns-query" },
          { ...at, transport: "https", port: 8443, identity: { _tag: "Name", name: "10.0.0.53" }, path: "/q/x" }
        ]
      }
    })
  })

  it("becomes clients, resources and grants", () => {
    const config = good(example)

    assert.deepStrictEqual(config.endpoint, { host: "vpn.example.com", port: 51820 })
    assert.deepStrictEqual(config.resolvers.get("corp"), {
      servers: [
        { transport: "udp", address: "10.0.0.53", port: 53 },
        { transport: "udp", address: "fd12::53", port: 5353 }
      ],
      order: "fallback"
    })
    assert.deepStrictEqual(config.resources, [
      {
        id: "gitlab",
        kind: "dns",
        pattern: "gitlab.corp.internal",
        resolver: "corp",
        filters: [
          { protocol: "tcp", from: 22, to: 22 },
          { protocol: "udp", from: 8000, to: 8100 },
          { protocol: "tcp", from: 0, to: 65535 },
          { protocol: "icmp" }
        ],
        allow: []
      },
      { id: "services", kind: "dns", pattern: "*.svc.corp.internal", resolver: "system", filters: [], allow: [] },
      { id: "lab", kind: "cidr", network: "10.20.0.0/16", filters: [], allow: ["metadata"] },
      { id: "web", kind: "internet", filters: [], allow: [] }
    ] as never)
    assert.deepStrictEqual(
      config.grants
        .flatMap(authorizationsOf)
        .map((grant) => [grant.client.id, grant.resource.id, grant.expiresAt] as ReadonlyArray<unknown>),
      [
        ["alice-laptop", "gitlab", null],
        ["alice-laptop", "services", Date.UTC(2027, 0, 1)],
        ["bob", "services", Date.UTC(2027, 0, 1)],
        ["alice-laptop", "lab", null],
        ["bob", "web", Date.UTC(2027, 0, 1, 10)]
      ]
    )
    assert.strictEqual(config.clients[1]?.tunnel4, "100.64.0.77")
    assert.strictEqual(config.clients[1]?.presharedKey, key(9))
  })

  it("may have names of one address family", () => {
    const familyOf = (line: string) => {
      const [resource] = good(
        `endpoint: a:1\nclients: { a: { public_key: "${key(1)}" } }\nresources: { r: { name: a.b, allow: [a]${line} } }`
      ).resources
      return resource?.kind === "dns" ? resource.family : null
    }
    assert.deepStrictEqual([", ip_family: ipv4", ", ip_family: ipv6", ", ip_family: both", ""].map(familyOf), [
      4,
      6,
      undefined,
      undefined
    ])
  })

  it("says where the other gateways of a site reach this one", () => {
    const at = (address: string) => good(`endpoint: a:1\nstate: postgres://db1\nadvertise: "${address}"`).advertise
    assert.deepStrictEqual(["10.0.0.5", "2001:DB8:0::5"].map(at), ["10.0.0.5", "2001:db8::5"])
  })

  it("says where the dashboard is, or that there is none, and how the log is written", () => {
    const listenHttp = (value: string) => good(`endpoint: a:1\nlisten_http: ${value}`).listenHttp

    assert.deepStrictEqual(["off", "0.0.0.0:80", "'[::1]:9000'", "gw.corp:9000"].map(listenHttp), [
      null,
      { host: "0.0.0.0", port: 80 },
      { host: "::1", port: 9000 },
      { host: "gw.corp", port: 9000 }
    ])
    assert.strictEqual(good("endpoint: a:1\nlog_format: json").logFormat, "json")
  })

  it("gets every default that it leaves out", () => {
    const { clients, resources, grants, resolvers, places, ...rest } = good("endpoint: '[2001:DB8::1]:443'")

    assert.deepStrictEqual([clients, resources, grants, resolvers.size] as Array<unknown>, [[], [], [], 0])
    assert.deepStrictEqual(places?.clients, new Map())
    assert.deepStrictEqual(rest, {
      endpoint: { host: "2001:db8::1", port: 443 },
      listenPort: 51820,
      zones: [],
      search: [],
      records: new Map(),
      block: [],
      tests: [],
      network: {
        tunnel4: "100.64.0.0/11",
        tunnel6: "fd00:2021:1111::/107",
        proxy4: "100.96.0.0/11",
        proxy6: "fd00:2021:1111:8000::/107",
        mtu: 1280
      },
      gateway4: "100.64.0.1",
      gateway6: "fd00:2021:1111::1",
      sites: null,
      firewall: "nftables",
      masquerade: true,
      keepPorts: false,
      fwmark: null,
      trackUdp: true,
      state: null,
      advertise: null,
      stateDir: "/var/lib/sallyport",
      controlSocket: "/run/sallyport/sallyport.sock",
      device: "sallyport0",
      otherNames: "forward",
      listenHttp: { host: "127.0.0.1", port: 9820 },
      logLevel: "Info",
      logDns: false,
      metricsPerClient: false,
      logFormat: "human",
      reload: "on_command",
      warnings: []
    })
  })

  it("may change every setting", () => {
    const config = good(`${base}listen: 4500
network: { tunnel_ipv4: 10.80.0.0/24, tunnel_ipv6: fd80::/64, proxy_ipv4: 10.81.0.0/16, proxy_ipv6: fd81::/64, mtu: 1420 }
firewall: off
masquerade: false
keep_ports: true
fwmark: 0xca6c
track_udp: false
state: postgres://gw@db1.corp,db2.corp:5433/names?password_file=/srv/password
state_dir: /srv/state
control_socket: /srv/s.sock
device: wg9
other_names: refuse
log_level: debug
log_dns: true
metrics_per_client: true
`)
    assert.strictEqual(config.listenPort, 4500)
    assert.deepStrictEqual(config.network, {
      tunnel4: "10.80.0.0/24",
      tunnel6: "fd80::/64",
      proxy4: "10.81.0.0/16",
      proxy6: "fd81::/64",
      mtu: 1420
    })
    assert.strictEqual(config.gateway4, "10.80.0.1")
    assert.deepStrictEqual(
      [config.firewall, config.masquerade, config.keepPorts, config.trackUdp, config.stateDir, config.controlSocket],
      ["off", false, true, false, "/srv/state", "/srv/s.sock"]
    )
    assert.strictEqual(config.fwmark, 51_820)
    assert.deepInclude(config.state, { user: "gw", database: "names", passwordFile: "/srv/password" })
    assert.deepStrictEqual(
      [config.device, config.otherNames, config.logLevel, config.logDns, config.metricsPerClient],
      ["wg9", "refuse", "Debug", true, true]
    )
  })

  it("may use anchors and aliases", () => {
    const config = good(`${base}resources:
  a: { name: a.example, ports: &ports [tcp/1], allow: [eng] }
  b: { name: b.example, ports: *ports, allow: [eng] }
`)
    assert.deepStrictEqual(config.resources[1]?.filters, [{ protocol: "tcp", from: 1, to: 1 }])
  })
})

describe("a wrong sallyport.yaml", () => {
  const resource = (line: string) => `${base}resources:\n  r: ${line}\n`
  const cases: ReadonlyArray<readonly [title: string, text: string, message: string | RegExp]> = [
    ["an empty file", "", /^s\.yaml:1:1: the file: expected keys with values, found nothing — /],
    [
      "a missing endpoint",
      "listen: 1\n",
      "s.yaml:1:1: endpoint is missing — write for example endpoint: vpn.example.com:51820"
    ],
    [
      "an unknown key with its likely meaning",
      `${base}listne: 1\n`,
      's.yaml:4:1: unknown key "listne" — did you mean listen?'
    ],
    [
      "an unknown key inside a resource",
      resource("{ name: a.b, alow: [eng], allow: [eng] }"),
      's.yaml:5:19: unknown key "alow" in resources.r — did you mean allow?'
    ],
    [
      "a duplicate key",
      `${base}endpoint: a:1\n`,
      "s.yaml:4:1: the key is there twice — remove or rename one of the two"
    ],
    ["a tab as indentation", "endpoint: a:1\nclients:\n\tb: 1\n", /^s\.yaml:3:1: .*tab.* — indent with spaces$/i],
    ["two documents", `${base}---\na: 1\n`, /^s\.yaml:4:1: .* — keep one document; remove the ---$/],
    [
      "a foreign tag",
      "endpoint: !secret a:1\n",
      's.yaml:1:11: "!secret" begins with !, which is a tag in YAML — quote it: "!secret"'
    ],
    [
      "an unquoted star",
      resource("{ name: *.corp.internal, allow: [eng] }"),
      's.yaml:5:14: "*.corp.internal" begins with *, which refers to an anchor in YAML — quote it: "*.corp.internal"'
    ],
    [
      "two unquoted stars in a list",
      `${base}search: [**.corp]\n`,
      /^s\.yaml:4:10: "\*\*\.corp" begins .* — quote it: "\*\*\.corp"$/
    ],
    [
      "an unquoted star as a key",
      `${base}zones:\n  *.corp : x\n`,
      /^s\.yaml:5:3: "\*\.corp" begins with \*.* — quote it/
    ],
    [
      "an unquoted ampersand",
      `${base}device: &tun\n`,
      /^s\.yaml:4:9: "&tun" begins with &, which makes an anchor.* — quote it/
    ],
    [
      "an unquoted at sign",
      `${base}device: @tun\n`,
      /^s\.yaml:4:9: "@tun" begins with @, which is reserved.* — quote it/
    ],
    [
      "an unquoted backtick",
      `${base}device: \`tun\n`,
      /^s\.yaml:4:9: "`tun" begins with `, which is reserved.* — quote it/
    ],
    ["an unquoted percent sign", `${base}device: %tun\n`, /^s\.yaml:4:9: "%tun" begins with %.* — quote it/],
    ["a bracket that stays open", `${base}search: [corp\n`, /^s\.yaml:5:1: .* bracket/],
    [
      "an unusual key",
      "endpoint: a:1\n? [x]\n: 1\n",
      "s.yaml:2:3: a key must be a plain word — write the key as a word or in quotes"
    ],
    [
      "a key that objects treat specially",
      "endpoint: a:1\nclients: { __proto__: {} }\n",
      /^s\.yaml:2:12: "__proto__" cannot be a key/
    ],
    [
      "a bad port",
      `${base}listen: 70000\n`,
      "s.yaml:4:9: listen: 70000 is not a port — use a whole number from 1 to 65535"
    ],
    ["a bad MTU", `${base}network: { mtu: 1500 }\n`, /^s\.yaml:4:17: mtu: 1500 is not a tunnel MTU — /],
    ["a word for a number", `${base}listen: many\n`, /^s\.yaml:4:9: listen: expected a number, found "many" — /],
    [
      "yes for true",
      `${base}masquerade: yes\n`,
      /^s\.yaml:4:13: masquerade: expected true or false, found "yes" — write masquerade: true or masquerade: false$/
    ],
    ["a number for text", `${base}device: 5\n`, "s.yaml:4:9: device: expected text, found 5 — write device: and text"],
    [
      "a choice misspelt",
      `${base}firewall: nftable\n`,
      's.yaml:4:11: firewall: "nftable" is not a choice here — did you mean nftables?'
    ],
    [
      "a short key",
      'endpoint: a:1\nclients: { a: { public_key: "AAAA" } }',
      /^s\.yaml:2:29: public_key: not a WireGuard key .* — paste /
    ],
    [
      "a non-canonical key",
      `endpoint: a:1\nclients: { a: { public_key: "${"A".repeat(42)}B=" } }`,
      /not a WireGuard key/
    ],
    ["one key twice", `${base}  bob: { public_key: "${key(1)}" }\n`, /^s\.yaml:4:22: same public_key as alice — /],
    [
      "a bad client name",
      `endpoint: a:1\nclients: { "a b": { public_key: "${key(1)}" } }`,
      /^s\.yaml:2:12: "a b" is not a name — /
    ],
    [
      "an unknown resolver",
      resource("{ name: a.b, resolver: crop, allow: [eng] }") + "resolvers: { corp: [udp://1.1.1.1] }\n",
      's.yaml:5:29: unknown resolver "crop" — did you mean corp?'
    ],
    [
      "an address family that is none",
      resource("{ name: a.b, ip_family: ipv5, allow: [eng] }"),
      's.yaml:5:30: ip_family: "ipv5" is not a choice here — did you mean ipv4?'
    ],
    [
      "an address family of a network",
      resource("{ cidr: 10.0.0.0/8, ip_family: ipv4, allow: [eng] }"),
      /^s\.yaml:5:\d+: only a resource with a name has an ip_family — remove ip_family/
    ],
    [
      "a resolver set without servers",
      `${base}resolvers: { corp: [] }\n`,
      /^s\.yaml:4:14: resolver corp has 0 servers — /
    ],
    [
      "a resolver called system",
      `${base}resolvers: { system: [udp://1.1.1.1] }\n`,
      /^s\.yaml:4:14: system always means/
    ],
    [
      "a resolver by name",
      `${base}resolvers: { corp: [udp://ns.corp] }\n`,
      /^s\.yaml:4:21: corp: "udp:\/\/ns\.corp" does not name a DNS server by its address — /
    ],
    ["a resolver over QUIC", `${base}resolvers: { corp: [quic://1.1.1.1] }\n`, /DNS over quic is not supported — /],
    [
      "a resolver over HTTPS by name",
      `${base}resolvers: { corp: ["https://dns.corp/dns-query"] }\n`,
      /does not name a DNS server by its address — /
    ],
    [
      "a pin that is none",
      `${base}resolvers: { corp: ["tls://1.1.1.1#sha256/AAAA"] }\n`,
      /neither a name nor a pin — /
    ],
    [
      "a name to prove over UDP",
      `${base}resolvers: { corp: ["udp://1.1.1.1#dns.corp"] }\n`,
      /udp proves nothing — leave out #/
    ],
    [
      "an order that is none",
      `${base}resolvers: { corp: { servers: [udp://1.1.1.1], order: fastets } }\n`,
      /"fastets" is not a choice here — did you mean fastest\?/
    ],
    [
      "a bad server in a mapping",
      `${base}resolvers: { corp: { servers: [udp://ns.corp] } }\n`,
      /^s\.yaml:4:32: .*does not name a DNS server by its address — /
    ],
    [
      "a resolver inside the tunnel",
      `${base}resolvers: { corp: [udp://100.64.0.1] }\n`,
      /^s\.yaml:4:21: 100\.64\.0\.1 lies in tunnel_ipv4 100\.64\.0\.0\/11 — /
    ],
    [
      "an unknown group",
      resource("{ name: a.b, allow: [egn] }"),
      's.yaml:5:27: no client or group is called "egn" — did you mean eng?'
    ],
    ["nobody allowed", resource("{ name: a.b, allow: [] }"), /^s\.yaml:5:26: nobody may reach r — /],
    ["a missing allow", resource("{ name: a.b }"), /^s\.yaml:5:3: allow is missing in resources\.r — /],
    [
      "an empty list of ports",
      resource("{ name: a.b, ports: [], allow: [eng] }"),
      /^s\.yaml:5:26: an empty list of ports/
    ],
    [
      "ports backwards",
      resource("{ name: a.b, ports: [tcp/9-8], allow: [eng] }"),
      /^s\.yaml:5:27: ports: "tcp\/9-8" runs backwards — write tcp\/8-9$/
    ],
    ["port zero", resource("{ name: a.b, ports: [udp/0], allow: [eng] }"), /ports are 1 to 65535/],
    [
      "an unknown protocol",
      resource("{ name: a.b, ports: [sctp/9], allow: [eng] }"),
      /"sctp\/9" is not a port filter — /
    ],
    ["no kind of resource", resource("{ allow: [eng] }"), /^s\.yaml:5:3: r has neither name, cidr nor internet — /],
    [
      "two kinds of resource",
      resource("{ name: a.b, internet: true, allow: [eng] }"),
      /^s\.yaml:5:3: r has name and internet — /
    ],
    [
      "internet: false",
      resource("{ internet: false, allow: [eng] }"),
      /^s\.yaml:5:18: internet: false says nothing — /
    ],
    [
      "a resolver for the Internet",
      resource("{ internet: true, resolver: system, allow: [eng] }"),
      /^s\.yaml:5:24: only a resource with name or cidr has a resolver/
    ],
    [
      "host bits in a network",
      resource("{ cidr: 10.20.0.1/16, allow: [eng] }"),
      's.yaml:5:14: cidr: "10.20.0.1/16" has address bits behind its prefix — did you mean 10.20.0.0/16?'
    ],
    ["no network", resource("{ cidr: 10.20.0.0/33, allow: [eng] }"), /"10\.20\.0\.0\/33" is not a network — /],
    [
      "every address as a network",
      resource("{ cidr: 0.0.0.0/0, allow: [eng] }"),
      /^s\.yaml:5:14: 0\.0\.0\.0\/0 is every address — write internet: true/
    ],
    [
      "a network over the tunnel",
      resource("{ cidr: 100.64.0.0/10, allow: [eng] }"),
      /^s\.yaml:5:14: 100\.64\.0\.0\/10 overlaps tunnel_ipv4 100\.64\.0\.0\/11 — /
    ],
    [
      "an address as a name",
      resource("{ name: 10.0.0.1, allow: [eng] }"),
      /"10\.0\.0\.1" is an address, not a name — write cidr: 10\.0\.0\.1 instead of name:/
    ],
    [
      "a pattern with ** in a label",
      resource('{ name: "a**.b", allow: [eng] }'),
      /"a\*\*\.b": "\*\*" must be a label of its own/
    ],
    ["a pattern of nothing but stars", resource('{ name: "**", allow: [eng] }'), /matches every name/],
    ["an empty label", resource("{ name: a..b, allow: [eng] }"), /it has an empty label/],
    [
      "a name in another script",
      resource("{ name: bücher.example, allow: [eng] }"),
      /has characters that no DNS name has — .*xn--/
    ],
    [
      "a date that is none",
      resource("{ name: a.b, allow: [eng], expires: soon }"),
      /^s\.yaml:5:42: expires: "soon" is not a date — /
    ],
    [
      "a day that is not in the calendar",
      resource("{ name: a.b, allow: [eng], expires: 2027-02-30 }"),
      /not in the calendar/
    ],
    [
      "overlapping ranges",
      `${base}network: { tunnel_ipv4: 10.0.0.0/9, proxy_ipv4: 10.0.0.0/16 }\n`,
      "s.yaml:4:49: proxy_ipv4 10.0.0.0/16 overlaps tunnel_ipv4 10.0.0.0/9 — choose ranges that share no address"
    ],
    [
      "a range of the other family",
      `${base}network: { tunnel_ipv4: "fd99::/64" }\n`,
      /^s\.yaml:4:25: fd99::\/64 is not an IPv4 network — /
    ],
    [
      "a range too small",
      `${base}network: { proxy_ipv4: 10.9.0.0/30 }\n`,
      /^s\.yaml:4:24: proxy_ipv4 10\.9\.0\.0\/30 has a prefix of 30 bits — use a prefix from \/8 to \/24$/
    ],
    [
      "a range that cannot be routed",
      `${base}network: { tunnel_ipv4: 224.0.0.0/8 }\n`,
      /^s\.yaml:4:25: 224\.0\.0\.0\/8 overlaps the special range 224\.0\.0\.0\/3 — /
    ],
    [
      "a fixed address outside the range",
      `${base}  b: { public_key: "${key(2)}", tunnel_ipv4: 10.0.0.1 }\n`,
      /^s\.yaml:4:\d+: 10\.0\.0\.1 is outside 100\.64\.0\.0\/11 — /
    ],
    [
      "the gateway's address fixed",
      `${base}  b: { public_key: "${key(2)}", tunnel_ipv6: "fd00:2021:1111::1" }\n`,
      /is the gateway's own address/
    ],
    [
      "the broadcast address fixed",
      `${base}  b: { public_key: "${key(2)}", tunnel_ipv4: 100.95.255.255 }\n`,
      /is the broadcast address/
    ],
    [
      "one fixed address twice",
      `${base}  b: { public_key: "${key(2)}", tunnel_ipv4: 100.64.0.9 }\n  c: { public_key: "${key(3)}", tunnel_ipv4: 100.64.0.9 }\n`,
      /^s\.yaml:5:\d+: 100\.64\.0\.9 is already the address of b — /
    ],
    [
      "a password in the address of a site, which is not repeated",
      `${base}state: "postgres://gw:hunter2@db1/names"
`,
      /^s\.yaml:4:8: state: a password stands in the address, where others may read it — put it into a file and (?!.*hunter2)/
    ],
    [
      "a range that has no room for several gateways",
      `${base}network: { proxy_ipv4: 10.9.0.0/19 }
state: postgres://db1
`,
      /^s\.yaml:5:8: the proxy ranges have addresses for 2048 names of a client, and several gateways need room for 4096 — make proxy_ipv4 a \/18 or larger and proxy_ipv6 a \/114 or larger \(network:\)$/
    ],
    [
      "a relative path",
      `${base}state_dir: state\n`,
      /^s\.yaml:4:12: state_dir: "state" is not an absolute path — start it with \/$/
    ],
    [
      "a socket path too long for the kernel",
      `${base}control_socket: /${"a".repeat(94)}\n`,
      /the path is longer than 94 bytes/
    ],
    [
      "an address that leads other hosts to themselves",
      `${base}state: postgres://db1\nadvertise: "::1"\n`,
      /^s\.yaml:5:12: advertise: "::1" is no address by which other hosts reach this one — write for example 10\.20\.0\.1$/
    ],
    [
      "where others reach it when there are none",
      `${base}advertise: 10.0.0.5\n`,
      /^s\.yaml:4:\d+: there are no other gateways — add state: with the site's PostgreSQL, or remove advertise$/
    ],
    ["a device name too long for the kernel", `${base}device: abcdefghijklmnop\n`, /is not a device name/],
    [
      "an endpoint without a port",
      "endpoint: vpn.example.com\n",
      /^s\.yaml:1:11: endpoint: "vpn\.example\.com" is not host:port — /
    ]
  ]
  for (const [title, text, message] of cases) {
    it(`is refused for ${title}`, () => {
      const lines = wrong(text)
      assert.strictEqual(lines.length, 1, lines.join("\n"))
      if (typeof message === "string") assert.strictEqual(lines[0], message)
      else assert.match(lines[0]!, message)
    })
  }

  it("shows all problems in the order of the file", () => {
    const lines = wrong(`endpoint: here\nlistn: 1\nclients: { a: { public_key: x } }\n`)
    assert.deepStrictEqual(
      lines.map((line) => line.split(": ")[0]),
      ["s.yaml:1:11", "s.yaml:2:1", "s.yaml:3:29"]
    )
  })

  it("shows at most twenty problems and how many more there are", () => {
    const keys = Array.from({ length: 35 }, (_, i) => `zz${i}: 1\n`).join("")
    const lines = wrong(base + keys)
    assert.strictEqual(lines.length, 21)
    assert.strictEqual(lines[20], "s.yaml: and 15 more")
  })

  it("cannot make the reader expand aliases without end", () => {
    let text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for (let i = 1; i < 12; i++) text += `a${i}: &a${i} [${Array.from({ length: 9 }, () => `*a${i - 1}`).join(", ")}]\n`
    assert.match(wrong(text).join("\n"), /^s\.yaml:1:5: aliases expand without end/)
  })

  it("cannot make the reader overflow its stack", () => {
    assert.match(wrong(`endpoint: ${"[".repeat(200_000)}`)[0]!, /^s\.yaml:\d+:\d+: /)
  })

  it("is refused unread beyond 1 MiB", () => {
    assert.match(wrong(`endpoint: a:1 #${"x".repeat(1 << 20)}`)[0]!, /larger than 1 MiB/)
  })

  it("never sends control characters to the terminal", () => {
    const line = wrong('endpoint: "\\e[31m\\n\\u202e"\n').join("\n")
    assert.notMatch(line, /[\p{Cc}\p{Cf}]/u)
  })

  it.prop("never makes the reader throw, whatever the text", [Schema.String], ([text]) => {
    parseConfig(text, "s.yaml")
    parseConfig(`${base}resources: ${text}`, "s.yaml")
  })

  it.prop(
    "is answered with places inside the file, whichever character is wrong",
    [
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: example.length - 1 })),
      Schema.Literals(["#", ":", "{", "é", " ", '"', "-", "0"])
    ],
    ([at, character]) => {
      const text = example.slice(0, at) + character + example.slice(at + 1)
      for (const line of wrong(text)) {
        const place = /^s\.yaml:(\d+):(\d+): (.+) — (.+)$/.exec(line)
        assert.isNotNull(place, line)
        assert.isAtMost(Number(place?.[1]), text.split("\n").length)
      }
    }
  )
})

describe("reading the file", () => {
  const inDirectory = <A, E>(
    use: (dir: string, fs: FileSystem.FileSystem) => Effect.Effect<A, E, FileSystem.FileSystem>
  ) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      return yield* use(yield* fs.makeTempDirectoryScoped(), fs)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

  it.live("gives the configuration", () =>
    inDirectory((dir, fs) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${dir}/a.yaml`, example)
        const config = yield* readConfig(`${dir}/a.yaml`)
        assert.strictEqual(config.clients.length, 2)
      })
    )
  )

  it.live("says what to do when there is no such file, a directory, or no text", () =>
    inDirectory((dir, fs) =>
      Effect.gen(function* () {
        yield* fs.writeFile(`${dir}/binary`, new Uint8Array([0xff, 0xfe, 0]))
        const missing = yield* Effect.flip(readConfig(`${dir}/none.yaml`))
        const directory = yield* Effect.flip(readConfig(dir))
        const binary = yield* Effect.flip(readConfig(`${dir}/binary`))
        assert.strictEqual(
          missing.message,
          `${dir}/none.yaml does not exist — make it with sallyport init, or name another with --config`
        )
        assert.strictEqual(directory.message, `${dir} is a directory — name the file in it`)
        assert.strictEqual(binary.message, `${dir}/binary is not UTF-8 text — is this the right file?`)
      })
    )
  )

  it.live("takes UTF-16 and byte order marks, as Windows programs write them", () =>
    inDirectory((dir, fs) =>
      Effect.gen(function* () {
        const little = Buffer.from(`\ufeff${example}`, "utf16le")
        const texts = {
          utf8: Buffer.from(`\ufeff${example}`),
          little,
          big: Buffer.from(little).swap16(),
          bare: Buffer.from(example, "utf16le")
        }
        for (const [name, bytes] of Object.entries(texts)) {
          yield* fs.writeFile(`${dir}/${name}`, bytes)
          assert.strictEqual((yield* readConfig(`${dir}/${name}`)).clients.length, 2, name)
        }
      })
    )
  )

  it.live("waits for no device, pipe or socket, and reads no endless file", () =>
    inDirectory((dir, fs) =>
      Effect.gen(function* () {
        execFileSync("mkfifo", [`${dir}/pipe`])
        yield* fs.symlink(`${dir}/loop`, `${dir}/loop`)
        yield* fs.writeFile(`${dir}/long`, new Uint8Array((1 << 20) + 1).fill(0x20))
        const said = (path: string) => Effect.map(Effect.flip(readConfig(path)), ({ message }) => message)
        assert.strictEqual(yield* said("/dev/zero"), "/dev/zero is a device, not a file — name a file")
        assert.strictEqual(yield* said(`${dir}/pipe`), `${dir}/pipe is a named pipe, not a file — name a file`)
        assert.match(yield* said(`${dir}/long`), /larger than 1 MiB/)
        assert.match(yield* said(`${dir}/loop`), /^\S+ cannot be read \(\w+\) — check the path$/)
        assert.match(yield* said(`${dir}/${"x".repeat(300)}`), /cannot be read \(\w+\) — check the path$/)
        assert.match(yield* said(`${dir}/a\0b`), /cannot be read \(\w+\) — check the path$/)
      })
    )
  )
})
