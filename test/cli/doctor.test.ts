import { assert, describe, expect, it } from "@effect/vitest"
import { displayWidth } from "effect/cli/CliOutput"
import type { DoctorFacts, Examined, HostFacts } from "../../src/cli/doctorFacts.ts"
import type { Row } from "../../src/cli/doctorRow.ts"
import { doctorSheet } from "../../src/cli/doctorSheet.ts"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { renderDoctor } from "../../src/cli/renderDoctor.ts"
import { hostPlan } from "../support/hostPlan.ts"
import { doctorHost as host, report } from "./fixtures.ts"

const wanted: Examined = {
  kind: "file",
  plan: hostPlan,
  stateDir: "/var/lib/sallyport",
  listenHttp: { host: "127.0.0.1", port: 9820 },
  resolvers: new Map(),
  endpoint: { host: "vpn.example.com", port: 51820 },
  routed: [
    ["the network", "100.96.0.0/11"],
    ["the resource lab", "10.20.0.0/16"]
  ],
  site: null,
  advertise: null
}

const healthy: DoctorFacts = {
  socket: "/run/s",
  file: { what: "/etc/sallyport/sallyport.yaml is correct: 3 clients, 2 resources", warnings: [], broken: [] },
  gateway: { _tag: "Absent", why: "no gateway is running (nothing at /run/s) — start it, or name its socket" },
  wanted,
  host,
  servers: [{ set: "corp", server: "10.0.0.53:53", latencyMs: 3.4, detail: null }],
  siteHosts: [],
  endpoint: ["203.0.113.5"],
  ipv6: null
}

const running: DoctorFacts = {
  ...healthy,
  gateway: { _tag: "Runs", report },
  host: { ...host, portTaken: { found: "UDP port 51820 is taken (IPv4): find its owner" } }
}

const withHost = (facts: Partial<HostFacts>, base = healthy): DoctorFacts => ({ ...base, host: { ...host, ...facts } })

/** Rows of a check, as `VERDICT what → next`. */
const of = (facts: DoctorFacts, check: string): ReadonlyArray<string> =>
  doctorSheet(facts)
    .filter((row) => row.check === check)
    .map(({ next, verdict, what }) => `${verdict} ${what}${next === "" ? "" : ` → ${next}`}`)

