import { assert, describe, it } from "@effect/vitest"
import { pathCounts, pathSets } from "../../src/host/pathCounters.ts"

/** A set's element: both protocols' assigned numbers, and a device by its name or by its index. */
const element = (packets: number, nfproto: number, l4proto: number, device: string | number) => {
  const to = typeof device === "string" ? Buffer.from(device.padEnd(16, "\0")) : Uint8Array.of(device, 0, 0, 0)
  return { key: Uint8Array.of(nfproto, 0, 0, 0, l4proto, 0, 0, 0, ...to), packets }
}
const nameOf = (index: number) => `eth${index}`

describe("pathCounts", () => {
  it("reads counters by their names, and passes over what counts something else", () => {
    const counters = [
      { name: "path_arrive_first_ipv4", packets: 5 },
      { name: "path_arrive_last_ipv4", packets: 4 },
      { name: "path_return_first_ipv6_icmp", packets: 3 },
      { name: "spoofed", packets: 2 }
    ]
    assert.deepStrictEqual(pathCounts(counters, [], nameOf), [
      { way: "arrive", family: "ipv4", protocol: "any", device: "", first: 5, last: 4 },
      { way: "return", family: "ipv6", protocol: "icmp", device: "", first: 3, last: 0 }
    ])
  })

  it("reads sets by protocol, and by device where packets leave by it", () => {
    const sets = [
      { name: "path_service_first", elements: [element(3, 2, 6, "sally0"), element(2, 10, 58, "sally0")] },
      { name: "path_service_last", elements: [element(1, 10, 58, "sally0")] },
      { name: "path_forward_last", elements: [element(7, 2, 17, "eth1"), element(8, 2, 17, "eth2")] },
      { name: "path_begin_first", elements: [element(9, 2, 1, 3)] }
    ]
    const way = { first: 0, last: 0, device: "" }
    assert.deepStrictEqual(pathCounts([], sets, nameOf), [
      { ...way, way: "service", family: "ipv4", protocol: "tcp", first: 3 },
      { ...way, way: "service", family: "ipv6", protocol: "icmp", first: 2, last: 1 },
      { ...way, way: "forward", family: "ipv4", protocol: "udp", device: "eth1", last: 7 },
      { ...way, way: "forward", family: "ipv4", protocol: "udp", device: "eth2", last: 8 },
      { ...way, way: "begin", family: "ipv4", protocol: "icmp", device: "eth3", first: 9 }
    ])
  })

  it("has all first counts read before the last ones: what is on its way between the two is not lost", () => {
    const ends = pathSets.map((name) => name.split("_")[2])
    assert.isAbove(ends.indexOf("last"), ends.lastIndexOf("first"))
  })
})
