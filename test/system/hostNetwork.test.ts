import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach } from "vitest"
import type { HostPlan } from "../../src/host/HostNetwork.ts"

/**
 * A gateway's namespace and a network behind it: 192.168.77.1 and fd77::1 — .2 and ::2, which routes everything back.
 * Neither forwards at first, also on a machine that does: a namespace begins with the IPv4 setting of the machine.
 */
const gateway = `sphost${process.pid}`
const lan = `splan${process.pid}`
const script = fileURLToPath(new URL("scripts/hostNetworkProbe.ts", import.meta.url))

const run = (command: string, ...args: ReadonlyArray<string>): string =>
  execFileSync(command, args, {
    encoding: "utf8",
    timeout: 45_000,
    stdio: ["ignore", "pipe", "pipe"]
  })

const sh = (command: string): string => run("sh", "-ec", command)

const inGateway = (command: string): string => run("ip", "netns", "exec", gateway, "sh", "-ec", command)

const probe = (scenario: string, plan: Partial<HostPlan> = {}, ...wrapper: ReadonlyArray<string>) =>
  probeWith([], scenario, plan, ...wrapper)

/** `words`: further ones for the scenario. */
const probeWith = (
  words: ReadonlyArray<string>,
  scenario: string,
  plan: Partial<HostPlan> = {},
  ...wrapper: ReadonlyArray<string>
) => {
  const inside = [...wrapper, process.execPath, script, scenario, JSON.stringify(plan), lan, ...words]
  const lines = run("ip", "netns", "exec", gateway, ...inside).split("\n")
  // oxlint-disable-next-line typescript/no-explicit-any
  const { error, value } = JSON.parse(lines.at(-1)!) as { readonly value: any; readonly error: string }
  return { error, value, log: lines.slice(0, -1).join("\n") }
}

beforeEach(() => {
  sh(`
    ip netns add ${gateway}; ip netns add ${lan}
    for name in ${gateway} ${lan}; do ip netns exec $name sysctl -qw net.ipv4.ip_forward=0; done
    ip -n ${gateway} link add v0 type veth peer name v1 netns ${lan}
    ip -n ${gateway} link set lo up; ip -n ${lan} link set lo up
    ip -n ${gateway} address add 192.168.77.1/24 dev v0; ip -n ${gateway} address add fd77::1/64 dev v0 nodad
    ip -n ${lan} address add 192.168.77.2/24 dev v1; ip -n ${lan} address add fd77::2/64 dev v1 nodad
    ip -n ${gateway} link set v0 up; ip -n ${lan} link set v1 up
    ip -n ${gateway} route add default via 192.168.77.2; ip -n ${gateway} -6 route add default via fd77::2
    ip -n ${lan} route add default via 192.168.77.1; ip -n ${lan} -6 route add default via fd77::1
  `)
})

afterEach(() => {
  sh(`ip netns delete ${gateway}; ip netns delete ${lan}`)
})

const readOnly = ["unshare", "--mount", "sh", "-c", 'mount --bind -o ro /proc/sys /proc/sys && exec "$@"', "sh"]

