import { assert, describe, it } from "@effect/vitest"
import {
  contains,
  equal,
  formatAddress,
  formatNetwork,
  isBroadcast,
  isIpv4,
  isLoopback,
  isMulticast,
  isUnspecified,
  mappedPrefix,
  parseAddress,
  parseNetwork,
  readIpv4,
  readIpv6,
  words,
  writeAddress
} from "../../src/packet/address.ts"
import { copyEndpoint, formatHostPort, makeEndpoint, sameRemote } from "../../src/packet/endpoint.ts"
import { integer } from "../support/packetArbitraries.ts"
import { addressWords } from "../support/packets.ts"

// Small words make runs of zero groups likely.
const word = integer(-3, 0x20001)
const anyWord = integer(-0x80000000, 0x7fffffff)

describe("address text", () => {
  it.prop("what is written is read back", [anyWord, word, word, anyWord], ([a, b, c, d]) => {
    const address = words(a, b, c, d)
    assert.deepStrictEqual(parseAddress(formatAddress(address)), address)
  })

  it.prop("is what a URL makes of an IPv6 address", [word, word, word, word], ([a, b, c, d]) => {
    const address = words(a, b, c, d)
    if (isIpv4(address)) return
    const text = formatAddress(address)
    const long = [a, b, c, d].flatMap((w) => [(w >>> 16).toString(16), (w & 0xffff).toString(16)]).join(":")
    assert.strictEqual(`[${text}]`, new URL(`http://[${long}]/`).hostname)
  })

  it.prop("an IPv4 address is a dotted quad", [anyWord], ([w]) => {
    const text = formatAddress(words(0, 0, mappedPrefix, w))
    assert.match(text, /^\d+\.\d+\.\d+\.\d+$/)
    assert.deepStrictEqual(parseAddress(text), words(0, 0, mappedPrefix, w))
  })

  it.each([
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["::ffff:1.2.3.4", "1.2.3.4"],
    ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
    ["0.0.0.0", "0.0.0.0"],
    ["255.255.255.255", "255.255.255.255"]
  ])("%s is %s in canonical form", (text, canonical) => {
    assert.strictEqual(formatAddress(addressWords(text)), canonical)
  })

  it.each([
    "",
    ":",
    ":::",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "01.2.3.4",
    "256.1.1.1",
    "1.2.3.4 ",
    "-1.2.3.4",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "1.2.3.4::",
    "::1.2.3",
    "1:2:3:4:5:6:7:1.2.3.4",
    "[::1]"
  ])("%j is no address", (text) => {
    assert.isUndefined(parseAddress(text))
  })

  it.each([
    ["10.0.0.0/8", "10.255.0.1", "11.0.0.0"],
    ["100.96.0.0/11", "100.127.255.255", "100.128.0.0"],
    ["0.0.0.0/0", "255.255.255.255", "::1"],
    ["fd00:2021:1111:8000::/107", "fd00:2021:1111:8000::1f:ffff", "fd00:2021:1111:8000::20:0"],
    ["::/0", "1.2.3.4", undefined],
    ["10.1.2.3", "10.1.2.3", "10.1.2.4"]
  ])("network %s holds %s and not %s", (text, inside, outside) => {
    const network = parseNetwork(text)!
    assert.isTrue(contains(network, addressWords(inside)))
    if (outside !== undefined) assert.isFalse(contains(network, addressWords(outside)))
    assert.strictEqual(formatNetwork(network), text.includes("/") ? text : `${text}/32`)
  })

  it.each(["10.0.0.1/8", "10.0.0.0/33", "::/129", "::1/127", "10.0.0.0/", "10.0.0.0/08", "/8", "10.0.0.0/8/8"])(
    "%j is no network",
    (text) => {
      assert.isUndefined(parseNetwork(text))
    }
  )
})

describe("address bytes", () => {
  it.prop("what is written is read back, 4 bytes or 16", [anyWord, anyWord, anyWord, anyWord], ([a, b, c, d]) => {
    const bytes = new Uint8Array(20)
    const v4 = words()
    const v6 = words()
    assert.strictEqual(writeAddress(bytes, 2, words(0, 0, mappedPrefix, d)), 4)
    readIpv4(bytes, 2, v4)
    assert.deepStrictEqual(v4, words(0, 0, mappedPrefix, d))
    assert.strictEqual(writeAddress(bytes, 2, words(a | 1, b, c, d)), 16)
    readIpv6(bytes, 2, v6)
    assert.deepStrictEqual(v6, words(a | 1, b, c, d))
  })

  it("tells special addresses by family", () => {
    const is = (test: (a: ReturnType<typeof words>) => boolean, texts: ReadonlyArray<string>) =>
      texts.map((text) => test(addressWords(text)))
    assert.deepStrictEqual(
      is(isMulticast, ["224.0.0.1", "239.1.1.1", "ff02::1", "223.1.1.1", "240.0.0.1", "fe80::1"]),
      [true, true, true, false, false, false]
    )
    assert.deepStrictEqual(is(isBroadcast, ["255.255.255.255", "255.255.255.254", "::ffff:ffff"]), [true, false, false])
    assert.deepStrictEqual(is(isUnspecified, ["::", "0.0.0.0", "::1", "0.0.0.1"]), [true, true, false, false])
    assert.deepStrictEqual(is(isLoopback, ["127.9.9.9", "::1", "128.0.0.1", "::2"]), [true, true, false, false])
  })
})

describe("endpoint", () => {
  it("a copy is equal to and independent of the original", () => {
    const from = makeEndpoint()
    Object.assign(from.remote, addressWords("192.0.2.1"))
    Object.assign(from.local, addressWords("192.0.2.9"))
    from.port = 51820
    from.interfaceIndex = 3
    const to = makeEndpoint()
    copyEndpoint(from, to)
    assert.deepStrictEqual(to, from)
    assert.isTrue(sameRemote(from, to))
    from.remote.w3++
    assert.isFalse(sameRemote(from, to))
  })

  it("differs by port and by remote address but not by local address", () => {
    const a = makeEndpoint()
    const b = makeEndpoint()
    b.local.w0 = 1
    assert.isTrue(sameRemote(a, b))
    b.port = 1
    assert.isFalse(sameRemote(a, b))
    Object.assign(a, { port: 1 })
    assert.isTrue(equal(a.remote, b.remote))
    a.remote.w0 = 0x20010db8
    assert.isFalse(sameRemote(a, b))
  })

  it("is written with IPv6 in brackets", () => {
    assert.strictEqual(formatHostPort("192.0.2.1", 51820), "192.0.2.1:51820")
    assert.strictEqual(formatHostPort("2001:db8::", 1), "[2001:db8::]:1")
  })
})
