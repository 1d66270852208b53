import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { deviceOfTable, firewallScript, firewallTable } from "../../src/host/firewall.ts"
import type { HostPlan } from "../../src/host/HostNetwork.ts"
import { countingTable } from "../../src/host/pathCounters.ts"
import { hostPlan } from "../support/hostPlan.ts"

const plan: HostPlan = { ...hostPlan, dnsPort: 53535, proxyNetworks: ["100.96.0.0/11"] }

const ports = { from: 10_240, to: 51_819, privileged: { from: 665, to: 852 } }

describe("firewallTable", () => {
  it.prop(
    "gives every device a table name of its own that nft accepts, and the device back",
    [Schema.Array(Schema.Literals(["a", "B", "7", "-", ".", "_", "2d"]))],
    ([parts]) => {
      const device = parts.join("").slice(0, 15)
      const table = firewallTable(device)

      assert.match(table, /^sallyport_[A-Za-z0-9_]*$/)
      assert.strictEqual(deviceOfTable(table), device)
      assert.strictEqual(deviceOfTable(countingTable(device)), device)
    }
  )

  it("does not claim tables of others", () => {
    assert.isUndefined(deviceOfTable("filter"))
    assert.isUndefined(deviceOfTable("my_sallyport_x"))
  })
})

describe("firewallScript", () => {
  it("replaces the whole table in one transaction", () => {
    const script = firewallScript(plan, ports)

    assert.match(
      script,
      /^table inet sallyport_sally0\ndelete table inet sallyport_sally0\n\s*table inet sallyport_sally0 \{/
    )
  })

  it("masquerades into the given ports only when asked to", () => {
    assert.include(firewallScript(plan, ports), "masquerade to :10240-51819 fully-random")
    assert.notInclude(firewallScript({ ...plan, masquerade: false }, ports), "masquerade")
  })

  it("keeps the ports of clients when asked to, those below 1024 among their like, where the host has some left", () => {
    const script = firewallScript({ ...plan, keepPorts: true }, ports)

    assert.include(script, "ip saddr @tunnel4 meta l4proto { tcp, udp } th sport < 1024 masquerade to :665-852\n")
    assert.include(script, "ip6 saddr @tunnel6 meta l4proto { tcp, udp } masquerade to :10240-51819\n")
    assert.include(script, "tcp dport 665-852 counter name stray_in drop")
    assert.notInclude(script, "fully-random")
    assert.notInclude(
      firewallScript({ ...plan, keepPorts: true }, { ...ports, privileged: { from: 665, to: 664 } }),
      "665"
    )
  })

  it("opens the host's own addresses only when a resource opts in", () => {
    assert.notInclude(firewallScript(plan, ports), "ip daddr != @inside4 accept")
    assert.include(firewallScript({ ...plan, allowGatewayHost: true }, ports), "ip daddr != @inside4 accept")
  })

  it("leaves the plan's WireGuard port to connection tracking, unless the plan says otherwise", () => {
    assert.notInclude(firewallScript(plan, ports), "notrack")
    assert.include(firewallScript({ ...plan, trackUdp: false }, ports), "udp dport 51820 fib daddr type local notrack")
  })

  it("stops what connection tracking does not understand, both ways, where clients are masqueraded", () => {
    const script = firewallScript(plan, ports)

    assert.match(script, /chain strays [^}]* counter name stray_out drop/)
    assert.match(script, /chain unproven [^}]* ct state invalid jump astray\n/)
    assert.include(script, "tcp dport 10240-51819 counter name stray_in drop")
    assert.notInclude(script, "ct state invalid accept")
  })

  it("leaves strays to the packet path where clients are routed", () => {
    const script = firewallScript({ ...plan, masquerade: false }, ports)

    assert.notMatch(script, /chain strays|jump astray/)
    assert.include(script, `oifname "sally0" ct state invalid accept`)
  })

  it("leaves UDP to the packet path where other gateways have the same routed clients", () => {
    const udp = `oifname "sally0" meta l4proto udp accept`
    const shared = { ...plan, sharesClients: true }

    assert.include(firewallScript({ ...shared, masquerade: false }, ports), udp)
    assert.notInclude(firewallScript({ ...plan, masquerade: false }, ports), udp)
    assert.notInclude(firewallScript({ ...shared, masquerade: true }, ports), udp)
  })

  it("needs no names of protocols, which a minimal host does not have", () => {
    assert.notInclude(firewallScript(plan, ports), "ipv6-icmp")
  })

  it("has all connections of clients end in time, those to the host itself too", () => {
    const script = firewallScript(plan, ports)

    assert.match(script, /chain forward [^}]* iifname "sally0" ct state new jump begun\n/)
    assert.match(script, /chain from_tunnel [^}]* established,related accept\n\s+ct state new jump begun\n/)
  })

  it("serves DNS on the plan's port", () => {
    const script = firewallScript(plan, ports)

    assert.include(script, "udp dport 53535 accept")
    assert.include(script, "tcp dport 53535 accept")
  })
})
