import { assert, describe, it } from "@effect/vitest"
import { type NamePlan, NameRoutes, type NameRoute, rightsOf } from "../../../src/control/standalone/nameRoutes.ts"
import { canonicalName, isWithin } from "../../../src/dns/name.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { reverseAddress } from "../../../src/dns/reverse.ts"
import { defaultNetwork, type Zone } from "../../../src/config/GatewayConfig.ts"
import type { LocalRecord } from "../../../src/dns/tunnelAnswer.ts"
import { noNameFiles } from "../../../src/host/NameFiles.ts"
import type { Resource } from "../../../src/model/Resource.ts"
import { cidrResource, client, dnsResource } from "../../support/access.ts"
import { reverseName } from "../../support/reverseName.ts"

/** Client 1 has a grant for each of `granted`, which expire at 1,000. */
const world = (
  granted: ReadonlyArray<Resource>,
  others: ReadonlyArray<Resource> = [],
  over: Partial<NamePlan> = {},
  files = noNameFiles
) => {
  const plan: NamePlan = {
    endpoint: { host: "vpn.example.com", port: 51_820 },
    network: defaultNetwork,
    otherNames: "forward",
    records: new Map(),
    resources: [...granted, ...others],
    search: [],
    zones: [],
    sites: null,
    ...over
  }
  const rightTo = ({ resource }: { readonly resource: Resource }) => ({ resource, expiresAt: 1_000 })
  const theirs = plan.sites?.elsewhere.filter(({ clients }) => clients.length > 0) ?? []
  const of = rightsOf(
    client(1).id,
    granted.map((resource) => rightTo({ resource })),
    theirs.map(rightTo)
  )
  const routes = new NameRoutes(plan)
  return (name: string, type: number = recordType.A, now = 0): string => {
    const domain = canonicalName(name)
    const family = type === recordType.A ? 4 : type === recordType.AAAA ? 6 : null
    const reverse = type === recordType.PTR ? reverseAddress(domain) : null
    return shown(routes.route(of, { domain, type, family, reverse }, now, files))
  }
}

const shown = (route: NameRoute): string => {
  switch (route._tag) {
    case "Here":
      return route.answer._tag
    case "Alias":
      return `alias ${route.target}`
    case "Blocked":
      return "blocked"
    case "Hosts":
      return `hosts ${route.addresses.join(" ")}`
    case "Search":
      return `search ${route.names.join(" ")}, else ${shown(route.otherwise)}`
    case "Proxy":
      return `slot ${route.slot}`
    case "Elsewhere":
      return `${route.grant.resource.pattern} at ${route.site.name}`
    case "Resource":
      return route.grants.map((grant) => grant.resource.pattern).join(" ")
    case "Forward":
      return route.as === "outside" && route.resolver === "system" ? "outside" : `${route.as} ${route.resolver}`
  }
}

const set = (resolver: string) => ({ resolver })
type Row = readonly [name: string, expected: string, type?: number]
const table = (route: ReturnType<typeof world>, rows: ReadonlyArray<Row>, now = 0) => {
  for (const [name, expected, type] of rows) assert.strictEqual(route(name, type, now), expected, name)
}

