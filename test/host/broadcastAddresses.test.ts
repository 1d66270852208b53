import { assert, describe, it } from "@effect/vitest"
import { broadcastAddresses } from "../../src/host/broadcastAddresses.ts"

const of = (...entries: ReadonlyArray<readonly [local: string, prefixlen: number, broadcast?: string]>) =>
  broadcastAddresses([
    {
      ifname: "eth0",
      addr_info: entries.map(([local, prefixlen, broadcast]) => ({
        local,
        prefixlen,
        ...(broadcast === undefined ? {} : { broadcast })
      }))
    }
  ])

describe("the directed broadcast addresses of a host", () => {
  it("are the last of each IPv4 network, and what is configured", () => {
    assert.deepStrictEqual(of(["10.20.0.1", 16], ["192.168.7.9", 25, "192.168.7.0"], ["10.0.0.1", 30]), [
      "10.20.255.255",
      "192.168.7.127",
      "192.168.7.0",
      "10.0.0.3"
    ])
  })

  it("are none of single addresses, pairs of routers (RFC 3021), IPv6, and devices without addresses", () => {
    assert.deepStrictEqual(of(["10.0.0.1", 32], ["10.0.0.4", 31], ["2001:db8::1", 64], ["0.0.0.0", 0]), [])
    assert.deepStrictEqual(broadcastAddresses([{ ifname: "tun0" }]), [])
  })
})
