import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { clientConf } from "../../src/config/clientConf.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { parseWireguardConf, type WireguardConf } from "../../src/config/wireguardConf.ts"
import { contains, parseAddress, parseNetwork } from "../../src/packet/address.ts"
import { example, key } from "./fixtures.ts"

const file = `# from the administrator
[Interface]
PrivateKey = ${key(4)}
Address = 100.64.0.10/32, fd00:2021:1111::a/128
Address = 10.1.2.3/24
DNS = 100.64.0.1, corp.internal
MTU = 1400
ListenPort = 4501
PostUp = iptables -A FORWARD

[peer]
publickey=${key(5)}   # the gateway
PresharedKey = ${key(6)}
AllowedIPs = 100.64.0.0/11, 10.20.0.9/16
Endpoint = [2001:DB8::1]:51820
PersistentKeepalive = 25
`

const wrong = (text: string): Array<string> => {
  const result = parseWireguardConf(text, "a.conf")
  return Result.isSuccess(result) ? [] : result.failure.message.split("\n")
}

describe("a wg-quick file", () => {
  it("is read whole", () => {
    assert.deepStrictEqual(Result.getOrThrow(parseWireguardConf(file, "a.conf")), {
      privateKey: key(4),
      privateKeyFile: null,
      addresses: [
        { address: "100.64.0.10", prefix: 32 },
        { address: "fd00:2021:1111::a", prefix: 128 },
        { address: "10.1.2.3", prefix: 24 }
      ],
      dns: ["100.64.0.1"],
      search: ["corp.internal"],
      mtu: 1400,
      listenPort: 4501,
      table: "auto",
      mark: null,
      peer: {
        publicKey: key(5),
        presharedKey: key(6),
        allowedIps: ["100.64.0.0/11", "10.20.0.0/16"],
        endpoint: { host: "2001:db8::1", port: 51820, zone: null },
        keepalive: 25
      },
      notes: [
        "line 9: PostUp is not followed, connect runs no command of the file and leaves it as it is; use wg-quick where that is needed"
      ]
    })
  })

  it("may have Windows line ends and leave the optional keys out", () => {
    const short = `[Interface]\r\nPrivateKey=${key(1)}\r\nAddress=10.0.0.2\r\n[Peer]\r\nPublicKey=${key(2)}\r\nAllowedIPs=0.0.0.0/0\r\nEndpoint=a.example:1\r\n`
    const conf = Result.getOrThrow(parseWireguardConf(short, "a.conf"))
    assert.deepStrictEqual(
      [conf.mtu, conf.listenPort, conf.peer.presharedKey, conf.peer.keepalive],
      [null, null, null, 0]
    )
  })

  const cases: ReadonlyArray<readonly [title: string, from: string | RegExp, to: string, message: string | RegExp]> = [
    ["an unknown key", "MTU", "MTV", 'a.conf:7:1: unknown key "MTV" in [Interface] — did you mean MTU?'],
    [
      "an unknown section",
      "[peer]",
      "[Pear]",
      /^a\.conf:11:1: unknown section "\[Pear\]" — use \[Interface\] and \[Peer\]$/m
    ],
    [
      "a second peer",
      "PersistentKeepalive = 25",
      "[Peer]\nPublicKey = x",
      "a.conf has 2 peers (lines 11, 16), and connect is the client of one gateway — keep one [Peer], or use wg-quick for this file"
    ],
    ["a line without a value", "MTU = 1400", "  MTU", "a.conf:7:3: a line out of place — write Key = Value"],
    ["a bad MTU", "1400", "90", "a.conf:7:1: MTU: not a valid number — use a whole number from 576 to 65535"],
    ["a bad address", "10.1.2.3/24", "10.1.2/24", /^a\.conf:5:1: Address: "10\.1\.2\/24" is not an address — /],
    ["a bad prefix", "10.1.2.3/24", "10.1.2.3/33", /^a\.conf:5:1: Address: /],
    ["a bad DNS server", "corp.internal", "corp/internal", /^a\.conf:6:1: DNS: "corp\/internal" is no address — /],
    ["a bad table", "PostUp = iptables -A FORWARD", "Table = here", /^a\.conf:9:1: Table: not a valid number — /],
    ["a bad zone", "[2001:DB8::1]", "[fe80::1%]", /^a\.conf:15:1: Endpoint: .* is not host:port — /],
    ["a bad endpoint", "[2001:DB8::1]:51820", "2001:DB8::1:51820", /^a\.conf:15:1: Endpoint: .* is not host:port — /],
    [
      "a missing endpoint",
      /^Endpoint.*\n/m,
      "",
      "a.conf:11:1: Endpoint is missing in [Peer] — add Endpoint = … below [Peer]"
    ],
    ["a missing private key", /^PrivateKey.*\n/m, "", /^a\.conf:2:1: PrivateKey is missing in \[Interface\] — /]
  ]
  for (const [title, from, to, message] of cases) {
    it(`is refused for ${title}`, () => {
      const lines = wrong(file.replace(from, to))
      if (typeof message === "string") assert.deepStrictEqual(lines, [message])
      else assert.match(lines.join("\n"), message)
    })
  }

  const taken: ReadonlyArray<
    readonly [title: string, from: string | RegExp, to: string, part: (conf: WireguardConf) => unknown, value: unknown]
  > = [
    ["an empty list", "DNS = 100.64.0.1, corp.internal", "DNS =", (conf) => conf.dns, []],
    ["a comma too many", "10.20.0.9/16", "10.20.0.9/16,", (conf) => conf.peer.allowedIps.length, 2],
    [
      "a list over several lines",
      "PersistentKeepalive",
      "AllowedIPs = ::/0\nPersistentKeepalive",
      (conf) => conf.peer.allowedIps.length,
      3
    ],
    [
      "a key in another case, twice: the last one counts",
      "ListenPort",
      "LISTENPORT = 1\nlistenport",
      (conf) => conf.listenPort,
      4501
    ],
    ["old Macintosh line ends", /\n/g, "\r", (conf) => conf.mtu, 1400],
    ["the MTU of a usual link", "1400", "1500", (conf) => [conf.mtu, conf.notes.length], [1500, 1]],
    ["a larger MTU, which is lowered and said", "1400", "8920", (conf) => [conf.mtu, conf.notes.length], [1500, 2]],
    ["an MTU too small for IPv6, which is said", "1400", "1200", (conf) => [conf.mtu, conf.notes.length], [1200, 2]],
    [
      "a scoped endpoint",
      "[2001:DB8::1]",
      "[fe80::1%eth0]",
      (conf) => conf.peer.endpoint,
      { host: "fe80::1", port: 51820, zone: "eth0" }
    ],
    [
      "a table of its own",
      "PostUp = iptables -A FORWARD",
      "Table = 0x10",
      (conf) => [conf.table, conf.notes],
      [16, []]
    ],
    ["no routes", "PostUp = iptables -A FORWARD", "Table = off", (conf) => conf.table, "off"],
    ["a mark", "PostUp = iptables -A FORWARD", "FwMark = 0xca6c", (conf) => conf.mark, 0xca6c],
    [
      "its key in another file",
      /PrivateKey = .*\n/,
      "PostUp = wg set %i private-key /etc/wireguard/k\n",
      (conf) => [conf.privateKey, conf.privateKeyFile],
      [null, "/etc/wireguard/k"]
    ]
  ]
  for (const [title, from, to, part, value] of taken) {
    it(`may have ${title}`, () => {
      assert.deepStrictEqual(part(Result.getOrThrow(parseWireguardConf(file.replace(from, to), "a.conf"))), value)
    })
  }

  it("with IPv6 alone needs an MTU that IPv6 takes", () => {
    const text = file.replace(/^Address = 100.*\nAddress = 10.*$/m, "Address = fd00::2/128").replace("1400", "1279")
    assert.match(
      wrong(text).join(),
      /^a\.conf:2:1: MTU 1279 is too small for IPv6, and every Address is IPv6 — set MTU to 1280/
    )
  })

  it("shows every problem, and never a key", () => {
    const secret = key(4).slice(0, 30)
    const lines = wrong(`PrivateKey = ${key(4)}\n[Interface]\nPrivateKey = ${secret}\n${secret}\nMTU = x\n`)
    assert.notInclude(lines.join("\n"), secret)
    assert.deepStrictEqual(
      lines.map((line) => line.split(" ")[0]),
      [
        "a.conf:1:1:",
        "a.conf:1:1:",
        "a.conf:1:1:",
        "a.conf:1:1:",
        "a.conf:2:1:",
        "a.conf:3:1:",
        "a.conf:4:1:",
        "a.conf:5:1:"
      ]
    )
  })

  it.prop("never makes the reader throw", [Schema.String], ([text]) => {
    parseWireguardConf(text, "a.conf")
    parseWireguardConf(file + text, "a.conf")
  })
})