describe("where a question goes", () => {
  it("is the resources that cover the name, the most specific one first, whatever bytes are in it", () => {
    table(world([dnsResource("**.corp.internal"), dnsResource("git.corp.internal")]), [
      ["git.corp.internal", "git.corp.internal **.corp.internal"],
      ["Front\\032Desk._ipp._tcp.corp.internal", "**.corp.internal", recordType.SRV],
      ["a/b@c.corp.internal", "**.corp.internal"],
      ["git.corp.internal.example.org", "outside"]
    ])
  })

  it("is nobody for a name of a resource that is not this client's, or no longer", () => {
    const mine = dnsResource("*.corp.internal", set("corp"))
    const route = world([mine], [dnsResource("*.bob.internal"), dnsResource("db.corp.internal", set("corp"))])
    table(route, [
      ["x.bob.internal", "NameError"],
      ["db.corp.internal", "*.corp.internal"]
    ])
    table(
      route,
      [
        ["git.corp.internal", "NameError"],
        ["db.corp.internal", "NameError"]
      ],
      1_000
    )
  })

  it("is the resource's own servers for other names of its domain, where no public server can know them", () => {
    const route = world([dnsResource("*.corp.internal", set("corp")), dnsResource("db.eu.corp.internal", set("eu"))])
    table(route, [
      ["_ldap._tcp.dc._msdcs.corp.internal", "zone corp", recordType.SRV],
      ["a.b.corp.internal", "zone corp"],
      ["x.eu.corp.internal", "zone eu"],
      ["other.internal", "outside"],
      ["internal", "outside"]
    ])
    table(world([dnsResource("nas.lan", set("home"))]), [
      ["printer.lan", "zone home"],
      ["lan", "zone home", recordType.SOA]
    ])
  })

  it("is nobody for such names for a client without any right there", () => {
    const others = [dnsResource("*.corp.internal", set("corp")), dnsResource("nas.lan")]
    const rows: ReadonlyArray<Row> = [
      ["_ldap._tcp.dc._msdcs.corp.internal", "NameError", recordType.SRV],
      ["a.b.corp.internal", "NameError"],
      ["front\\032desk._ipp._tcp.corp.internal", "NameError", recordType.TXT],
      ["printer.lan", "NameError"]
    ]
    table(world([], others), rows)
    table(world(others), rows, 1_000)
  })

  it("is told by a network: who reaches a host by its address may know its name", () => {
    table(world([cidrResource("192.168.1.0/24")], [dnsResource("nas.lan", set("home"))]), [
      ["printer.lan", "networks home"],
      ["printer.lan", "NameError", recordType.TXT],
      ["nas.lan", "NameError"]
    ])
  })

  it("is nobody where the resources of a private domain do not say whom to ask", () => {
    table(world([dnsResource("a.corp.internal", set("one")), dnsResource("b.corp.internal", set("two"))]), [
      ["c.corp.internal", "NameError"],
      ["a.corp.internal", "a.corp.internal"]
    ])
  })

  it("takes no name away from a public domain that has a resource in it", () => {
    const route = world([dnsResource("gitlab.example.com", set("corp")), dnsResource("example.net", set("corp"))])
    table(route, [
      ["www.example.com", "outside"],
      ["example.com", "outside", recordType.MX],
      ["www.gitlab.example.com", "outside"],
      ["www.example.net", "outside"],
      ["_443._tcp.www.example.com", "outside", 52]
    ])
    table(world([dnsResource("*.example.com", set("corp"))]), [["a.b.example.com", "outside"]])
  })

  it("is the resource's own servers for the services of its names, in public domains, too", () => {
    const resources = [dnsResource("gitlab.example.com", set("corp")), dnsResource("*.ad.example.com", set("ad"))]
    const rows = (expected: ReadonlyArray<string>): ReadonlyArray<Row> => [
      ["_443._tcp.gitlab.example.com", expected[0]!, 52],
      ["_ldap._tcp.dc._msdcs.ad.example.com", expected[1]!, recordType.SRV],
      ["x\\.y z._ipp._tcp.ad.example.com".replace(" ", "\\032"), expected[1]!, recordType.SRV]
    ]
    table(world(resources), rows(["zone corp", "zone ad"]))
    table(world([], resources), rows(["NameError", "NameError"]))
  })

  it("is the client's own proxies backwards", () => {
    const route = world([dnsResource("*.corp.internal")])
    table(route, [
      [reverseName("100.96.0.4"), "slot 1", recordType.PTR],
      [reverseName("fd00:2021:1111:8000::4"), "slot 1", recordType.PTR],
      [reverseName("100.96.0.1"), "NameError", recordType.PTR]
    ])
  })

  it("is nobody for reverse names of local and tunnel networks, and outside for public ones", () => {
    table(world([dnsResource("*.corp.internal", set("corp"))]), [
      [reverseName("10.1.2.3"), "NameError", recordType.PTR],
      ["10.in-addr.arpa", "NameError", recordType.SOA],
      ["lb._dns-sd._udp.0.0.168.192.in-addr.arpa", "NameError", recordType.PTR],
      ["16.172.in-addr.arpa", "NameError", recordType.NS],
      [reverseName("100.64.0.1"), "NameError", recordType.PTR],
      ["0.96.100.in-addr.arpa", "NameError", recordType.NS],
      [reverseName("fd12::1"), "NameError", recordType.PTR],
      [reverseName("fe80::1"), "NameError", recordType.PTR],
      ["8.8.8.8.in-addr.arpa", "outside", recordType.PTR],
      ["172.in-addr.arpa", "outside", recordType.NS],
      ["in-addr.arpa", "outside", recordType.SOA],
      [reverseName("2606:4700::1111"), "outside", recordType.PTR]
    ])
  })

  it("is the servers of the network that holds the address, for reverse names", () => {
    const corp = dnsResource("*.corp.internal", set("corp"))
    const lab = cidrResource("10.77.0.0/20")
    const rows = (expected: string): ReadonlyArray<Row> => [
      [reverseName("10.77.15.10"), expected, recordType.PTR],
      ["lb._dns-sd._udp.0.0.77.10.in-addr.arpa", expected, recordType.PTR]
    ]
    table(world([corp, lab]), [
      ...rows("zone corp"),
      ["77.10.in-addr.arpa", "NoData", recordType.NS],
      [reverseName("10.77.16.1"), "NameError", recordType.PTR]
    ])
    // Without a set of its own in the file, what is private is known to the system's servers.
    table(world([lab]), rows("zone system"))
    table(world([corp, dnsResource("*.eu.internal", set("eu")), lab]), rows("NameError"))
    table(world([corp, { ...lab, ...set("eu") }]), rows("zone eu"))
    table(world([corp], [lab]), rows("NameError"))
    table(world([corp, lab]), rows("NameError"), 1_000)
    table(world([cidrResource("9.9.9.0/24"), corp]), [[reverseName("9.9.9.9"), "outside", recordType.PTR]])
    table(world([{ ...cidrResource("9.9.9.0/24"), ...set("corp") }]), [
      [reverseName("9.9.9.9"), "zone corp", recordType.PTR]
    ])
  })

  it("is refused for names outside by option, and for those only", () => {
    const route = world([dnsResource("*.corp.internal", set("corp"))], [], { otherNames: "refuse" })
    table(route, [
      ["example.org", "Refused"],
      ["8.8.8.8.in-addr.arpa", "Refused", recordType.PTR],
      ["a.b.corp.internal", "zone corp"],
      ["git.corp.internal", "*.corp.internal"],
      [reverseName("10.1.2.3"), "NameError", recordType.PTR]
    ])
  })

  const zone = (domain: string, resolver: string, clients: Zone["clients"] = null): Zone => ({
    domain,
    resolver,
    clients
  })

  it("is the set of the longest zone of the file that has the name, under resources", () => {
    const zones = [zone("internal", "root"), zone("corp.internal", "corp"), zone("10.in-addr.arpa", "corp")]
    const route = world([dnsResource("git.corp.internal", set("git"))], [dnsResource("*.bob.internal")], { zones })
    table(route, [
      ["wiki.corp.internal", "zone corp"],
      ["corp.internal", "zone corp", recordType.SOA],
      ["other.internal", "zone root"],
      ["git.corp.internal", "git.corp.internal"],
      ["x.bob.internal", "NameError"],
      [reverseName("10.1.2.3"), "zone corp", recordType.PTR],
      [reverseName("192.168.1.1"), "NameError", recordType.PTR],
      ["example.org", "outside"]
    ])
  })

  it("is nobody for a zone that is not for this client; a zone below it may be", () => {
    const zones = [zone("internal", "root", new Set()), zone("corp.internal", "corp", new Set([client(1).id]))]
    table(world([], [], { zones, otherNames: "refuse" }), [
      ["wiki.corp.internal", "zone corp"],
      ["other.internal", "NameError"],
      ["example.org", "Refused"]
    ])
  })

  it("is the file for its records: all that there is of such a name, and aliases", () => {
    const records = new Map<string, ReadonlyArray<LocalRecord>>([
      ["nas.home", [{ type: recordType.A, data: { _tag: "Address", address: "10.0.0.5" }, ttl: 60 }]],
      ["www.corp.internal", [{ type: recordType.CNAME, data: { _tag: "Name", name: "git.corp.internal" }, ttl: 60 }]]
    ])
    const corp = dnsResource("*.corp.internal", set("corp"))
    const rows = (name: string): ReadonlyArray<Row> => [
      ["nas.home", "Records"],
      ["nas.home", "NoData", recordType.TXT],
      ["x.nas.home", "outside"],
      ["www.corp.internal", name],
      ["www.corp.internal", name === "NameError" ? name : "Records", recordType.CNAME]
    ]
    table(world([corp], [], { records }), rows("alias git.corp.internal"))
    // A record tells nobody of a name that the client may not ask for.
    table(world([], [corp], { records }), rows("NameError"))
    const zones = [zone("home", "home", new Set())]
    table(world([], [], { records, zones }), [["nas.home", "NameError"]])
  })

  it("is nobody for a blocked name, unless the file says something of it itself", () => {
    const list = ["example.com", "ads.example.net", "corp.internal", "nas.home"]
    const files = { ...noNameFiles, blocked: (name: string) => list.find((entry) => isWithin(name, entry)) }
    const records = new Map([
      ["nas.home", [{ type: recordType.A, data: { _tag: "Address", address: "10.0.0.5" }, ttl: 60 } as const]]
    ])
    const zones = [zone("example.net", "net"), zone("dev.example.com", "dev")]
    const route = world([dnsResource("*.corp.internal", set("corp"))], [], { records, zones }, files)
    table(route, [
      ["www.example.com", "blocked"],
      ["x.ads.example.net", "blocked", recordType.TXT],
      ["www.example.net", "zone net"],
      ["x.dev.example.com", "zone dev"],
      ["git.corp.internal", "*.corp.internal"],
      ["_ldap._tcp.corp.internal", "zone corp", recordType.SRV],
      ["nas.home", "Records"],
      // What clients dial is found outside of the tunnel, whatever says otherwise.
      ["vpn.example.com", "outside"]
    ])
  })

  it("is the endpoint's own address for its name, also where a wildcard covers it", () => {
    table(world([dnsResource("*.example.com", set("corp"))]), [
      ["vpn.example.com", "outside"],
      ["www.example.com", "*.example.com"]
    ])
    table(world([], [], { otherNames: "refuse" }), [["vpn.example.com", "outside"]])
  })

  it("is the hosts file before the system's servers, and before no others", () => {
    const entries = new Map([
      ["nas.home", ["10.0.0.5", "fd00::5"]],
      ["git.corp.internal", ["10.0.0.6"]],
      ["gateway.example.org", ["127.0.1.1"]],
      ["x.lan", ["10.0.0.7"]]
    ])
    const files = { ...noNameFiles, hosts: (name: string) => entries.get(name) }
    const zones = [zone("corp.internal", "corp"), zone("lan", "system")]
    table(world([], [], { zones }, files), [
      ["nas.home", "hosts 10.0.0.5 fd00::5"],
      ["nas.home", "outside", recordType.TXT],
      ["git.corp.internal", "zone corp"],
      ["x.lan", "hosts 10.0.0.7"],
      // What a host says of itself is of no use to others.
      ["gateway.example.org", "outside"]
    ])
    table(world([], [], { zones, otherNames: "refuse" }, files), [["nas.home", "Refused"]])
  })

  it("is the hosts file backwards where the system's servers would be asked", () => {
    const names = new Map([
      ["10.0.0.5", "nas.home"],
      ["9.9.9.9", "far.example.org"],
      ["127.0.1.1", "gateway.example.org"]
    ])
    const files = { ...noNameFiles, hostOf: (address: string) => names.get(address) }
    const rows = (near: string, far: string): ReadonlyArray<Row> => [
      [reverseName("10.0.0.5"), near, recordType.PTR],
      [reverseName("9.9.9.9"), far, recordType.PTR],
      [reverseName("127.0.1.1"), "NameError", recordType.PTR]
    ]
    const lab = cidrResource("10.0.0.0/24")
    table(world([lab], [], {}, files), rows("Reverse", "Reverse"))
    table(world([{ ...lab, resolver: "corp" }], [], {}, files), rows("zone corp", "Reverse"))
    table(world([], [lab], { otherNames: "refuse" }, files), rows("NameError", "Refused"))
  })

  it("is each search domain in turn for the addresses of a short name that is nothing by itself", () => {
    const records = new Map([
      ["here", [{ type: recordType.A, data: { _tag: "Address", address: "10.0.0.5" }, ttl: 60 } as const]]
    ])
    const route = world([dnsResource("nas")], [], { records, search: ["corp.internal", "example.com"] })
    table(route, [
      ["git", "search git.corp.internal git.example.com, else outside"],
      ["git", "search git.corp.internal git.example.com, else outside", recordType.AAAA],
      ["nas", "nas"],
      ["here", "Records"],
      ["git.lab", "outside"],
      ["com", "outside", recordType.NS],
      ["localhost", "outside"]
    ])
  })
})
