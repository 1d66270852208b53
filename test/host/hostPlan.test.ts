import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { repaired } from "../../layers/memory/HostNetworkMemory.ts"
import type { HostPlan } from "../../src/host/HostNetwork.ts"
import {
  acceptAdvertisements,
  compare,
  deviceForwarding,
  globalForwarding,
  type HostObserved,
  hostWanted,
  nothingThere,
  sysctlName
} from "../../src/host/hostPlan.ts"
import { integer } from "../support/packetArbitraries.ts"
import { hostPlan } from "../support/hostPlan.ts"

/** Its addresses need not be canonical. */
const plan: HostPlan = { ...hostPlan, gateway6: "fd00:2021:1111:0::1" }
const wanted = hostWanted(plan, true)

/** Does what is to be done; with a device that has to be made again, once more. */
const round = (host: HostObserved): HostObserved =>
  compare(wanted, host).reduce((before, repair) => repaired(wanted, before, repair), host)

const right = round(nothingThere(wanted))
const lostOf = (host: HostObserved) => compare(wanted, host).map(({ lost }) => lost)
const without = <K, V>(map: ReadonlyMap<K, V>, key: K) => new Map([...map].filter(([other]) => other !== key))

/** What others do to a host, each as its words and its doing. */
const losses: ReadonlyArray<readonly [lost: string, by: (host: HostObserved) => HostObserved]> = [
  ["the gateway's nft table was gone", (host) => ({ ...host, table: "gone" })],
  ["the gateway's nft table was changed", (host) => ({ ...host, table: "changed" })],
  [
    "sally0 was down",
    (host) => ({
      ...host,
      link: host.link && { ...host.link, up: false },
      addresses: new Set([...host.addresses].filter((address) => !address.includes(":"))),
      routes: new Map()
    })
  ],
  ["the MTU of sally0 was 1500", (host) => ({ ...host, link: host.link && { ...host.link, mtu: 1500 } })],
  ["the queue of sally0 was 10 packets", (host) => ({ ...host, link: host.link && { ...host.link, queue: 10 } })],
  ["address 100.64.0.1/32 was gone", (host) => ({ ...host, addresses: new Set(["fd00:2021:1111::1/128"]) })],
  ["address fd00:2021:1111::1/128 was gone", (host) => ({ ...host, addresses: new Set(["100.64.0.1/32"]) })],
  ["route 100.64.0.0/11 was gone", (host) => ({ ...host, routes: without(host.routes, "100.64.0.0/11") })],
  [
    "route fd00:2021:1111::/107 led elsewhere",
    (host) => ({
      ...host,
      routes: new Map([...host.routes, ["fd00:2021:1111::/107", { device: 2, prefix: 0, source: null }]])
    })
  ],
  [
    "route 100.64.0.0/11 was changed",
    (host) => ({
      ...host,
      routes: new Map([
        ...host.routes,
        ["100.64.0.0/11", { device: host.link?.index ?? 0, prefix: 11, source: "192.0.2.1" }]
      ])
    })
  ],
  ...[globalForwarding[4], globalForwarding[6], deviceForwarding("sally0", 4), deviceForwarding("eth0", 4)].map(
    (path): (typeof losses)[number] => [
      `${sysctlName(path)} was 0`,
      (host) => ({ ...host, forwarding: new Map([...host.forwarding, [path, false]]) })
    ]
  ),
  [
    "net.ipv6.conf.eth0.accept_ra was 1",
    (host) => ({ ...host, forwarding: new Map([...host.forwarding, [acceptAdvertisements("eth0"), false]]) })
  ]
]
const deviceGone = (host: HostObserved): HostObserved => ({
  ...host,
  link: null,
  addresses: new Set(),
  routes: new Map()
})