describe("the doctor's sheet", () => {
  it("of a host that is right passes everything but that no gateway runs yet", () => {
    const rows = doctorSheet(healthy)

    assert.deepStrictEqual(
      rows.filter(({ verdict }) => verdict !== "pass").map(({ check, verdict }) => `${verdict} ${check}`),
      ["warn gateway"]
    )
    assert.sameMembers(
      [...new Set(rows.map(({ check }) => check))],
      "file gateway tools tun port http clock endpoint resolvers forwarding firewall ranges mtu ipv6 conntrack disk".split(
        " "
      )
    )
  })

  it("puts what fails first, then what may", () => {
    const verdicts = doctorSheet({ ...running, endpoint: [] }).map(({ verdict }) => verdict)

    assert.deepStrictEqual([...new Set(verdicts)], ["fail", "warn", "pass"])
    assert.deepStrictEqual(
      verdicts,
      verdicts.toSorted((a, b) => "fwp".indexOf(a[0]!) - "fwp".indexOf(b[0]!))
    )
  })

  it("has the faults of the file, and then says that the host was not looked at", () => {
    const facts: DoctorFacts = {
      ...healthy,
      file: { problems: ["a.yaml:3:4: 99999 is no port", "a.yaml:4:1: devise is unknown"] },
      wanted: null,
      host: null,
      servers: [],
      endpoint: []
    }

    assert.deepStrictEqual(of(facts, "file"), [
      "fail a.yaml:3:4: 99999 is no port",
      "fail a.yaml:4:1: devise is unknown"
    ])
    assert.deepStrictEqual(of(facts, "host"), [
      "warn the host was not looked at: what the gateway needs is not known → mend the file first"
    ])
  })

  it("has the troubles of a running gateway, but for its notes", () => {
    const rows = of(running, "gateway")

    assert.include(rows, "pass it runs, up 1 h 2 min, 2 clients, 1 connected")
    assert.isTrue(rows.some((row) => row.startsWith("fail none.corp.internal has no address for alice")))
    assert.isTrue(rows.some((row) => row.startsWith("warn the packet worker was restarted once")))
    assert.notInclude(rows.join("\n"), "left out of DNS answers")
  })

  describe("of a gateway of a site", () => {
    const site = {
      hosts: [],
      user: "sallyport",
      database: "sallyport",
      tls: true,
      authorities: null,
      passwordFile: null
    }
    const inSite = { ...running, wanted: { ...wanted, site } }
    const other = { gateway: 0, own: false, alive: true, heardAt: 0, clients: 1, master: false, draining: false }
    const told = (about: Partial<NonNullable<StatusReport["site"]>>, clockAheadMs?: number): DoctorFacts => {
      const postgres = {
        server: "db1:5432",
        since: 0,
        wrong: null,
        ...(clockAheadMs === undefined ? {} : { clockAheadMs })
      }
      const standing = { gateway: 1, readAt: 0, reliedUntil: 0, untold: 0, slots: { own: 1, used: 0 }, postgres }
      const status = { ...report, site: { ...standing, gateways: [other], ...about } }
      return { ...inSite, gateway: { _tag: "Runs", report: status } }
    }
    const master = { virtualAddress: { state: "MASTER", since: 0 }, gateways: [{ ...other, own: true, master: true }] }

    it("says nothing of it where there is none", () => assert.deepStrictEqual(of(running, "site"), []))

    it("says when the others cannot know where this one is", () => {
      const db = { host: "db1", port: 5432 }
      const near = { host: "::1", port: 5433 }
      const rows = (hosts: ReadonlyArray<typeof db>, advertise: string | null, gateways = [other]) => {
        const facts = told({ gateways }, 0)
        return of({ ...facts, wanted: { ...wanted, site: { ...site, hosts }, advertise } }, "site").filter((row) =>
          row.includes("advertise")
        )
      }
      assert.deepStrictEqual(rows([db, near], null), [
        "warn PostgreSQL is reached at ::1, so the other gateways do not know where this one is: drain hands nothing over → add advertise: to the file, with this host's address"
      ])
      assert.deepStrictEqual(rows([db, near], "10.0.0.5"), [])
      assert.deepStrictEqual(rows([db, near], null, [{ ...other, own: true }]), [])
      assert.deepStrictEqual(rows([db], null), [])
    })

    it("passes hosts of PostgreSQL as long as one of them is written to, and fails them when none is", () => {
      const written = { at: "db1:5432", tookMs: 4, problem: null, isStandby: false }
      const standby = { at: "db2:5432", tookMs: 3, problem: "db2:5432: it is a standby — promote it", isStandby: true }
      const gone = { at: "db3:5432", tookMs: 9, problem: "db3:5432: refused — start it", isStandby: false }

      assert.deepStrictEqual(of({ ...inSite, siteHosts: [written, standby, gone] }, "site").slice(0, 3), [
        "warn db3:5432: refused — start it",
        "pass PostgreSQL at db1:5432 lets itself be written to, after 4 ms",
        "pass PostgreSQL at db2:5432 is a standby"
      ])
      assert.deepStrictEqual(of({ ...inSite, siteHosts: [standby, gone] }, "site").slice(0, 2), [
        "fail db2:5432: it is a standby — promote it",
        "fail db3:5432: refused — start it"
      ])
    })

    it.each([
      [undefined, /^warn how this clock stands to the site's is not known/],
      [1_900, /^pass this host's clock agrees/],
      [-61_000, /^warn this host's clock is 61\.0 s behind PostgreSQL's/],
      [2_100, /^warn this host's clock is 2\.1 s ahead of PostgreSQL's/]
    ] as const)("judges its clock by PostgreSQL's: %s ms", (ahead, expected) => {
      assert.isTrue(of(told({}, ahead), "site").some((row) => expected.test(row)))
    })

    it("compares what it was told of the address with what the host has", () => {
      const here = { ownAddresses: { found: ["203.0.113.5"] } }
      const away = { ...master, virtualAddress: { state: "BACKUP", since: 0 } }
      const rows = (about: Parameters<typeof told>[0], host: Partial<HostFacts> = { ownAddresses: { found: [] } }) =>
        of(withHost(host, told(about, 0)), "site").join("\n")

      assert.match(rows({}), /^warn nobody has told this gateway since its start/m)
      assert.match(rows(master, here), /^pass it was told MASTER, and the host has 203\.0\.113\.5$/m)
      assert.match(rows(master), /^warn it was told MASTER, but this host has not 203\.0\.113\.5/m)
      assert.match(rows(away, here), /^warn it was told BACKUP, but this host has 203\.0\.113\.5/m)
      assert.match(rows(away), /^pass it was told BACKUP$/m)
    })

    it("finds that nobody says to have the address, or several do", () => {
      const named = (...all: ReadonlyArray<Partial<typeof other>>) =>
        of(told({ ...master, gateways: all.map((one) => ({ ...other, ...one })) }, 0), "site").join("\n")

      assert.match(
        named({ gateway: 0 }, { gateway: 1, alive: false, master: true }),
        /^warn no gateway that lives says/m
      )
      assert.match(
        named({ gateway: 0, master: true }, { gateway: 1, master: true }),
        /^fail gateway 0 and gateway 1 say/m
      )
      assert.notMatch(named({ gateway: 0, master: true }, { gateway: 1 }), /say/)
    })
  })

  it("takes the port and the device of a running gateway for its own", () => {
    const busy = { portTaken: { found: "UDP port 51820 is taken (IPv4)" }, deviceTaken: { found: "sally0 is in use" } }

    assert.deepStrictEqual(of(withHost(busy, running), "port"), ["pass the gateway listens on UDP port 51820"])
    assert.deepStrictEqual(of(withHost(busy), "port"), ["fail UDP port 51820 is taken (IPv4)"])
    const dnsTaken = { dnsTaken: { found: "UDP 100.64.0.1:53 is taken: a DNS server" } }
    assert.include(of(withHost(dnsTaken), "port"), "fail UDP 100.64.0.1:53 is taken: a DNS server")
    assert.notInclude(of(withHost(dnsTaken, running), "port").join(), "DNS server")
    assert.include(of(withHost(busy), "tun"), "fail sally0 is in use")
    assert.notInclude(of(withHost(busy, running), "tun"), "fail sally0 is in use")
    assert.deepStrictEqual(of(withHost({ portTaken: { found: null } }, running), "port"), [
      "fail the gateway runs, but not on UDP port 51820, which the file names → restart the gateway"
    ])
  })

  it("warns where metrics and dashboard cannot be served: somebody is there, or the host has no such address", () => {
    const at = (host: string, taken = false, kind: Examined["kind"] = "file") =>
      of(
        { ...withHost({ httpTaken: { found: taken } }), wanted: { ...wanted, kind, listenHttp: { host, port: 9820 } } },
        "http"
      )

    for (const host of ["127.0.0.1", "::1", "0.0.0.0", "203.0.113.5"]) {
      assert.match(at(host).join("\n"), /^pass TCP \S+:9820 is free$/)
    }
    assert.deepStrictEqual(at("127.0.0.1", true), [
      'warn something listens at TCP 127.0.0.1:9820: metrics, health and dashboard may not be served there → find its owner with "ss -ltnp sport = :9820", or set listen_http to a free address'
    ])
    assert.deepStrictEqual(at("203.0.113.6", false, "portal"), [
      "warn this host has no address 203.0.113.6: metrics, health and dashboard cannot be served at 203.0.113.6:9820 → set SALLYPORT_LISTEN_HTTP to an address of this host"
    ])
  })

  it("says of a gateway that does not answer so, and that the port may be its own", () => {
    const facts = withHost(
      { portTaken: { found: "UDP port 51820 is taken (IPv4)" } },
      { ...healthy, gateway: { _tag: "Silent", why: "/run/s may not be opened — run as the gateway's user" } }
    )

    assert.deepStrictEqual(of(facts, "gateway"), ["fail /run/s may not be opened — run as the gateway's user"])
    assert.deepStrictEqual(of(facts, "port"), ["warn UDP port 51820 is taken (IPv4), unless it is the gateway"])
  })

  it("says what could not be looked at, and why", () => {
    const facts = withHost({ firewall: { unseen: "cannot read the host's firewall: not permitted; run as root" } })

    assert.deepStrictEqual(of(facts, "firewall"), [
      "warn could not be looked at: cannot read the host's firewall: not permitted; run as root"
    ])
  })

  it("fails with a set whose servers are all silent, and warns of one silent server among others", () => {
    const server = (server: string, latencyMs: number | null) => ({ set: "corp", server, latencyMs, detail: null })

    assert.deepStrictEqual(
      of({ ...healthy, servers: [server("10.0.0.53:53", null), server("10.0.1.53:53", 0.2)] }, "resolvers"),
      [
        "warn corp: 10.0.0.53:53 does not answer → is it up, and is there a way to it and back?",
        "pass corp: 10.0.1.53:53 answers after 1 ms"
      ]
    )
    assert.deepStrictEqual(of({ ...healthy, servers: [server("10.0.0.53:53", null)] }, "resolvers"), [
      "fail corp: 10.0.0.53:53 does not answer → is it up, and is there a way to it and back?"
    ])
    const expired = { ...server("tls://10.0.0.53:853", null), detail: "its certificate has expired" }
    assert.deepStrictEqual(of({ ...healthy, servers: [expired] }, "resolvers"), [
      "fail corp: tls://10.0.0.53:853 does not answer: its certificate has expired → is it up, is its certificate as the file has it, and is there a way to it and back?"
    ])
    assert.deepStrictEqual(
      of({ ...healthy, servers: [{ set: "system", server: null, latencyMs: null, detail: "no file" }] }, "resolvers"),
      ["fail system: no file"]
    )
  })

  it("fails with an endpoint that does not resolve, and warns of one inside a network of the tunnel", () => {
    assert.deepStrictEqual(of({ ...healthy, endpoint: [] }, "endpoint"), [
      'fail the endpoint vpn.example.com does not resolve here → look at what "getent ahosts vpn.example.com" says, and at its zone'
    ])
    const loop = "the files of client-config leave it out of AllowedIPs, or the tunnel would loop"
    assert.deepStrictEqual(of({ ...healthy, endpoint: ["100.96.3.4", "10.20.0.1"] }, "endpoint"), [
      `warn the endpoint 100.96.3.4 is inside the network (100.96.0.0/11): ${loop}; do so in files written by hand`,
      `warn the endpoint 10.20.0.1 is inside the resource lab (10.20.0.0/16): ${loop}; do so in files written by hand`
    ])
    const portal = { ...healthy, wanted: { ...wanted, kind: "portal" as const } }
    assert.deepStrictEqual(of({ ...portal, endpoint: ["100.96.3.4"] }, "endpoint"), [
      "warn the portal 100.96.3.4 is inside the network (100.96.0.0/11): the gateway may look for it in its own tunnel; give the portal another address"
    ])
    assert.deepStrictEqual(of({ ...healthy, endpoint: ["203.0.113.9"] }, "endpoint"), [
      "pass vpn.example.com is 203.0.113.9, none of this host's: what has it must send UDP port 51820 here"
    ])
  })

  it("fails with a clock behind the state, and warns of one that nobody keeps right", () => {
    const clock = (synchronized: boolean, aheadMs: number) =>
      of(withHost({ clock: { found: { synchronized, aheadMs } } }), "clock").map((row) => row.slice(0, 40))

    assert.deepStrictEqual(clock(true, 2_000), ["pass the kernel's clock is synchronized"])
    assert.deepStrictEqual(clock(false, 3_600_000), [
      "fail the clock is behind: the state was ",
      "warn the kernel's clock is not synchroni"
    ])
  })

  it("fails with rules that take the gateway's packets, with the command that lets them through", () => {
    const blame = { likely: 'the policy "drop" of "ip filter FORWARD"', fix: 'run "nft insert rule …"', sure: true }
    const firewall = { found: [{ what: ["clients' new TCP connections (IPv4)", "b", "c"], blame }] }

    assert.deepStrictEqual(of(withHost({ firewall }), "firewall"), [
      'fail clients\' new TCP connections (IPv4) and 2 other kinds of packets are taken away by the policy "drop" of "ip filter FORWARD" → run "nft insert rule …"'
    ])
    const unsure = { found: [{ what: ["a"], blame: { ...blame, sure: false } }] }
    assert.match(of(withHost({ firewall: unsure }), "firewall").join("\n"), /^warn a may be taken away by/)
    const integrates = { ...wanted, plan: { ...hostPlan, firewall: "integrate" as const } }
    assert.match(of({ ...withHost({ firewall }), wanted: integrates }, "firewall").join("\n"), /^pass .*integrate/)
  })

  it("warns where full packets of the tunnel do not fit the uplink, by as much as fits", () => {
    const uplink = (mtu: number, endpoint = ["203.0.113.5"]) =>
      of({ ...withHost({ uplinks: { found: [{ device: "ppp0", mtu }] } }), endpoint }, "mtu").map((row) =>
        row.slice(0, 4)
      )

    assert.deepStrictEqual([uplink(1340), uplink(1339)], [["pass"], ["warn"]])
    assert.deepStrictEqual([uplink(1360, ["2001:db8::1"]), uplink(1359, ["2001:db8::1"])], [["pass"], ["warn"]])
  })

  it("warns of a table of connections that fills up, and fails with a full one", () => {
    const verdict = (used: number) =>
      of(withHost({ conntrack: { found: { used, most: 1_000 } } }), "conntrack").map((row) => row.slice(0, 4))

    assert.deepStrictEqual([verdict(799), verdict(800), verdict(950)], [["pass"], ["warn"], ["fail"]])
  })

  it("warns of little space for the state, and fails with none", () => {
    const disk = (free: number, problem: string | null = null) =>
      of(withHost({ disk: { found: { problem, free } } }), "disk").map((row) => row.slice(0, 4))

    assert.deepStrictEqual(
      [disk(64 << 20), disk((64 << 20) - 1), disk(1_000), disk(0, "read-only")],
      [["pass"], ["warn"], ["fail"], ["fail"]]
    )
  })
})

describe("the doctor's sheet on a terminal", () => {
  const rows: ReadonlyArray<Row> = doctorSheet(running)

  it("is a line for each row in a pipe, without colours", () => {
    const lines = renderDoctor(rows, null).split("\n")

    assert.strictEqual(lines.length, rows.length + 2)
    assert.notInclude(lines.join(""), "\u001b")
    assert.match(lines.at(-1)!, /^\d+ fail, \d+ warnings?, \d+ pass$/)
  })

  it("fits 80 columns and 40", () => {
    for (const columns of [80, 40]) {
      const text = renderDoctor(rows, { columns, rows: 24, color: false })

      for (const line of text.split("\n")) assert.isAtMost(displayWidth(line), columns)
      expect(text).toMatchSnapshot(`${columns} columns`)
    }
  })

  it("shows nothing of the network that commands a terminal", () => {
    const text = renderDoctor(doctorSheet({ ...healthy, ipv6: "evil\u001b[31m\u202E" }), null)

    assert.include(text, "evil?[31m?")
  })
})
