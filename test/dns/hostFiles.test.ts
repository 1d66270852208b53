import { assert, describe, it } from "@effect/vitest"
import { hostNames, parseHosts } from "../../src/dns/hosts.ts"
import { parseResolvConf } from "../../src/dns/resolvConf.ts"
import { reverseAddress, reverseNetwork } from "../../src/dns/reverse.ts"
import { formatNetwork } from "../../src/packet/address.ts"
import { bytes, host4, host6 } from "../support/packetArbitraries.ts"
import { reverseName } from "../support/reverseName.ts"

const maxServers = 8

describe("resolv.conf", () => {
  it("gives the servers in order, canonical and once each", () => {
    const text = [
      "# nameserver 9.9.9.9",
      "search corp.test",
      "nameserver 10.0.0.53",
      "  nameserver\t2001:DB8:0::1   # old",
      "nameserver 10.0.0.53",
      "options timeout:1"
    ].join("\n")
    assert.deepStrictEqual(parseResolvConf(text).servers, ["10.0.0.53", "2001:db8::1"])
  })

  it("a link-local server keeps its zone; other zones, ports and names are no servers", () => {
    const text =
      "nameserver fe80::1%eth0\nnameserver fd00::1%eth0\nnameserver 10.0.0.1:5353\nnameserver dns.test\nnameserver"
    assert.deepStrictEqual(parseResolvConf(text).servers, ["fe80::1%eth0"])
  })

  it("has options, whatever stands beside them, within glibc's bounds", () => {
    const text = [
      "; options use-vc",
      "options debug timeout:2 attempts:3 single-request ndots:5",
      "options\trotate edns0 trust-ad",
      "nameserver 10.0.0.1;old",
      "nameserver 10.0.0.2#old",
      "#options no-aaaa"
    ].join("\n")
    assert.deepStrictEqual(parseResolvConf(text), {
      servers: ["10.0.0.1", "10.0.0.2"],
      isDefault: false,
      overTcp: false,
      rotates: true,
      timeoutMs: 2_000,
      attempts: 3,
      noAaaa: false
    })
    const bounds = (options: string) => {
      const { attempts, timeoutMs } = parseResolvConf(`options ${options}`)
      return [timeoutMs, attempts]
    }
    assert.deepStrictEqual(bounds("timeout:0 attempts:0"), [1_000, 1])
    assert.deepStrictEqual(bounds("timeout:999 attempts:999"), [30_000, 5])
    assert.deepStrictEqual(bounds("timeout: attempts:x"), [null, null])
  })

  it("without a server means the host itself, as for glibc", () => {
    for (const text of ["", "search corp.internal\n", "nameserver", "# nothing"]) {
      assert.deepInclude(parseResolvConf(text), { servers: ["127.0.0.1"], isDefault: true })
    }
  })

  it("stops at eight", () => {
    const text = Array.from({ length: 20 }, (_, i) => `nameserver 10.0.0.${i}`).join("\n")
    assert.strictEqual(parseResolvConf(text).servers.length, maxServers)
  })

  it("carriage returns do no harm", () => {
    assert.deepStrictEqual(parseResolvConf("nameserver 10.0.0.1\r\nnameserver 10.0.0.2\r\n").servers, [
      "10.0.0.1",
      "10.0.0.2"
    ])
  })
})

describe("hosts file", () => {
  it("gives every name its addresses, whatever the case, and every address its first name", () => {
    const hosts = parseHosts("10.0.0.1 App.Corp.test app # the app\nfd00:0::1 app\n10.0.0.1\tapp\n#10.0.0.9 app\n")
    assert.deepStrictEqual(
      [...hosts],
      [
        ["app.corp.test", ["10.0.0.1"]],
        ["app", ["10.0.0.1", "fd00::1"]]
      ]
    )
    assert.deepStrictEqual(
      [...hostNames(hosts)],
      [
        ["10.0.0.1", "app.corp.test"],
        ["fd00::1", "app"]
      ]
    )
  })

  it("lines without an address are skipped", () => {
    assert.strictEqual(parseHosts("app 10.0.0.1\n\n10.0.0 app\nfe80::1%lo app\n").size, 0)
  })

  it.prop("any text gives a table", [bytes(200)], ([data]) => {
    const text = Buffer.from(data).toString("latin1")
    parseHosts(text)
    for (const server of parseResolvConf(text).servers) assert.isNotEmpty(server)
  })
})

describe("reverse names", () => {
  it.prop("an address is read back out of its name", [host4, host6], ([v4, v6]) => {
    assert.strictEqual(reverseAddress(reverseName(v4)), v4)
    assert.strictEqual(reverseAddress(reverseName(v6)), v6)
  })

  it("are those of RFC 1035 and RFC 3596", () => {
    assert.strictEqual(reverseAddress("52.0.2.10.in-addr.arpa"), "10.2.0.52")
    assert.strictEqual(
      reverseAddress("b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa"),
      "4321:0:1:2:3:4:567:89ab"
    )
  })

  it("spell the network that they are about, whatever stands before its numbers", () => {
    const cases = [
      ["10.in-addr.arpa", "10.0.0.0/8"],
      ["in-addr.arpa", "0.0.0.0/0"],
      ["0.77.10.in-addr.arpa", "10.77.0.0/24"],
      ["lb._dns-sd._udp.1.0.77.10.in-addr.arpa", "10.77.0.1/32"],
      ["9.4.3.2.1.in-addr.arpa", "1.2.3.4/32"],
      ["0/25.2.0.192.in-addr.arpa", "192.0.2.0/24"],
      ["256.10.in-addr.arpa", "10.0.0.0/8"],
      ["d.f.ip6.arpa", "fd00::/8"],
      ["ip6.arpa", "::/0"]
    ] as const
    for (const [name, network] of cases) assert.strictEqual(formatNetwork(reverseNetwork(name)!), network, name)
    for (const name of ["example.com", "xin-addr.arpa", "arpa", "."]) assert.isNull(reverseNetwork(name), name)
  })

  it("other names spell no address", () => {
    for (const name of [
      "10.in-addr.arpa",
      "1.2.3.256.in-addr.arpa",
      "in-addr.arpa",
      "1.ip6.arpa",
      "a.test",
      "x.1.2.3.4.in-addr.arpa"
    ]) {
      assert.isNull(reverseAddress(name), name)
    }
  })
})
