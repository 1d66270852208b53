import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import type { PortFilter } from "../../src/model/PortFilter.ts"
import { compileFilters, permits } from "../../src/nat/portFilters.ts"
import { integer } from "../support/packetArbitraries.ts"

const tcp = 6
const udp = 17

const range = (protocol: "tcp" | "udp", from: number, to = from): PortFilter => ({ protocol, from, to })

describe("port filters", () => {
  it("let everything through when there are none", () => {
    const set = compileFilters([])
    for (const protocol of [1, 6, 17, 47, 58]) assert.isTrue(permits(set, protocol, 0))
  })

  it("let the ends of a range through and nothing beside it", () => {
    const set = compileFilters([range("tcp", 22), range("tcp", 8_000, 8_100)])
    const open = [22, 8_000, 8_050, 8_100]
    for (const port of open) assert.isTrue(permits(set, tcp, port))
    for (const port of [0, 21, 23, 7_999, 8_101, 65_535]) assert.isFalse(permits(set, tcp, port))
    for (const port of open) assert.isFalse(permits(set, udp, port))
  })

  it("let every ICMP and ICMPv6 message through with `icmp`, and none without", () => {
    const set = compileFilters([{ protocol: "icmp" }])
    assert.isTrue(permits(set, 1, 0) && permits(set, 58, 0))
    assert.isFalse(permits(set, tcp, 80))
    assert.isFalse(permits(compileFilters([range("udp", 0, 65_535)]), 1, 0))
  })

  it("let no other protocol through once there is one", () => {
    const set = compileFilters([range("tcp", 0, 65_535), range("udp", 0, 65_535), { protocol: "icmp" }])
    for (const protocol of [0, 2, 41, 47, 50, 132, 255]) assert.isFalse(permits(set, protocol, 0))
    for (const port of [0, 1, 65_534, 65_535]) assert.isTrue(permits(set, tcp, port))
  })

  const filter = Arbitrary.all({ protocol: integer(0, 2), from: integer(0, 30), length: integer(-2, 6) }).pipe(
    Arbitrary.map(({ protocol, from, length }): PortFilter =>
      protocol === 2 ? { protocol: "icmp" } : range(protocol === 0 ? "tcp" : "udp", from, from + length)
    )
  )

  it.prop("permit what any one of them permits, however they overlap", [Arbitrary.array(filter)], ([filters]) => {
    const set = compileFilters(filters)
    for (let port = 0; port < 40; port++) {
      for (const [number, name] of [
        [tcp, "tcp"],
        [udp, "udp"]
      ] as const) {
        const expected =
          filters.length === 0 || filters.some((f) => f.protocol === name && f.from <= port && port <= f.to)
        assert.strictEqual(permits(set, number, port), expected)
      }
    }
  })
})
