import { assert, describe, it } from "@effect/vitest"
import { pathCounts } from "../../src/host/pathCounters.ts"

/** A set's element as `nft -j` lists it. */
const element = (packets: number, ...concat: ReadonlyArray<string | number>) => ({
  elem: { val: { concat }, counter: { packets, bytes: 1 } }
})
const service = (end: "first" | "last", ...elem: ReadonlyArray<unknown>) => ({
  set: { family: "inet", name: `path_service_${end}`, table: "t", elem }
})
const way = { way: "service", device: "" } as const

describe("pathCounts", () => {
  it("reads protocols by name, and by number where the host has no names for them", () => {
    const named = [service("first", element(3, "ipv4", "tcp", "sally0"), element(2, "ipv6", "ipv6-icmp", "sally0"))]
    const numbered = [service("last", element(3, "ipv4", 6, "sally0"), element(1, "ipv6", 58, "sally0"))]

    assert.deepStrictEqual(pathCounts([...named, ...numbered]), [
      { ...way, family: "ipv4", protocol: "tcp", first: 3, last: 3 },
      { ...way, family: "ipv6", protocol: "icmp", first: 2, last: 1 }
    ])
  })
})
