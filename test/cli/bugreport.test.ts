import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { bugReportFiles, type BugReportSources } from "../../src/cli/bugReportFiles.ts"
import type { DoctorFacts } from "../../src/cli/doctorFacts.ts"
import { doctorReport } from "../../src/cli/doctorReport.ts"
import { examinedFile } from "../../src/cli/examined.ts"
import { makeStatusReport } from "../../src/cli/makeStatusReport.ts"
import { Redactor } from "../../src/cli/Redactor.ts"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { parseYaml } from "../../src/config/yamlSource.ts"
import type { Event } from "../../src/events/Event.ts"
import { ClientId } from "../../src/model/Client.ts"
import { NameNotFound } from "../../src/resolution/Resolver.ts"
import { SharedStoreError } from "../../src/shared/SharedStore.ts"
import { Random } from "../fuzz/Random.ts"
import { authorizationsOf } from "../../src/model/Grant.ts"
import { integer } from "../support/packetArbitraries.ts"
import { doctorHost, input, mapping } from "./fixtures.ts"

/** A gateway whose every name, address and key is made up; all of them are in `secrets`. */
const madeUp = (seed: number) => {
  const random = new Random(seed)
  const secrets: Array<string> = []
  const secret = (text: string): string => {
    secrets.push(text)
    return text
  }
  const letters = "abcdefghijklmnopqrstuvwxyz"
  const word = (): string =>
    secret(Array.from({ length: 7 + random.below(6) }, () => letters[random.below(letters.length)]).join(""))
  const domain = (): string => secret(`${word()}.${word()}.${random.below(2) === 0 ? "internal" : word()}`)
  const ipv4 = (): string =>
    secret(`${11 + random.below(80)}.${random.below(256)}.${random.below(256)}.${random.below(256)}`)
  const group16 = (): string => (0x1000 + random.below(0xe000)).toString(16)
  const ipv6 = (): string => secret(`2a0${1 + random.below(8)}:${group16()}::${group16()}`)
  const address = (): string => (random.below(2) === 0 ? ipv4() : ipv6())
  const key = (): string => {
    const bytes = Uint8Array.from({ length: 32 }, () => random.below(256))
    return secret(Buffer.from(bytes).toString("base64"))
  }
  const hostPort = (host: string): string => (host.includes(":") ? `[${host}]:5353` : `${host}:5353`)
  const [alice, group, set, name, pattern, stranger] = [word(), word(), word(), domain(), domain(), domain()]
  const [user, host, database] = [word(), word(), word()]
  const presharedKey = key()
  const comment = word()
  const yaml = `# ${comment}
endpoint: ${domain()}:51820
state_dir: /srv/${word()}/state
state: postgres://${user}@${host},${domain()}:5433/${database}?password_file=/srv/${word()}/password
resolvers: { ${set}: ["udp://${hostPort(address())}", "https://${ipv4()}/${word()}#${domain()}"] }
clients:
  ${alice}: { public_key: "${key()}", preshared_key: "${presharedKey}", groups: [${group}] }
resources:
  ${word()}: { name: ${name.toUpperCase()}, resolver: ${set}, allow: [${group}], expires: 2020-01-01 }
  ${word()}: { name: "*.${pattern}", allow: [${alice}] }
  ${word()}: { cidr: ${ipv4()}/32, allow: [${group}], ports: [tcp/443] }
search: [${domain()}]
records: { ${domain()}: { txt: "${word()} ${word()}" }, ${domain()}: { a: ${ipv4()} } }
zones: { ${domain()}: ${set} }
tests: [{ client: ${alice}, reach: "${name}:53/UDP", expect: denied }]
block: [/home/${word()}/hosts]
`
  const parsed = Result.getOrThrow(parseConfig(yaml, `/home/${secret("operator")}/gateway.yaml`))
  const silent = address()
  const [lan, uplink, vlan] = [word(), `br-${word()}`, `${word()}.20`]
  const loss = {
    likely: `the rule "iifname ${lan} ip saddr ${ipv4()}/16 drop comment ${word()}: ${word()}" of the firewall chain "inet ${word()} ${word()}"`,
    fix: `run "nft insert rule inet ${word()} ${word()} iifname sally0 accept"`
  }
  const setting = {
    likely: `the reverse path filter of ${uplink} (net.ipv4.conf.${uplink}.rp_filter is 1), or net.ipv4.conf.${vlan}.forwarding, which is 0`,
    fix: `run "sysctl -w net.ipv4.conf.${vlan}.forwarding=1"`
  }
  const route = `the host's route ${ipv4()}/24 via ${ipv4()} dev ${word()} table ${word()}`
  const own = `the host's own address ${ipv4()} (${word()})`
  const status = makeStatusReport({
    ...input,
    publicKey: key(),
    endpoint: parsed.endpoint,
    clients: parsed.clients,
    clientStates: new Map(
      [...input.clientStates.values()].map((state) => [
        alice,
        { ...state, client: ClientId.make(alice), endpoint: { address: address(), port: 4500 } }
      ])
    ),
    authorizations: parsed.grants.flatMap(authorizationsOf),
    foreignNetworks: [
      { network: `${ipv4()}/32`, who: route },
      { network: "100.64.0.0/24", who: `the host's route ${ipv4()} dev ${word()}` }
    ],
    firewall: {
      ...input.firewall,
      lost: [loss, setting].map((blame) => ({
        ...blame,
        what: `clients' new TCP connections (IPv4, to ${lan})`,
        since: input.now,
        latest: input.now,
        packets: 3
      }))
    },
    mappings: [
      {
        mapping: { ...mapping(name, alice), name: { resolver: set, domain: name } },
        state: { _tag: "Resolved", addresses: [silent], since: input.now, staleAt: input.now, failure: null },
        nextTryAt: null,
        lookups: 1
      },
      {
        mapping: { ...mapping(stranger, alice), name: { resolver: set, domain: stranger } },
        state: {
          _tag: "Unresolved",
          reason: new NameNotFound({ ttlSeconds: 1 }),
          attempts: 1,
          since: input.now,
          negativeUntil: input.now
        },
        nextTryAt: null,
        lookups: 1
      }
    ],
    dnsServers: [
      { server: hostPort(address()), answeredAt: null, silentSince: input.now, latencyMs: null, oddities: [] },
      { server: `tls://${ipv4()}:853#${domain()}`, answeredAt: null, silentSince: 1, latencyMs: null, oddities: [] }
    ],
    site: {
      gateway: 1,
      store: {
        _tag: "Away",
        error: new SharedStoreError({
          reason: "Refused",
          message: `PostgreSQL ${host}:5432: role "${word()}" is not permitted to log in as ${user} — see; database ${database} is not there`
        }),
        sinceMs: input.now
      },
      readAt: null,
      reliedUntil: null,
      untold: 0,
      slots: { own: 512, used: 1 }
    },
    sitePolicy: {
      inForce: { version: 2, by: `${word()}@${word()}`, at: input.now },
      refused: { why: `policy 3 of the site:4:2: unknown group "${word()}"; policy 2 goes on`, since: input.now }
    },
    presence: {
      met: null,
      owners: new Map(),
      gateways: [
        {
          gateway: 2,
          own: false,
          alive: true,
          heardAt: input.now,
          clients: 1,
          master: false,
          draining: false,
          about: { version: "9.9.9", host: word(), policy: 2, readAt: null }
        }
      ]
    },
    controlPlane: {
      ...input.controlPlane,
      filtered: { count: 1, last: { client: alice, name: domain(), address: address(), why: "private", at: input.now } }
    }
  })
  const wanted = examinedFile(parsed)
  const facts: DoctorFacts = {
    socket: "/run/s",
    file: { what: `/home/operator/gateway.yaml is correct`, warnings: parsed.warnings, broken: [] },
    gateway: { _tag: "Runs", report: status },
    wanted,
    host: {
      ...doctorHost,
      overlaps: {
        found: { conflict: null, foreign: [own, route].map((who) => ({ network: `${ipv4()}/32`, who })) }
      },
      forwarding: { found: { 4: `net.ipv4.conf.${uplink}.forwarding is 0`, 6: `nft: ${ipv4()}: ${ipv6()}: refused` } },
      uplinks: { found: [{ device: vlan, mtu: 1280 }] },
      firewall: {
        found: [loss, setting].map((blame) => ({ what: ["a packet"], blame: { ...blame, sure: true } }))
      }
    },
    siteHosts: [],
    servers: [{ set, server: hostPort(address()), latencyMs: null, detail: `connect to ${ipv6()}: no way` }],
    endpoint: [address()],
    ipv6: null
  }
  const to = { domain: domain(), resource: parsed.resources[0]!.id, address: ipv4(), protocol: "tcp", port: 22 }
  const events: ReadonlyArray<Event> = [
    { _tag: "Refused", client: alice, packets: 1, reason: "filtered", to },
    { _tag: "FlowOpened", client: word(), real: address(), bytesIn: 0, to },
    { _tag: "Question", client: alice, domain: `odd ${word()}\u001b[31m"${word()}`, type: 1, outcome: "NameError" },
    { _tag: "UnknownDevice", publicKey: key(), endpoint: hostPort(address()), handshakes: 3 },
    { _tag: "ClientConnected", client: alice, endpoint: hostPort(address()) },
    { _tag: "Reloaded", what: `removed client ${word()}, changed resource ${domain()}` },
    { _tag: "KeysChanged", what: `clients are given the gateway's key ${key()}; not yet: ${word()}, ${word()}` },
    {
      _tag: "Lookup",
      client: alice,
      resolver: set,
      domain: name,
      cause: "First",
      outcome: "answer",
      addresses: [address()],
      durationMs: 3
    }
  ]
  const sources: BugReportSources = {
    file: "/home/operator/gateway.yaml",
    config: { found: Result.getOrThrow(parseYaml(yaml)).value },
    devices: [lan, uplink, vlan],
    doctor: doctorReport(facts, input.now),
    status: { found: status },
    log: { found: events.map((event, number) => ({ number, at: input.now, event })) },
    versions: { sallyport: "9.9.9" }
  }
  return { secrets, sources, yaml }
}

