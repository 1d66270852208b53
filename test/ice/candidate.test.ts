import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { Candidate as ForeignCandidate } from "werift-ice"
import { type CandidateKind, formatCandidate, localCandidate, parseCandidate } from "../../src/ice/candidate.ts"
import { formatAddress } from "../../src/packet/address.ts"
import { transportAddress } from "../../src/packet/transportAddress.ts"
import { bytes, host4, host6, integer } from "../support/packetArbitraries.ts"

const at = (address: string, port: number) => transportAddress(address, port)!
const priority = (kind: CandidateKind, address: ReturnType<typeof at>, index: number) =>
  localCandidate(kind, address, index).priority
const kinds: ReadonlyArray<CandidateKind> = ["host", "srflx", "prflx", "relay"]

describe("a candidate's priority", () => {
  it("prefers host to prflx to srflx to relay, and takes turns between the families, IPv6 first", () => {
    const of = (kind: CandidateKind) => [
      priority(kind, at("2001:db8::7", 1), 0),
      priority(kind, at("192.0.2.1", 1), 0),
      priority(kind, at("2001:db8::7", 1), 1),
      priority(kind, at("192.0.2.1", 1), 1)
    ]

    assert.deepStrictEqual(of("host"), [
      2_130_706_431,
      2_130_706_431 - 0x100,
      2_130_706_431 - 0x200,
      2_130_706_431 - 0x300
    ])
    assert.strictEqual(of("prflx")[0], (110 << 24) | (49_151 << 8) | 255)
    assert.strictEqual(of("srflx")[1], (100 << 24) | (32_766 << 8) | 255)
    assert.strictEqual(of("relay")[0], (2 << 24) | (16_383 << 8) | 255)
    const all = kinds.flatMap((kind) => of(kind))
    assert.strictEqual(new Set(all).size, all.length)
  })

  it("never leaves its kind, however many there are", () => {
    assert.strictEqual(priority("relay", at("192.0.2.1", 1), 1_000_000), (2 << 24) | 255)
  })
})

