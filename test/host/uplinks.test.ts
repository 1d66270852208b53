import { assert, describe, it } from "@effect/vitest"
import { type Interface, uplinkAddresses } from "../../src/host/uplinks.ts"

const info = (local: string, scope = "global", deprecated = false) => ({
  local,
  scope,
  ...(deprecated ? { deprecated } : {})
})
const interfaces: ReadonlyArray<Interface> = [
  { ifname: "lo", addr_info: [info("127.0.0.1", "host"), info("::1", "host")] },
  {
    ifname: "eth0",
    addr_info: [info("192.0.2.10"), info("2001:db8::9", "global", true), info("2001:db8::10"), info("fe80::1", "link")]
  },
  { ifname: "eth1", addr_info: [info("10.0.0.5")] },
  { ifname: "docker0", addr_info: [info("172.17.0.1")] },
  { ifname: "br0", addr_info: [info("198.51.100.7")] },
  { ifname: "tun0", addr_info: [info("10.8.0.2")] }
]
const isTunnel = (device: string) => device.startsWith("tun")
const find = (from: string | null, defaults: Parameters<typeof uplinkAddresses>[1]) =>
  uplinkAddresses(from, defaults, interfaces, isTunnel)

describe("the addresses that clients may reach the gateway at", () => {
  it("are where the portal is reached from, and one per family of every default route", () => {
    const defaults = [
      { dst: "default", dev: "eth0", gateway: "192.0.2.1" },
      { dst: "default", dev: "eth0", gateway: "fe80::ff" },
      { dst: "default", dev: "eth0", gateway: "192.0.2.2", prefsrc: "192.0.2.10" }
    ]
    assert.deepStrictEqual(find("10.0.0.5", defaults), ["10.0.0.5", "192.0.2.10", "2001:db8::10"])
    assert.deepStrictEqual(find(null, [{ dst: "default", dev: "eth0" }]), ["192.0.2.10", "2001:db8::10"])
  })

  it("are never of tunnels, of this host alone, or of bridges that lead nowhere", () => {
    const defaults = [
      { dst: "default", dev: "tun0" },
      { dst: "default", dev: "lo" },
      { dst: "default", dev: "gone" },
      { dst: "default" }
    ]
    for (const from of [null, "127.0.0.1", "::1", "10.8.0.2", "fe80::1", "203.0.113.1", "nonsense"]) {
      assert.deepStrictEqual(find(from, defaults), [], String(from))
    }
    assert.deepStrictEqual(find(null, [{ dst: "default", dev: "br0" }]), ["198.51.100.7"])
  })
})
