import { assert, describe, it } from "@effect/vitest"
import { waysOut } from "../../src/host/ipv6Routes.ts"
import { formatNetwork } from "../../src/packet/address.ts"

const hop = "00000000000000000000000000000000"
const line = (destination: string, length: string, flags: string, device: string): string =>
  `${destination} ${length} ${hop} 00 ${hop} 00000400 00000001 00000000 ${flags} ${device.padStart(8)}\n`
const nothing = hop
const ula = "fd770000000000000000000000000000"

const read = (...lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  waysOut(lines.join(""), "sally0").map(formatNetwork)

describe("the ways out in /proc/net/ipv6_route", () => {
  it("are default routes and networks of other devices, whatever table they are in", () => {
    assert.deepStrictEqual(read(line(nothing, "00", "00000003", "eth0"), line(ula, "40", "00000001", "lan0")), [
      "::/0",
      "fd77::/64"
    ])
  })

  for (const [what, text] of [
    ["the host's own addresses", line(ula, "80", "80200001", "lan0")],
    ["the kernel's own end of the table", line(nothing, "00", "00200200", "lo")],
    ["what the host routes to itself", line(ula, "40", "00000001", "lo")],
    ["link-local networks", line("fe800000000000000000000000000000", "40", "00000001", "eth0")],
    ["multicast", line("ff000000000000000000000000000000", "08", "00000001", "eth0")],
    ["anycast", line(ula, "80", "80300001", "lan0")],
    ["routes that refuse", line(nothing, "00", "00000201", "eth0")],
    ["the gateway's own networks", line("fd002021111100000000000000000000", "6b", "00000001", "sally0")],
    ["a line that is cut off", line(ula, "40", "00000001", "lan0").slice(0, 60)],
    ["nothing", ""]
  ] as const) {
    it(`are not ${what}`, () => {
      assert.deepStrictEqual(read(text), [])
    })
  }
})