describe("the file for a stock client", () => {
  const config = Result.getOrThrow(parseConfig(example, "s.yaml"))
  const options = { gatewayPublicKey: key(7), endpoint: ["192.0.2.7"], ipv4Only: false, dns: "all" as const }
  const filled = (i: number, more: Partial<typeof options> = {}) => {
    const text = clientConf(config, config.clients[i]!, { ...options, ...more })
    return Result.getOrThrow(parseWireguardConf(text.replace(/<.*>/, key(3)), "c.conf"))
  }

  it("routes the tunnel, the proxies and the client's networks to the gateway", () => {
    const conf = filled(0)
    assert.deepStrictEqual(conf.peer.allowedIps, [
      "100.64.0.0/11",
      "100.96.0.0/11",
      "fd00:2021:1111::/107",
      "fd00:2021:1111:8000::/107",
      "10.20.0.0/16"
    ])
    assert.deepStrictEqual(conf.dns, ["100.64.0.1", "fd00:2021:1111::1"])
    assert.deepStrictEqual(conf.peer.endpoint, { host: "vpn.example.com", port: 51820, zone: null })
    assert.strictEqual(conf.peer.publicKey, key(7))
  })

  it("routes everything for a client with the Internet, and carries its preshared key", () => {
    const conf = filled(1)
    assert.deepStrictEqual(conf.peer.allowedIps, ["0.0.0.0/0", "::/0"])
    assert.strictEqual(conf.peer.presharedKey, key(9))
    assert.deepStrictEqual(conf.addresses[0], { address: "100.64.0.77", prefix: 32 })
  })

  it("never routes the gateway's own addresses into the tunnel", () => {
    const { peer } = filled(0, { endpoint: ["10.20.255.255", "2001:db8::1"] })
    const text = clientConf(config, config.clients[0]!, { ...options, endpoint: ["10.20.255.255"] })
    assert.strictEqual(peer.allowedIps.filter((network) => network.startsWith("10.20.")).length, 16)
    assert.isFalse(peer.allowedIps.some((network) => contains(parseNetwork(network)!, parseAddress("10.20.255.255")!)))
    assert.include(text, "# AllowedIPs is all but the gateway itself: 10.20.255.255")
    assert.deepStrictEqual(filled(1, { endpoint: ["10.20.0.1"] }).peer.allowedIps, ["0.0.0.0/0", "::/0"])
  })

  it("has nothing of IPv6 for a host without it, and else says how it is made for one", () => {
    assert.include(clientConf(config, config.clients[0]!, options), "sallyport client-config alice-laptop --ipv4\n")
    const conf = filled(0, { ipv4Only: true })
    const all = [...conf.addresses.map(({ address }) => address), ...conf.dns, ...conf.peer.allowedIps]
    assert.deepStrictEqual(
      all.filter((text) => text.includes(":")),
      []
    )
    assert.deepStrictEqual(conf.peer.allowedIps, ["100.64.0.0/11", "100.96.0.0/11", "10.20.0.0/16"])
  })

  it("does not pretend to know the private key", () => {
    const text = clientConf(config, config.clients[0]!, options)
    assert.include(text, `PrivateKey = <the private key that belongs to ${key(1)}>`)
    assert.isTrue(Result.isFailure(parseWireguardConf(text, "c.conf")))
  })
})