const textOf = (sources: BugReportSources): string =>
  bugReportFiles(sources)
    .map(({ path, text }) => `${path}\n${text}`)
    .join("\n")

describe("a bug report", () => {
  it.prop(
    "has no name, address or key of the configuration, the state or the log in it",
    [integer(1, 2 ** 30)],
    ([seed]) => {
      const { secrets, sources } = madeUp(seed)
      const text = textOf(sources).toLowerCase()

      assert.deepStrictEqual(
        secrets.filter((secret) => text.includes(secret.toLowerCase())),
        []
      )
    },
    { arbitrary: { runs: 50 }, timeout: 60_000 }
  )

  it("has the same word for the same thing in each of its files", () => {
    const { sources } = madeUp(7)
    const files = new Map(bugReportFiles(sources).map(({ path, text }) => [path, text]))
    const config = JSON.parse(files.get("config.json")!)
    const [client = ""] = Object.keys(config.clients)
    const status = JSON.parse(files.get("status.json")!)
    const [refused, ...more] = files
      .get("log.ndjson")!
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).event)

    assert.match(client, /^n\d+$/)
    assert.strictEqual(status.clients[0].name, client)
    assert.strictEqual(refused.client, client)
    assert.include(files.get("status.txt")!, client)
    const lookup = more.find(({ _tag }) => _tag === "Lookup")
    assert.strictEqual(lookup.domain, status.mappings[0].domain)
    assert.strictEqual(config.tests[0].reach, `${lookup.domain}:53/UDP`)
    assert.deepStrictEqual([status.version, refused.to.port, refused.to.protocol], [2, 22, "tcp"])
    for (const change of ["Reloaded", "KeysChanged"]) {
      assert.strictEqual(more.find(({ _tag }) => _tag === change).what, "(left out)")
    }
  })

  it("has one word for a long name, which may look like a key, in each of them too", () => {
    const { sources } = madeUp(9)
    const { found } = sources.status as { found: StatusReport }
    const name = "the-laptop-of-somebody-with-a-long-name"
    const files = new Map(
      bugReportFiles({
        ...sources,
        config: { found: { clients: { [name]: {} } } },
        status: { found: { ...found, clients: [{ ...found.clients[0]!, name }] } }
      }).map(({ path, text }) => [path, text])
    )
    const [word = ""] = Object.keys(JSON.parse(files.get("config.json")!).clients)

    assert.match(word, /^n\d+$/)
    assert.strictEqual(JSON.parse(files.get("status.json")!).clients[0].name, word)
    const redactor = new Redactor()
    const domain = `${name}.corp.example`
    assert.strictEqual(redactor.name(domain), "n1.n2.n3")
    assert.strictEqual(redactor.text(`no ${domain}: ${name}`), "no n1.n2.n3: key-1")
  })

  it("is a report that reads as before where clients have the names of its own words", () => {
    const { sources } = madeUp(5)
    const { found } = sources.status as { found: StatusReport }
    const clients = ["Resolved", "relayed", "file", "current"].map((name) => ({ ...found.clients[0]!, name }))
    const files = bugReportFiles({ ...sources, status: { found: { ...found, clients } } })
    const status = JSON.parse(files.find(({ path }) => path === "status.json")!.text)

    assert.deepStrictEqual([status.controlPlane.kind, status.mappings[0].state], ["file", "Resolved"])
    assert.strictEqual(status.clients[0].path, "relayed")
  })

  it("keeps the words of its texts, whatever clients ask for, and those of its log, whatever they are called", () => {
    const { sources } = madeUp(11)
    const { found } = sources.status as { found: StatusReport }
    const asking = (word: string): BugReportSources => {
      const last = { client: "alice", name: word, address: "10.9.9.9", why: "private", at: input.at }
      const controlPlane = { ...found.controlPlane, filtered: { count: 1, last } }
      const event = { _tag: "Question", client: "alice", domain: word, type: 1, outcome: "NameError" } as const
      return {
        ...sources,
        status: { found: { ...found, controlPlane } },
        log: { found: [{ number: 1, at: input.at, event }] }
      }
    }
    const doctorOf = (of: BugReportSources) => bugReportFiles(of).find(({ path }) => path === "doctor.txt")!.text

    assert.strictEqual(doctorOf(asking("is")), doctorOf(asking("qqqq")))
    assert.include(doctorOf(asking("is")), " is ")
    assert.notInclude(textOf(asking("qqqq")), "qqqq")

    const clients = ["First", "tcp"].map((name) => ({ ...found.clients[0]!, name }))
    const log = bugReportFiles({ ...sources, status: { found: { ...found, clients } } }).at(-1)!.text
    assert.match(log, /"cause":"First"/)
    assert.match(log, /"protocol":"tcp"/)
  })

  it("keeps what a helper needs: keys of the file, ports, states, prefixes, how names fit patterns", () => {
    const redactor = new Redactor()
    const [pattern, name] = [redactor.name("*.corp.example"), redactor.name("git.corp.example")]

    assert.strictEqual(pattern, "*.n1.n2")
    assert.strictEqual(name, "n3.n1.n2")
    assert.strictEqual(
      redactor.text("git.corp.example:443 at 10.1.2.3/24, [2001:db8::7]:53"),
      "n3.n1.n2:443 at ipv4-1/24, [ipv6-1]:53"
    )
    assert.deepStrictEqual(
      ["git.corp.example/tcp", "10.1.2.3:53/udp", "10.1.2.3/icmp", "[2001:db8::7]:53/udp", "2001:db8::7/icmp"].map(
        (reach) => redactor.value(reach)
      ),
      ["n3.n1.n2/tcp", "ipv4-1:53/udp", "ipv4-1/icmp", "[ipv6-1]:53/udp", "ipv6-1/icmp"]
    )
    assert.strictEqual(redactor.text('run "sysctl -w net.ipv4.ip_forward=1"'), 'run "sysctl -w net.ipv4.ip_forward=1"')
    assert.strictEqual(
      redactor.text("127.0.0.1:9820 and /var/lib/sallyport/state.db"),
      "127.0.0.1:9820 and /var/lib/sallyport/state.db"
    )
    assert.match(redactor.text("/var/lib/sallyport/acme: /etc/sallyport/acme.yaml"), /^\/path-\d+: \/path-\d+$/)
    assert.strictEqual(redactor.text("nobody named git.other.example, before"), "nobody named n3.n4.n2, before")
    assert.strictEqual(redactor.text("taken by fd00::1: no; 02:42:ac:11:00:02"), "taken by ipv6-2: no; mac-1")
  })

  it("of a file that is no YAML, and without a gateway, says so and nothing of the file", () => {
    const { sources, yaml } = madeUp(3)
    const missing = { missing: "no gateway is running (nothing at /run/s)" }
    const doctor = {
      ...sources.doctor,
      rows: [
        {
          check: "file",
          verdict: "fail" as const,
          what: '/home/operator/gateway.yaml:3:1: "hunter2" is no key',
          next: ""
        }
      ]
    }
    const files = bugReportFiles({ ...sources, config: { missing: "no YAML" }, doctor, status: missing, log: missing })
    const text = files.map((file) => file.text).join("\n")

    assert.deepStrictEqual(
      files.map(({ path }) => path).filter((path) => path.includes("missing")),
      ["config.json.missing.txt", "status.json.missing.txt", "status.txt.missing.txt", "log.ndjson.missing.txt"]
    )
    assert.notInclude(text, "hunter2")
    assert.include(text, ":3:1")
    assert.notInclude(text, yaml.slice(2, 9))
  })
})