describe("HostNetwork", () => {
  it("sets up device, routes, sysctls and table, and takes all but the sysctls back", () => {
    const { value } = probe("configure")

    assert.deepStrictEqual(value.warnings, [])
    assert.deepStrictEqual(value.during.addresses, ["100.64.0.1/32", "fd00:2021:1111::1/128"])
    assert.deepStrictEqual(value.during.link, ["1280", "UNKNOWN"])
    assert.include(value.during.routes.join(), "100.64.0.0/11 scope link src 100.64.0.1")
    assert.include(value.during.routes.join(), "fd00:2021:1111::/107 src fd00:2021:1111::1")
    assert.deepStrictEqual(value.during.forwarding, ["1", "1"])
    assert.deepStrictEqual(value.during.tables, ["table inet sallyport_sptest0"])
    assert.includeMembers(value.own, ["127.0.0.1", "::1", "192.168.77.1", "fd77::1", "100.64.0.1", "fd00:2021:1111::1"])
    assert.deepStrictEqual(value.after.addresses, [""])
    assert.deepStrictEqual(value.after.link, ["1280", "DOWN"])
    assert.deepStrictEqual(value.after.routes, [""])
    assert.deepStrictEqual(value.after.forwarding, ["1", "1"])
    assert.deepStrictEqual(value.after.tables, [""])
  })

  it("lets clients out under the gateway's address and to the gateway's services, and to nothing else", () => {
    const { value } = probe("clients")

    assert.deepStrictEqual(value.outside, ["192.168.77.2>100.64.0.2/1"])
    // Nobody listens on that port, and the ICMP error about it finds its way back.
    assert.deepStrictEqual(value.outsideUdp, ["192.168.77.2>100.64.0.2/1"])
    assert.deepStrictEqual(value.gatewayEcho, ["100.64.0.1>100.64.0.2/1"])
    assert.deepStrictEqual(value.gatewayDns, ["100.64.0.1>100.64.0.2/1"])
    assert.deepStrictEqual(value.gatewayTcpDns, ["100.64.0.1>100.64.0.2/6"])
    for (const refused of ["spoofed", "gatewayOther", "gatewayTcp", "hostEcho", "otherClient", "proxy"]) {
      assert.deepStrictEqual(value[refused], [], refused)
    }
    assert.deepStrictEqual(value.counters, {
      from_tunnel_refused: 2,
      spoofed: 1,
      to_tunnel_refused: 0,
      host_refused: 3,
      stray_out: 0,
      stray_in: 0
    })
  })

  it("masquerades flows from ports on which nothing listens", () => {
    probe("clients")

    const flows = inGateway("conntrack -L -p udp --dport 7 2>/dev/null || true")
    const port = Number(/dst=192\.168\.77\.1 sport=7 dport=(\d+)/.exec(flows)?.[1])
    assert.isAtLeast(port, 10_240)
    assert.isBelow(port, 51_820)
  })

  it("lets the packet path decide about the host's own addresses once a resource opts in", () => {
    const { value } = probe("clients", { allowGatewayHost: true })

    assert.deepStrictEqual(value.hostEcho, ["192.168.77.1>100.64.0.2/1"])
    assert.deepStrictEqual(value.gatewayOther, [])
    assert.deepStrictEqual(value.gatewayTcp, [])
  })

  it("opens the host's own addresses, and closes them again, while it runs, and where nft failed with the next look", () => {
    const { value } = probe("refiltered")

    const right = { repaired: [], refused: [], remade: false }
    assert.deepStrictEqual(value, [
      { reached: [] },
      { ...right, reached: ["192.168.77.1>100.64.0.2/1"] },
      { ...right, reached: [] },
      { ...right, repaired: ["the gateway's nft table was changed"], reached: [] }
    ])
  })

  it("keeps its neighbours out of the tunnel and proxy ranges", () => {
    const { value } = probe("lan")

    assert.deepStrictEqual(value.seen, [])
    assert.strictEqual(value.counters.to_tunnel_refused, 4)
    assert.include(value.ping, " 0% packet loss")
  })

  it("tracks the gateway's own UDP packets as any service's, unless told not to", () => {
    const tracked = (plan: Partial<HostPlan>): string => {
      const { value } = probe("ownUdp", plan)
      assert.isTrue(value.exchanged)
      return value.tracked.join("\n")
    }

    assert.match(tracked({}), /udp .*dport=51820/)
    inGateway("conntrack -F 2>/dev/null")
    const untracked = tracked({ trackUdp: false })
    assert.include(untracked, "icmp")
    assert.notInclude(untracked, "51820")
  })

  it("lets nothing leave with a tunnel address, and answers no segment that tracking does not understand", () => {
    const { value } = probe("strays")

    assert.strictEqual(value.v4.translated, "192.168.78.1")
    for (const family of [value.v4, value.v6]) {
      assert.isTrue(family.answered)
      assert.isNull(family.far, "the host has answered a server's segment")
      assert.strictEqual(family.alive, 0x18)
      assert.deepStrictEqual(family.strays, [false, false, false, false, false, false])
    }
    assert.strictEqual(value.counters.stray_in, 2)
    assert.strictEqual(value.counters.stray_out, 12)
  })

  it("hands strays of routed clients on: their own TCP and the server's know what to do", () => {
    const { value } = probe("strays", { masquerade: false })

    for (const family of [value.v4, value.v6]) {
      assert.isTrue(family.answered)
      assert.strictEqual(family.far, 0x18)
      assert.strictEqual(family.alive, 0x18)
      assert.deepStrictEqual(family.strays, [true, true, true, true, true, true])
    }
  })

  it("puts a deleted table back, and lets flows begin anew that began without it", () => {
    const { value } = probe("untranslated")

    assert.match(value.before, /src=100\.64\.0\.2 dst=192\.168\.77\.2 .*dst=100\.64\.0\.2/)
    assert.deepStrictEqual(value.repaired, ["the gateway's nft table was gone"])
    assert.match(value.after, /src=100\.64\.0\.2 dst=192\.168\.77\.2 .*dst=192\.168\.77\.1/)
    assert.notMatch(value.after, /dst=100\.64\.0\.2/)
  })

  it("sees every change of its table, and none that is one of others' tables", () => {
    const table = "inet sallyport_sptest0"
    const changes = [
      `nft insert rule ${table} forward drop`,
      `nft add rule ${table} services accept`,
      `nft flush chain ${table} input`,
      `nft 'add chain ${table} forward { policy drop; }'`,
      `nft 'add chain ${table} more { type filter hook forward priority 0; policy drop; }'`,
      `nft flush set ${table} tunnel4`,
      `nft 'add element ${table} foreign4 { 100.64.0.0/11 }'`,
      `nft 'add table ${table} { flags dormant; }'`,
      `nft 'add set ${table} more { type ipv4_addr; }'`
    ]
    const others = [
      "nft add table ip other",
      "nft 'add chain ip other forward { type filter hook forward priority 0; policy drop; }'",
      `nft reset counters table ${table}`
    ]

    const { value } = probeWith([...changes, ...others], "edited")

    for (const change of changes) assert.deepStrictEqual(value[change], ["the gateway's nft table was changed"], change)
    for (const other of others) assert.deepStrictEqual(value[other], [], other)
    assert.deepStrictEqual(value.again, [])
  })

  it("puts accepting rules into others' chains when told so, keeps them there, and takes them away", () => {
    inGateway(`
      nft add table ip filter
      nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'
      nft 'add chain ip filter INPUT { type filter hook input priority 0; policy drop; }'
      nft 'add rule ip filter INPUT ct state established,related accept'
      nft 'add table inet firewalld'
      nft 'add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy accept; }'
      nft 'add rule inet firewalld filter_FORWARD ct state established,related accept'
      nft 'add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited'
      nft 'insert rule ip filter INPUT iifname gone0 accept comment "added by sallyport for gone0"'
    `)

    const { value } = probe("integrated", { firewall: "integrate" })

    assert.deepStrictEqual(value.before, [])
    assert.deepStrictEqual(value.chains, ["inet firewalld filter_FORWARD", "ip filter FORWARD", "ip filter INPUT"])
    assert.deepStrictEqual(value.put, [
      'iifname "sptest0" accept comment "added by sallyport for sptest0"',
      'iifname "sptest0" accept comment "added by sallyport for sptest0"',
      'iifname "sptest0" accept comment "added by sallyport for sptest0"',
      'oifname "sptest0" accept comment "added by sallyport for sptest0"',
      'udp dport 51820 accept comment "added by sallyport for sptest0"'
    ])
    assert.deepStrictEqual(value.reached, [
      "192.168.77.2>100.64.0.2/1",
      "100.64.0.1>100.64.0.2/1",
      "100.64.0.1>100.64.0.2/1"
    ])
    assert.strictEqual(value.again, 0)
    assert.deepStrictEqual(value.back, value.put)
    assert.strictEqual(value.after, "")
  })

  it("leaves the host's firewall and its traffic alone when told so", () => {
    const { value } = probe("configure", { firewall: "off" })

    assert.deepStrictEqual(value.during.tables, [""])
  })

  it("takes away what a crash has left also where it is told to leave the firewall alone", () => {
    inGateway(`
      nft add table inet sallyport_sptest0
      nft add table inet sallyport_gone0
      nft add table ip filter
      nft add chain ip filter INPUT
      nft 'add rule ip filter INPUT iifname sptest0 accept comment "added by sallyport for sptest0"'
      nft 'add rule ip filter INPUT udp dport 51820 accept comment "sallyport wireguard"'
    `)

    const { value } = probe("configure", { firewall: "off" })

    assert.deepStrictEqual(value.during.tables, ["table ip filter"])
    assert.notInclude(inGateway("nft list ruleset"), "sptest0")
    assert.include(inGateway("nft list ruleset"), "sallyport wireguard")
  })

  it("cleans up after a crash, but not after another gateway that lives", () => {
    inGateway(`
      nft add table inet sallyport_gone0
      nft add table inet sallyport_v0
      nft add table inet sallyport_sptest0
      nft add chain inet sallyport_sptest0 leftover
      nft add table ip somebody
    `)

    const { value } = probe("configure")

    assert.sameMembers(value.during.tables, [
      "table inet sallyport_v0",
      "table ip somebody",
      "table inet sallyport_sptest0"
    ])
    assert.sameMembers(value.after.tables, ["table inet sallyport_v0", "table ip somebody"])
  })

  for (const [what, command, pattern] of [
    [
      "a route",
      "ip route add 100.64.0.0/10 via 192.168.77.2",
      /network 100\.64\.0\.0\/11 overlaps the host's route 100\.64\.0\.0\/10 via 192\.168\.77\.2 dev v0/
    ],
    [
      "a narrow route",
      "ip route add 100.100.3.0/24 dev v0",
      /proxy network 100\.96\.0\.0\/11 overlaps the host's route 100\.100\.3\.0\/24 dev v0/
    ],
    ["an address", "ip address add 100.65.1.1/32 dev v0", /overlaps the host's own address 100\.65\.1\.1 \(v0\)/],
    [
      "an IPv6 route",
      "ip -6 route add fd00::/16 dev v0",
      /network fd00:2021:1111::\/107 overlaps the host's route fd00::\/16 dev v0/
    ]
  ] as const) {
    it(`refuses ranges that overlap ${what} of the host, and changes nothing`, () => {
      inGateway(command)

      const { error } = probe("configure")

      assert.match(error, pattern)
      assert.notInclude(inGateway("nft list tables"), "sallyport")
      assert.strictEqual(inGateway("cat /proc/sys/net/ipv4/ip_forward").trim(), "0")
    })
  }

  it("does not mind routes in a table that no rule reads", () => {
    inGateway("ip route add 100.64.0.0/10 dev v0 table 77; ip route add 100.65.0.0/16 dev v0 table 78")
    assert.isUndefined(probe("configure").error)
    inGateway("ip rule add from 192.168.88.0/24 table 78")
    assert.match(probe("configure").error, /overlaps the host's route 100\.65\.0\.0\/16 dev v0 table 78/)
  })

  it("keeps routes of router advertisements when it switches IPv6 forwarding on", () => {
    inGateway(`
      ip -6 route add fd78::/64 dev v0 proto ra
      echo 1 > /proc/sys/net/ipv6/conf/v0/accept_ra
      echo 1 > /proc/sys/net/ipv6/conf/lo/accept_ra
    `)

    probe("configure")

    const read = (device: string) => inGateway(`cat /proc/sys/net/ipv6/conf/${device}/accept_ra`).trim()
    assert.strictEqual(read("v0"), "2")
    assert.strictEqual(read("lo"), "1")
  })

  it("keeps them when somebody sets it back, or makes the uplink anew, and where forwarding was on before", () => {
    inGateway(`
      ip -6 route add fd78::/64 dev v0 proto ra
      sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.v0.accept_ra=1
    `)

    const { value } = probe("advertised")

    const told = ["net.ipv6.conf.v0.accept_ra was 1"]
    assert.deepStrictEqual(value, { back: told, anew: told, right: [] })
  })

  it("says what it needs when nft is gone while the table is to be made again, and makes it once nft is there", () => {
    const { value } = probe("withoutNft", { firewall: "integrate" }, "unshare", "--mount")

    assert.isFalse(value.isRead, "that the gateway counts is no change of the host's rules")
    assert.deepStrictEqual(value.gone.repaired, [])
    assert.lengthOf(value.gone.refused, 1)
    assert.match(value.gone.refused[0], /"nft" is not installed; run "apt install nftables" \(or set "firewall: off"\)/)
    assert.deepStrictEqual(value.back, { repaired: ["the gateway's nft table was gone"], refused: [], remade: false })
  })

  it("names what no rule of nftables shows: a connection table that is full, tables of iptables-legacy", () => {
    const { value } = probe("unshown", {}, "unshare", "--mount")

    assert.strictEqual(value.before, "no rule of nftables or iptables")
    assert.deepStrictEqual(value.full, {
      likely: "the host's connection table, which is full (net.netfilter.nf_conntrack_max is 4096)",
      fix: 'run "sysctl -w net.netfilter.nf_conntrack_max=8192"',
      sure: false
    })
    assert.deepStrictEqual(value.legacy, {
      likely: "a rule of iptables-legacy (tables filter), which nft does not show",
      fix: 'run "iptables-legacy -I INPUT -i sptest0 -j ACCEPT"',
      sure: false
    })
  })

  describe("with a read-only /proc/sys", () => {
    it("says which sysctl the host must set", () => {
      const { error } = probe("configure", {}, ...readOnly)

      assert.match(error, /IPv4 forwarding .* read-only; set net\.ipv4\.ip_forward=1 on the host/)
    })

    it("is content when the values are right already", () => {
      inGateway("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")

      assert.deepStrictEqual(probe("configure", {}, ...readOnly).value.warnings, [])
    })
  })

  it("goes on with IPv4 alone, and says so, where IPv6 is off and cannot be switched on", () => {
    inGateway("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; echo 1 > /proc/sys/net/ipv4/ip_forward")

    const { log, value } = probe("configure", {}, ...readOnly)

    assert.match(log, /IPv6 is off/)
    assert.deepStrictEqual(value.during.addresses, ["100.64.0.1/32"])
  })

  it("knows when it is set up whether IPv6 has a way out: names get no addresses before", () => {
    assert.isNull(probe("configure").value.wayOut)
    inGateway("ip -6 route del default; ip -6 address flush dev v0")
    assert.match(probe("configure").value.wayOut.why, /IPv6 has no way out of this host/)
  })

  it("says what is missing: capability, nft, the device", () => {
    inGateway("ip tuntap add dev sptest0 mode tun")
    const bare = probe("plain", {}, "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    const noNft = probe(
      "plain",
      {},
      "unshare",
      "--mount",
      "sh",
      "-c",
      'mount -t tmpfs none /usr/sbin && exec "$@"',
      "sh"
    )
    const noDevice = probe("plain", { device: "absent0" })

    assert.match(bare.error, /not permitted; run as root or grant CAP_NET_ADMIN/)
    assert.match(noNft.error, /"nft" is not installed; run "apt install nftables" \(or set "firewall: off"\)/)
    assert.match(noDevice.error, /absent0/)
    for (const { error } of [bare, noNft, noDevice]) assert.notInclude(error, "\n")
  })

  it("tells when an address comes, and only then", () => {
    const { value } = probe("changed")

    assert.isFalse(value.before)
    assert.include(value.own, "192.168.99.1")
  })
})