describe("the comparison of a host with its plan", () => {
  it("finds nothing to do where all is there", () => {
    assert.deepStrictEqual(compare(wanted, right), [])
  })

  it("has the firewall made first, then the device raised, addresses, routes that name them, forwarding", () => {
    assert.deepStrictEqual(
      compare(wanted, nothingThere(wanted)).flatMap((repair) => (repair._tag === "Ip" ? repair.lines : [repair.lost])),
      [
        "the gateway's nft table was gone",
        "link set dev sally0 addrgenmode none",
        "link set dev sally0 mtu 1280 txqueuelen 3048 up",
        "address replace 100.64.0.1/32 dev sally0",
        "address replace fd00:2021:1111::1/128 dev sally0 nodad",
        "route replace 100.64.0.0/11 dev sally0 src 100.64.0.1",
        "route replace fd00:2021:1111::/107 dev sally0 src fd00:2021:1111::1",
        "net.ipv4.ip_forward was 0",
        "net.ipv6.conf.all.forwarding was 0"
      ]
    )
  })

  for (const [lost, by] of losses) {
    it(`says that ${lost}`, () => assert.include(lostOf(by(right)), lost))
  }

  it("has the firewall made before a device that is gone", () => {
    assert.deepStrictEqual(lostOf({ ...deviceGone(right), table: "gone" }), [
      "the gateway's nft table was gone",
      "the TUN device sally0 was gone"
    ])
  })

  it("says of a device that is gone only that: its addresses and routes went with it", () => {
    assert.deepStrictEqual(lostOf(deviceGone(right)), ["the TUN device sally0 was gone"])
    assert.deepStrictEqual(lostOf({ ...deviceGone(right), renamed: "lan0" }), [
      "the TUN device sally0 was renamed to lan0"
    ])
  })

  it("wants nothing of IPv6 where the host has none, and no table where the firewall is left alone", () => {
    const less = hostWanted({ ...plan, firewall: "off" }, false)
    const repairs = compare(less, nothingThere(less))
    assert.notInclude(JSON.stringify(repairs), "fd00")
    assert.notInclude(JSON.stringify(repairs), "ipv6")
    assert.isFalse(repairs.some(({ _tag }) => _tag === "Table"))
  })

  it("looks at a route all over its network, so that somebody's part of it does not stand for it", () => {
    const [v4, v6] = wanted.routes.map(({ probes }) => probes)
    assert.lengthOf(v4!, 20)
    assert.deepStrictEqual([v4![0], v4!.at(-1)], ["100.64.0.3", "100.80.0.1"])
    assert.deepStrictEqual([v6![0], v6!.at(-1)], ["fd00:2021:1111::3", "fd00:2021:1111::10:1"])
    const small = hostWanted({ ...plan, tunnelNetworks: ["100.64.0.0/30"] }, true)
    assert.deepStrictEqual(small.routes[0]!.probes, ["100.64.0.3"])
  })

  it("says what to look at when its route is there and another goes first", () => {
    const [repair] = compare(wanted, { ...right, routes: without(right.routes, "100.64.0.0/11") })
    assert.match(repair!._tag === "Ip" ? repair!.futile! : "", /"ip route get 100\.64\.0\.3" and "ip rule"/)
  })

  it("names a sysctl as sysctl(8) takes it, also of a device with a dot in its name", () => {
    assert.strictEqual(sysctlName(deviceForwarding("eth0", 4)), "net.ipv4.conf.eth0.forwarding")
    assert.strictEqual(sysctlName(deviceForwarding("eth0.7", 4)), "net/ipv4/conf/eth0.7/forwarding")
  })

  it.prop(
    "is empty after its repairs, whatever was lost and in whatever order",
    [Arbitrary.array(integer(0, losses.length - 1)), integer(0, 1)],
    ([indexes, lastly]) => {
      const broken = indexes.reduce((host, i) => losses[i]![1](host), right)
      const gone = lastly === 1
      const host = gone ? deviceGone(broken) : broken
      const healed = gone ? round(round(host)) : round(host)

      assert.deepStrictEqual(compare(wanted, healed), [])
    }
  )
})
