import { assert, describe, it } from "@effect/vitest"
import { DestinationPolicy, optInBits, type Refusal } from "../../src/nat/destinationPolicy.ts"
import type { DestinationOptIn } from "../../src/model/Resource.ts"
import { mappedPrefix, parseNetwork, words } from "../../src/packet/address.ts"
import { integer } from "../support/packetArbitraries.ts"
import { addressWords as address } from "../support/packets.ts"

const all: ReadonlyArray<DestinationOptIn> = ["gateway_host", "loopback", "link_local", "metadata"]

const policy = new DestinationPolicy()
policy.setOwnAddresses(["192.0.2.10", "2001:db8::10", "fe80::10", "127.0.0.1"].map(address))
policy.setBroadcasts(["10.9.255.255"].map(address))
policy.setRanges(
  ["100.64.0.0/11", "fd00:2021:1111::/107"].map((n) => parseNetwork(n)!),
  ["100.96.0.0/11", "fd00:2021:1111:8000::/107"].map((n) => parseNetwork(n)!)
)

const judge = (text: string, ...allow: ReadonlyArray<DestinationOptIn>): Refusal | undefined =>
  policy.judge(address(text), optInBits(allow))

describe("the destination policy", () => {
  it.each([
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "223.255.255.255",
    "240.0.0.1",
    "192.0.2.11",
    "fd12::1",
    "2001:db8::11",
    "fec0::1",
    "fe7f:ffff::1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1:808:8:800::",
    "64:ff9b:1:0:a:0:e000:0",
    "64:ff9b:1::8.8.8.8",
    "2002:808:808::1",
    "10.9.255.254",
    "2001:db8::5efe:8.8.8.8",
    "2001:db8::200:5efe:10.0.0.1",
    "2001:db8::100:5efe:127.0.0.1"
  ])("lets an ordinary address through: %s", (text) => {
    assert.isUndefined(judge(text))
  })

  it.each<[string, Refusal]>([
    ["0.0.0.0", "unspecified address"],
    ["0.255.255.255", "unspecified address"],
    ["::", "unspecified address"],
    ["127.0.0.1", "loopback address"],
    ["127.255.255.255", "loopback address"],
    ["::1", "loopback address"],
    ["169.254.0.1", "link-local address"],
    ["fe80::1", "link-local address"],
    ["febf:ffff::1", "link-local address"],
    ["224.0.0.1", "multicast address"],
    ["239.255.255.255", "multicast address"],
    ["ff02::1", "multicast address"],
    ["255.255.255.255", "broadcast address"],
    ["169.254.169.254", "metadata service"],
    ["fd00:ec2::254", "metadata service"],
    ["168.63.129.16", "metadata service"],
    ["169.254.170.2", "metadata service"],
    ["169.254.170.23", "metadata service"],
    ["fd00:ec2::23", "metadata service"],
    ["fd20:ce::254", "metadata service"],
    ["192.0.0.192", "metadata service"],
    ["fd00:100::100:200", "metadata service"],
    ["fd00:c1::a9fe:a9fe", "metadata service"],
    ["fe80::a9fe:a9fe", "metadata service"],
    ["169.254.42.42", "metadata service"],
    ["fd00:42::42", "metadata service"],
    ["169.254.0.23", "metadata service"],
    ["fd00:a9fe:a9fe::1", "metadata service"],
    ["10.9.255.255", "broadcast address"],
    ["::ffff:10.9.255.255", "broadcast address"],
    ["2001:db8::5efe:169.254.169.254", "metadata service"],
    ["2001:db8::200:5efe:127.0.0.1", "loopback address"],
    ["fd12::5efe:100.64.0.9", "tunnel range"],
    ["192.0.2.10", "the gateway's own address"],
    ["2001:db8::10", "the gateway's own address"],
    ["100.64.0.0", "tunnel range"],
    ["100.95.255.255", "tunnel range"],
    ["fd00:2021:1111::1", "tunnel range"],
    ["100.96.0.0", "proxy range"],
    ["100.127.255.255", "proxy range"],
    ["100.100.100.200", "proxy range"],
    ["fd00:2021:1111:8000::1", "proxy range"]
  ])("refuses %s: %s", (text, refusal) => {
    assert.strictEqual(judge(text), refusal)
  })

  it("knows the metadata address inside the default proxy range where the ranges have been moved", () => {
    const moved = new DestinationPolicy()
    assert.strictEqual(moved.judge(address("100.100.100.200"), 0), "metadata service")
    assert.isUndefined(moved.judge(address("100.100.100.200"), optInBits(["metadata"])))
  })

  it.each<[DestinationOptIn, string]>([
    ["loopback", "127.0.0.1"],
    ["loopback", "::1"],
    ["loopback", "::ffff:127.0.0.1"],
    ["loopback", "64:ff9b::127.0.0.1"],
    ["link_local", "169.254.0.1"],
    ["link_local", "fe80::1"],
    ["metadata", "169.254.169.254"],
    ["metadata", "fd00:ec2::254"],
    ["metadata", "168.63.129.16"],
    ["gateway_host", "192.0.2.10"],
    ["gateway_host", "2001:db8::10"]
  ])("opens by its opt-in and by no other: %s for %s", (optIn, text) => {
    assert.isUndefined(judge(text, optIn))
    assert.isDefined(judge(text, ...all.filter((other) => other !== optIn)))
  })

  it("asks for both opt-ins for a link-local address of the gateway's own", () => {
    assert.strictEqual(judge("fe80::10", "link_local"), "the gateway's own address")
    assert.strictEqual(judge("fe80::10", "gateway_host"), "link-local address")
    assert.isUndefined(judge("fe80::10", "gateway_host", "link_local"))
  })

  it.each([
    "100.64.0.1",
    "100.96.0.1",
    "fd00:2021:1111::1",
    "fd00:2021:1111:8000::1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255"
  ])("opens %s by no opt-in", (text) => {
    assert.isDefined(judge(text, ...all))
  })

  it.each([
    ["mapped", "::ffff:127.0.0.1"],
    ["compatible", "::127.0.0.1"],
    ["translated", "::ffff:0:127.0.0.1"],
    ["6to4", "2002:7f00:1::1"],
    ["Teredo client", "2001:0:808:808::80ff:fffe"],
    ["Teredo server", "2001:0:7f00:1::f7f7:f7f7"],
    ["NAT64", "64:ff9b::127.0.0.1"],
    ["local NAT64, /96", "64:ff9b:1:5:6:7:127.0.0.1"],
    ["local NAT64, /48", "64:ff9b:1:7f00:0:100::"],
    ["local NAT64, /56", "64:ff9b:1:7f:0:1::"],
    ["local NAT64, /64", "64:ff9b:1:0:7f:0:100:0"]
  ])("judges by the IPv4 address inside: %s", (_, text) => {
    assert.strictEqual(judge(text), "loopback address")
  })

  it("judges the gateway's own and the tunnel's addresses inside other forms, too", () => {
    assert.strictEqual(judge("64:ff9b::192.0.2.10"), "the gateway's own address")
    assert.strictEqual(judge("2002:6440:1::1", ...all), "tunnel range")
    assert.strictEqual(judge("64:ff9b::169.254.169.254"), "metadata service")
  })

  it("follows the host's addresses", () => {
    const live = new DestinationPolicy()
    live.setOwnAddresses([address("192.0.2.1")])
    live.setOwnAddresses([address("192.0.2.2")])
    assert.isUndefined(live.judge(address("192.0.2.1"), 0))
    assert.strictEqual(live.judge(address("192.0.2.2"), 0), "the gateway's own address")
  })

  it.prop(
    "judges an IPv4 address alike in every form that carries it",
    [integer(0, 11), integer(-0x80000000, 0x7fffffff), integer(0, 15)],
    ([edge, random, optIns]) => {
      const edges = [
        "127.0.0.1",
        "169.254.169.254",
        "169.254.1.1",
        "192.0.2.10",
        "100.64.0.1",
        "100.96.0.1",
        "224.0.0.1"
      ]
      const v4 = edge < edges.length ? address(edges[edge]!).w3 : random
      const plain = policy.judge(words(0, 0, mappedPrefix, v4), optIns)
      assert.strictEqual(policy.judge(words(0x0064ff9b, 0, 0, v4), optIns), plain)
      assert.strictEqual(policy.judge(words(0x20020000 | (v4 >>> 16), v4 << 16, 0, 1), optIns), plain)
      assert.strictEqual(policy.judge(words(0x20010000, 0x08080808, 0, ~v4), optIns), plain)
      assert.strictEqual(policy.judge(words(0, 0, mappedPrefix << 16, v4), optIns), plain)
    }
  )
})

