import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { clientConf } from "../../src/config/clientConf.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { parseWireguardConf } from "../../src/config/wireguardConf.ts"
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
      addresses: [
        { address: "100.64.0.10", prefix: 32 },
        { address: "fd00:2021:1111::a", prefix: 128 },
        { address: "10.1.2.3", prefix: 24 }
      ],
      dns: ["100.64.0.1"],
      mtu: 1400,
      listenPort: 4501,
      peer: {
        publicKey: key(5),
        presharedKey: key(6),
        allowedIps: ["100.64.0.0/11", "10.20.0.0/16"],
        endpoint: { host: "2001:db8::1", port: 51820 },
        keepalive: 25
      }
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
      "[Peer]",
      "a.conf:16:1: a second [Peer] — keep one [Interface] and one [Peer]"
    ],
    ["a line without a value", "MTU = 1400", "  MTU", "a.conf:7:3: a line out of place — write Key = Value"],
    ["a bad MTU", "1400", "9000", "a.conf:7:1: MTU: not a valid number — use a whole number from 1280 to 1420"],
    ["a bad address", "10.1.2.3/24", "10.1.2/24", /^a\.conf:5:1: Address: "10\.1\.2\/24" is not an address — /],
    ["a bad prefix", "10.1.2.3/24", "10.1.2.3/33", /^a\.conf:5:1: Address: /],
    ["a bad DNS server", "corp.internal", "corp internal", /^a\.conf:6:1: DNS: "corp internal" is no address — /],
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
  const filled = (i: number) => {
    const text = clientConf(config, config.clients[i]!, key(7))
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
    assert.deepStrictEqual(conf.peer.endpoint, { host: "vpn.example.com", port: 51820 })
    assert.strictEqual(conf.peer.publicKey, key(7))
  })

  it("routes everything for a client with the Internet, and carries its preshared key", () => {
    const conf = filled(1)
    assert.deepStrictEqual(conf.peer.allowedIps, ["0.0.0.0/0", "::/0"])
    assert.strictEqual(conf.peer.presharedKey, key(9))
    assert.deepStrictEqual(conf.addresses[0], { address: "100.64.0.77", prefix: 32 })
  })

  it("does not pretend to know the private key", () => {
    const text = clientConf(config, config.clients[0]!, key(7))
    assert.include(text, `PrivateKey = <the private key that belongs to ${key(1)}>`)
    assert.isTrue(Result.isFailure(parseWireguardConf(text, "c.conf")))
  })
})