describe("a candidate's text", () => {
  it("has the form that the peers read", () => {
    const host = localCandidate("host", at("192.0.2.1", 52625))
    const relay = localCandidate("relay", at("2001:db8::7", 49152))

    assert.strictEqual(formatCandidate(host), `candidate:${host.foundation} 1 udp 2130706175 192.0.2.1 52625 typ host`)
    assert.match(
      formatCandidate(relay),
      /^candidate:[0-9a-f]{8} 1 udp 37748735 2001:db8::7 49152 typ relay raddr :: rport 0$/
    )
    assert.match(
      formatCandidate(localCandidate("srflx", at("203.0.113.9", 4))),
      / 203\.0\.113\.9 4 typ srflx raddr 0\.0\.0\.0 rport 0$/
    )
  })

  it("tells candidates of the same kind and base apart only by their port", () => {
    const foundation = (kind: CandidateKind, address: string, port: number) =>
      localCandidate(kind, at(address, port)).foundation

    assert.strictEqual(foundation("host", "192.0.2.1", 1), foundation("host", "192.0.2.1", 2))
    assert.notStrictEqual(foundation("host", "192.0.2.1", 1), foundation("host", "192.0.2.2", 1))
    assert.notStrictEqual(foundation("host", "192.0.2.1", 1), foundation("relay", "192.0.2.1", 1))
  })

  it.prop(
    "round-trips",
    [
      integer(0, 3).pipe(Arbitrary.map((n) => kinds[n]!)),
      Arbitrary.all([integer(0, 1), host4, host6]).pipe(Arbitrary.map(([v6, four, six]) => (v6 === 1 ? six : four))),
      integer(1, 65_535),
      integer(0, 100)
    ],
    ([kind, address, port, index]) => {
      const candidate = localCandidate(kind, at(address, port), index)

      assert.deepStrictEqual(parseCandidate(formatCandidate(candidate)), { candidate, ufrag: null })
    }
  )

  it("is read as the peers write it, with and without their extensions", () => {
    const parsed = parseCandidate(
      "candidate:fffffe7e1234567890123456789 1 udp 2130706175 2001:db8::1 52625 typ srflx raddr 10.0.0.1 rport 9 generation 0 network-id 3 ufrag abcd network-cost 900"
    )

    assert.isDefined(parsed)
    assert.strictEqual(parsed.ufrag, "abcd")
    assert.strictEqual(parsed.candidate.kind, "srflx")
    assert.strictEqual(parsed.candidate.priority, 2_130_706_175)
    assert.strictEqual(formatAddress(parsed.candidate.address.address), "2001:db8::1")
    assert.deepStrictEqual(parsed.candidate.related, at("10.0.0.1", 9))
    assert.isDefined(parseCandidate("candidate:1 1 udp 0 192.0.2.1 1 typ relay"))
    assert.isNull(parseCandidate("candidate:1 1 udp 0 192.0.2.1 1 typ relay")!.candidate.related)
  })

  for (const [why, text] of [
    ["a prefix", "a=candidate:1 1 udp 1 192.0.2.1 1 typ host"],
    ["two spaces", "candidate:1 1 udp 1  192.0.2.1 1 typ host"],
    ["a space at the end", "candidate:1 1 udp 1 192.0.2.1 1 typ host "],
    ["another component", "candidate:1 2 udp 1 192.0.2.1 1 typ host"],
    ["TCP", "candidate:1 1 tcp 1 192.0.2.1 1 typ host tcptype passive"],
    ["a name", "candidate:1 1 udp 1 a7.local 1 typ host"],
    ["an unknown kind", "candidate:1 1 udp 1 192.0.2.1 1 typ star"],
    ["a priority of 2³¹", "candidate:1 1 udp 2147483648 192.0.2.1 1 typ host"],
    ["port 0", "candidate:1 1 udp 1 192.0.2.1 0 typ host"],
    ["port 65536", "candidate:1 1 udp 1 192.0.2.1 65536 typ host"],
    ["the unspecified address", "candidate:1 1 udp 1 0.0.0.0 1 typ host"],
    ["a multicast address", "candidate:1 1 udp 1 224.0.0.1 1 typ host"],
    ["the broadcast address", "candidate:1 1 udp 1 255.255.255.255 1 typ host"],
    ["a zone", "candidate:1 1 udp 1 fe80::1%eth0 1 typ host"],
    ["raddr alone", "candidate:1 1 udp 1 192.0.2.1 1 typ srflx raddr 10.0.0.1"],
    ["raddr without rport", "candidate:1 1 udp 1 192.0.2.1 1 typ srflx raddr 10.0.0.1 generation 0"],
    ["two ufrags", "candidate:1 1 udp 1 192.0.2.1 1 typ host ufrag a ufrag b"],
    ["a line feed", "candidate:1\n2 1 udp 1 192.0.2.1 1 typ host"],
    ["no end", `candidate:1 1 udp 1 192.0.2.1 1 typ host${" x y".repeat(200)}`]
  ] as const) {
    it(`is refused with ${why}`, () => {
      assert.isUndefined(parseCandidate(text))
    })
  }

  it.prop("never throws, whatever the text", [bytes(60)], ([junk]) => {
    parseCandidate(String.fromCharCode(...junk))
    parseCandidate(`candidate:1 1 udp 1 192.0.2.1 1 typ host ${String.fromCharCode(...junk)}`)
  })
})

describe("beside another implementation (werift)", () => {
  it("is written and read alike", () => {
    const ours = localCandidate("relay", at("198.51.100.7", 50_000))

    const foreign = ForeignCandidate.fromSdp(formatCandidate(ours).slice("candidate:".length))

    assert.strictEqual(foreign.foundation, ours.foundation)
    assert.strictEqual(foreign.priority, ours.priority)
    assert.strictEqual(foreign.host, "198.51.100.7")
    assert.strictEqual(foreign.port, 50_000)
    assert.strictEqual(foreign.type, "relay")
    assert.deepStrictEqual(parseCandidate(`candidate:${foreign.toSdp()}`)?.candidate, ours)
  })
})