it("what the host uses of the ranges for something else is a destination like others, and the rest is not", () => {
  const shared = new DestinationPolicy()
  shared.setRanges([parseNetwork("100.64.0.0/11")!], [parseNetwork("100.96.0.0/11")!])
  shared.setForeign(["100.70.1.0/24", "100.100.3.0/24"].map((n) => parseNetwork(n)!))
  const judged = ["100.70.1.9", "100.70.2.9", "100.100.3.9", "100.100.4.9"].map((a) => shared.judge(address(a), 0))
  assert.deepStrictEqual(judged, [undefined, "tunnel range", undefined, "proxy range"])
})

describe("the Internet resource", () => {
  it.each([
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.127.255.255",
    "100.64.0.1",
    "198.19.255.255",
    "240.0.0.1",
    "192.0.2.1",
    "fd12::1",
    "fc00::1",
    "fec0::1",
    "2001:db8::1",
    "4000::1"
  ])("does not reach %s", (text) => {
    assert.isDefined(policy.judgeForInternet(address(text), 0))
  })

  it.each(["8.8.8.8", "172.15.255.255", "172.32.0.0", "100.128.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8"])(
    "reaches %s",
    (text) => {
      assert.isUndefined(policy.judgeForInternet(address(text), 0))
    }
  )

  it.each(["64:ff9b::10.0.0.1", "2002:a00:1::1", "2001:0:808:808::f5ff:fffe"])(
    "does not reach a private IPv4 address inside %s",
    (text) => {
      assert.strictEqual(policy.judgeForInternet(address(text), 0), "not a public address")
      assert.isUndefined(policy.judge(address(text), 0))
    }
  )

  it("has the refusals of every resource", () => {
    assert.strictEqual(policy.judgeForInternet(address("169.254.169.254"), 0), "metadata service")
    assert.strictEqual(policy.judgeForInternet(address("127.0.0.1"), 0), "loopback address")
  })
})
