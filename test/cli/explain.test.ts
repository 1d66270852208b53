import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { explainAccess, type ExplainSources } from "../../src/cli/explainAccess.ts"
import { Explanation } from "../../src/cli/explanation.ts"
import { makeStatusReport } from "../../src/cli/makeStatusReport.ts"
import type { RunningGateway } from "../../src/cli/onwardSteps.ts"
import { renderExplanation } from "../../src/cli/renderExplanation.ts"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { parseTarget } from "../../src/config/values.ts"
import { authorizedPolicy } from "../../src/control/firezone/authorizedPolicy.ts"
import { destinationsOf } from "../../src/control/standalone/policyTests.ts"
import type { Event } from "../../src/events/Event.ts"
import type { HostRoute } from "../../src/host/HostRoute.ts"
import { noNameFiles } from "../../src/host/NameFiles.ts"
import type { ResolverServer } from "../../src/model/ResolverSet.ts"
import { NameNotFound } from "../../src/resolution/Resolver.ts"
import { authorizationsOf } from "../../src/model/Grant.ts"
import { key } from "../config/fixtures.ts"
import { input } from "./fixtures.ts"

const policy = Result.getOrThrow(
  parseConfig(
    `endpoint: vpn.example.com:51820
resolvers: { corp: [udp://10.0.0.53], other: [udp://10.0.9.53] }
clients:
  alice: { public_key: "${key(2)}", groups: [eng], tunnel_ipv4: 100.64.0.2 }
  bob: { public_key: "${key(3)}", tunnel_ipv4: 100.64.0.3 }
resources:
  gitlab:
    name: gitlab.corp.internal
    ports: [tcp/443]
    resolver: corp
    allow: [eng]
  none: { name: none.corp.internal, resolver: corp, allow: [eng] }
  fresh: { name: "*.fresh.corp.internal", resolver: other, allow: [bob] }
  gone: { name: gone.corp.internal, resolver: corp, allow: [alice], expires: 2026-12-31 }
  lab: { cidr: 10.30.0.0/16, allow: [alice] }
records:
  git.corp.internal: { cname: gitlab.corp.internal }
`,
    "/etc/s.yaml"
  )
)

const report = makeStatusReport(input)
const now = report.at

const leads: HostRoute = { _tag: "Leads", device: "eth1", via: "10.0.0.1" }

const running = (over: Partial<RunningGateway> = {}, reported: Partial<StatusReport> = {}): RunningGateway => ({
  report: { ...report, ...reported },
  events: [],
  lookUp: () => Effect.fail(new NameNotFound({ ttlSeconds: 60 })),
  aliasOf: () => Effect.succeed(null),
  routeTo: () => Effect.succeed(leads),
  ...over
})

const sources = (over: Partial<ExplainSources> = {}): ExplainSources => ({
  kind: "file",
  policy,
  files: noNameFiles,
  destinations: destinationsOf(policy),
  running: running(),
  ...over
})

const explain = (client: string, target: string, over: Partial<ExplainSources> = {}) =>
  Effect.map(explainAccess(sources(over), client, Result.getOrThrow(parseTarget(target)), now), (explanation) => {
    assert.deepStrictEqual(Schema.decodeUnknownSync(Explanation)(JSON.parse(JSON.stringify(explanation))), explanation)
    return { ...explanation, text: renderExplanation(explanation, null) }
  })

describe("an explanation where there are several sites", () => {
  const file = `state: postgres://db1
endpoint: berlin.example.com:51820
site: berlin
sites:
  berlin: { number: 0, endpoint: "berlin.example.com:51820", public_key: "${key(8)}" }
  tokyo: { number: 1, endpoint: "tokyo.example.com:51820", public_key: "${key(9)}" }
clients:
  alice: { public_key: "${key(2)}", tunnel_ipv4: 100.64.0.2 }
  bob: { public_key: "${key(3)}", tunnel_ipv4: 100.64.0.3 }
resources:
  here: { name: "*.berlin.internal", ports: [tcp/443], allow: [alice] }
  there: { name: "*.tokyo.internal", site: tokyo, ports: [tcp/443], allow: [alice] }
  net: { cidr: 10.40.0.0/16, site: tokyo, allow: [alice] }
`
  const policy = Result.getOrThrow(parseConfig(file, "/etc/s.yaml"))
  const at = (client: string, target: string) =>
    explain(client, target, { policy, destinations: destinationsOf(policy) })

  it.effect("of what another one serves says who may reach it, and where the rest is known", () =>
    Effect.gen(function* () {
      for (const [target, resource] of [
        ["ci.tokyo.internal:443", "there"],
        ["10.40.1.2:22", "net"]
      ] as const) {
        const { reaches, text } = yield* at("alice", target)
        const host = target.replace(/:.*/, "")
        assert.strictEqual(reaches, "unknown")
        assert.include(text, `✔ ${host} is of ${resource} (/etc/s.yaml:`)
        assert.include(text, `${host} is reached at site tokyo: explain it at a gateway there for the rest`)
        assert.notInclude(text, "route")
      }
    })
  )

  it.effect("says no here where the policy does, and what is known of an own one", () =>
    Effect.gen(function* () {
      for (const [client, target] of [
        ["bob", "ci.tokyo.internal:443"],
        ["alice", "ci.tokyo.internal:22"]
      ] as const) {
        const { reaches, text } = yield* at(client, target)
        assert.strictEqual(reaches, "no")
        assert.notInclude(text, "explain it at a gateway there")
      }
      assert.notInclude((yield* at("alice", "app.berlin.internal:443")).text, "site tokyo")
    })
  )
})

describe("an explanation", () => {
  it.effect("of what works has every part of the way, with lines of the file, ages and addresses", () =>
    Effect.gen(function* () {
      const flow = {
        domain: "gitlab.corp.internal",
        resource: "gitlab",
        address: "100.96.0.1",
        protocol: "tcp",
        port: 443
      }
      const event = { _tag: "FlowOpened", client: "alice", to: flow, real: "10.20.0.5", bytesIn: 52 } as const
      const { reaches, text } = yield* explain("alice", "gitlab.corp.internal:443", {
        running: running({ events: [{ number: 1, at: now - 12_000, event }] })
      })
      assert.strictEqual(reaches, "yes")
      assert.strictEqual(
        text,
        `✔ alice is a client (/etc/s.yaml:4)
✔ it is connected from 198.51.100.7:4500, last handshake 1 min 35 s ago
✔ gitlab.corp.internal is of gitlab (/etc/s.yaml:7); alice may use it
✔ tcp/443 passes: tcp/443 (gitlab)
✔ gitlab.corp.internal is 10.20.0.5, by corp (10.0.0.53:53 answered 2 s ago), 30 s ago; alice is told 100.96.0.1 fd00:2021:1111:8000::1
✔ packets may be forwarded to 10.20.0.5
✔ the gateway's host has a route to 10.20.0.5 by eth1 and 10.0.0.1
✔ 10.20.0.5 is in use: the last flow began 12 s ago
alice reaches gitlab.corp.internal:443`
      )
    })
  )

  it.effect("says how to ask a DNS server by its transport", () =>
    Effect.gen(function* () {
      const address = "10.0.0.53"
      const identity = { _tag: "Name", name: "dns.corp" } as const
      const cases: ReadonlyArray<readonly [ResolverServer, string]> = [
        [{ transport: "udp", address, port: 5353 }, "-p 5353"],
        [{ transport: "tcp", address, port: 53 }, "+tcp"],
        [{ transport: "tls", address, port: 853, identity }, "-p 853 +tls"],
        [{ transport: "https", address, port: 443, identity, path: "/dns-query" }, "-p 443 +https=/dns-query"]
      ]
      for (const [server, options] of cases) {
        const resolvers = new Map([["corp", { servers: [server], order: "fallback" as const }]])
        const { steps } = yield* explain("alice", "none.corp.internal", { policy: { ...policy, resolvers } })
        assert.strictEqual(steps.at(-1)?.fix, `dig @10.0.0.53 ${options} none.corp.internal at the gateway`)
      }
    })
  )

  it.effect("ends at what stops the packet, with what to do", () =>
    Effect.gen(function* () {
      const last = (client: string, target: string, over: Partial<ExplainSources> = {}) =>
        Effect.map(explain(client, target, over), ({ reaches, steps }) => {
          assert.strictEqual(reaches, "no")
          return [steps.at(-1)?.part, steps.at(-1)?.what, steps.at(-1)?.fix] as const
        })

      assert.deepStrictEqual(yield* last("alic", "gitlab.corp.internal"), [
        "client",
        'no client is called "alic"',
        "did you mean alice?"
      ])
      assert.deepStrictEqual(yield* last("x;reboot", "gitlab.corp.internal"), [
        "client",
        'no client is called "x;reboot"',
        "sallyport client add 'x;reboot' --group …"
      ])
      assert.deepStrictEqual(yield* last("alice", "git.corp.internal:22"), [
        "ports",
        "tcp/22 does not pass: only tcp/443 (gitlab)",
        "add tcp/22 to ports: of gitlab (/etc/s.yaml:7); then: sallyport reload"
      ])
      assert.deepStrictEqual(yield* last("bob", "gitlab.corp.internal"), [
        "resource",
        "gitlab has gitlab.corp.internal and does not allow bob (/etc/s.yaml:7)",
        "add bob, or one of its groups, to allow: of gitlab; then: sallyport reload"
      ])
      assert.deepStrictEqual((yield* last("alice", "gone.corp.internal"))[0], "resource")
      assert.deepStrictEqual(yield* last("alice", "none.corp.internal"), [
        "lookup",
        "the name does not exist, asked just now: corp (10.0.0.53:53 answered 2 s ago)",
        "dig @10.0.0.53 none.corp.internal at the gateway"
      ])
      const none = { _tag: "None", why: "Network is unreachable" } as const
      assert.deepStrictEqual(
        yield* last("alice", "gitlab.corp.internal:443", {
          running: running({ routeTo: () => Effect.succeed(none) })
        }),
        [
          "route",
          "the gateway's host has no route to 10.20.0.5: Network is unreachable",
          "ip route get 10.20.0.5 at the gateway, then add the route that is missing"
        ]
      )
      const silent = {
        domain: "gitlab.corp.internal",
        resolver: "corp",
        address: "10.20.0.5",
        since: now - 180_000,
        tries: 14,
        clients: ["alice", "bob"],
        lastReplyAt: now - 300_000
      }
      assert.deepStrictEqual(
        yield* last("alice", "gitlab.corp.internal:443", { running: running({}, { silentAddresses: [silent] }) }),
        [
          "host",
          "10.20.0.5 does not answer for 3 min (14 tries, the last answer 5 min ago)",
          "nc -vz 10.20.0.5 443 at the gateway: is the host up, does it let the gateway in, is there a way back?"
        ]
      )
    })
  )

  it.effect(
    "goes by what came back of the client's last flow there, whatever its packets are answered by elsewhere",
    () =>
      Effect.gen(function* () {
        const flow = (protocol: "tcp" | "udp" | "icmp", port: number, bytesIn: number, address = "10.30.0.7") => {
          const to = { domain: null, resource: "lab", address, protocol, port }
          return { client: "alice", to, real: null, bytesIn }
        }
        const opened = (...of: Parameters<typeof flow>) => ({ _tag: "FlowOpened", ...flow(...of) }) as const
        const closed = (...of: Parameters<typeof flow>) =>
          ({ _tag: "FlowClosed", ...flow(...of), why: "unanswered", bytesOut: 180, durationMs: 63_000 }) as const
        const hostAfter = Effect.fnUntraced(function* (age: number, target: string, ...all: ReadonlyArray<Event>) {
          const events = all.map((event, i) => ({ number: i, at: now - age, event }))
          const { steps } = yield* explain("alice", target, { running: running({ events }) })
          const { fix, ok, part, what } = steps.at(-1)!
          assert.strictEqual(part, "host")
          return [ok, what, ...(fix === null ? [] : [fix.split(" at ")[0]])]
        })
        const host = (target: string, ...all: ReadonlyArray<Event>) => hostAfter(12_000, target, ...all)
        const dead = "no answer from 10.30.0.7 on tcp/22"
        const living = opened("tcp", 443, 52)

        assert.deepStrictEqual(yield* host("10.30.0.7:22", opened("tcp", 22, 0), living), [
          "no",
          `${dead} within 3 s: the last flow began 12 s ago`,
          "nc -vz 10.30.0.7 22"
        ])
        assert.deepStrictEqual(yield* host("10.30.0.7:22", living, closed("tcp", 22, 0)), [
          "no",
          `${dead}: the last flow ended 12 s ago`,
          "nc -vz 10.30.0.7 22"
        ])
        assert.deepStrictEqual(yield* host("10.30.0.7:22", closed("tcp", 22, 0), opened("tcp", 22, 40)), [
          "yes",
          "10.30.0.7 is in use: the last flow began 12 s ago"
        ])
        assert.deepStrictEqual(yield* host("10.30.0.7:443", living, closed("tcp", 22, 0)), [
          "yes",
          "10.30.0.7 is in use: the last flow began 12 s ago"
        ])
        // It has come back since, as another client knows; or nobody knows what it is like by now.
        const another = { ...opened("tcp", 22, 40), client: "bob" }
        assert.deepStrictEqual(yield* host("10.30.0.7:22", closed("tcp", 22, 0), another), [
          "yes",
          "10.30.0.7 is in use: the last flow began 12 s ago"
        ])
        assert.strictEqual((yield* host("10.30.0.7:22", another, closed("tcp", 22, 0)))[0], "no")
        assert.deepStrictEqual(yield* hostAfter(610_000, "10.30.0.7:22", closed("tcp", 22, 0)), [
          "yes",
          `${dead}: the last flow ended 10 min 10 s ago`
        ])
        // Of the host as a whole, and of those who never answer, it says nothing.
        assert.strictEqual((yield* host("10.30.0.7", living, closed("tcp", 22, 0)))[0], "yes")
        assert.strictEqual((yield* host("10.30.0.7:514/udp", opened("udp", 514, 0)))[0], "yes")
      })
  )

  it.effect("of a client that is not connected goes on to what would be", () =>
    Effect.gen(function* () {
      const { reaches, steps } = yield* explain("bob", "a.fresh.corp.internal:80", {
        running: running({ lookUp: () => Effect.succeed(["10.20.0.9"]) })
      })
      assert.strictEqual(reaches, "no")
      assert.deepStrictEqual(
        steps.map(({ ok, part }) => `${part} ${ok}`),
        [
          "client yes",
          "connection no",
          "resource yes",
          "ports yes",
          "lookup yes",
          "destination yes",
          "route yes",
          "host yes"
        ]
      )
    })
  )

  it.effect("of a client whose key of the gateway was rotated away says so, and what it needs", () =>
    Effect.gen(function* () {
      const clients = report.clients.map((row) => ({ ...row, connected: false, gatewayKey: "gone" as const }))
      const { steps } = yield* explain("alice", "gitlab.corp.internal:443", { running: running({}, { clients }) })
      const { fix, what } = steps.find(({ part }) => part === "connection")!
      assert.strictEqual(what, "it is not connected, and cannot be: the gateway's key that it had is no more")
      assert.strictEqual(fix, "give it a new file: sallyport client-config alice")
    })
  )

  it.effect("of a client with another preshared key says that its handshakes are answered, and asks for that key", () =>
    Effect.gen(function* () {
      const clients = report.clients.map((row) => ({
        ...row,
        connected: false,
        unusedAnswers: 4,
        lastHeardAt: report.at - 3_000
      }))
      const { steps } = yield* explain("alice", "gitlab.corp.internal:443", { running: running({}, { clients }) })
      const { fix, what } = steps.find(({ part }) => part === "connection")!
      assert.strictEqual(
        what,
        "it is not connected: last heard of 3 s ago; its last 4 handshakes came to nothing, though answered"
      )
      assert.match(fix ?? "", /^is its PresharedKey the one that the gateway has for it\?/)
    })
  )

  it.effect("looks a name up that nobody has asked for, at the servers of its resource", () =>
    Effect.gen(function* () {
      const asked: Array<unknown> = []
      const { steps } = yield* explain("bob", "a.fresh.corp.internal", {
        running: running({
          lookUp: (name) => {
            asked.push(name)
            return Effect.succeed(["127.0.0.1", "10.20.0.9"])
          }
        })
      })
      assert.deepStrictEqual(asked, [{ resolver: "other", domain: "a.fresh.corp.internal" }])
      assert.match(steps[4]!.what, /is 127\.0\.0\.1 10\.20\.0\.9, by other \(10\.0\.9\.53:53\), asked just now$/)
      assert.strictEqual(steps[5]!.what, "packets may be forwarded to 10.20.0.9, not to 127.0.0.1 (loopback address)")
    })
  )

  it.effect("asks anew for a name that had no address, as the gateway does when somebody wants it", () =>
    Effect.gen(function* () {
      for (const reason of ["waiting: traffic", "no DNS answer within 10 s", "the name does not exist"]) {
        const without = { state: "Unresolved", reason, addresses: [], since: now - 2_880_000 } as const
        const mappings = report.mappings.map((row) => ({ ...row, ...without }))
        const { reaches, text } = yield* explain("alice", "gitlab.corp.internal:443", {
          running: running({ lookUp: () => Effect.succeed(["10.20.0.5"]) }, { mappings })
        })
        assert.strictEqual(reaches, "yes", text)
        assert.match(text, /^✔ gitlab\.corp\.internal is 10\.20\.0\.5, by corp \(.*\), asked just now$/m)
      }
    })
  )

  it.effect("of an address, of a proxy IP and of a name outside follows what they are", () =>
    Effect.gen(function* () {
      const address = yield* explain("alice", "10.30.0.7:22")
      assert.strictEqual(address.reaches, "yes")
      const proxy = yield* explain("alice", "100.96.0.1:443")
      assert.match(proxy.text, /^✔ 100\.96\.0\.1 stands for gitlab\.corp\.internal at alice$/m)
      const nobodys = yield* explain("alice", "100.96.0.9")
      assert.match(nobodys.text, /^✘ 100\.96\.0\.9 stands for no name that alice uses$/m)
      const names = (...addresses: ReadonlyArray<string>) => ({
        running: running({ lookUp: () => Effect.succeed(addresses) })
      })
      const inside = yield* explain("alice", "nas.example.com", names("10.30.0.8"))
      assert.match(inside.text, /^✔ no resource has nas\.example\.com: the servers of system are asked/m)
      assert.strictEqual(inside.reaches, "yes")
      const untold = yield* explain("alice", "nas.example.com", names("10.99.0.8"))
      assert.match(untold.text, /^✘ 10\.99\.0\.8 is left out of the answer to alice: not a public address$/m)
      const past = yield* explain("alice", "www.example.com", names("93.184.216.34"))
      assert.match(
        past.text,
        /^✘ no resource of alice has www\.example\.com; what is public it reaches past the tunnel/m
      )
    })
  )

  it.effect("waits for silent servers once, and for the routes of all addresses together", () =>
    Effect.gen(function* () {
      const addresses = Array.from({ length: 8 }, (_, i) => `10.30.0.${i + 1}`)
      const asking = yield* Effect.forkChild(
        explain("alice", "nas.example.com", {
          running: running({
            aliasOf: () => Effect.delay(Effect.succeed(null), "6 seconds"),
            lookUp: () => Effect.delay(Effect.succeed(addresses), "6 seconds"),
            routeTo: () => Effect.delay(Effect.succeed(leads), "2 seconds")
          })
        })
      )
      yield* TestClock.adjust("8 seconds")
      const exit = asking.pollUnsafe()
      assert.isDefined(exit)
      const { reaches, steps } = yield* Fiber.join(asking)
      assert.strictEqual(reaches, "yes")
      const [first, second, third] = addresses.map((address) => `${address} by eth1 and 10.0.0.1`)
      assert.include(
        steps.map(({ what }) => what),
        `the gateway's host has a route to ${first}, ${second}, ${third}`
      )
    })
  )

  it.effect("follows an alias of other servers that leads to a name of the client's resources", () =>
    Effect.gen(function* () {
      const aliasOf: RunningGateway["aliasOf"] = (_, isMeant) =>
        Effect.succeed(["cdn.example.com", "gitlab.corp.internal"].find(isMeant) ?? null)
      const aliased = { running: running({ aliasOf }) }
      const own = yield* explain("alice", "www.example.com:443", aliased)
      assert.match(own.text, /^✔ www\.example\.com is an alias of gitlab\.corp\.internal, by the servers of system$/m)
      assert.strictEqual(own.reaches, "yes")
      assert.strictEqual((yield* explain("bob", "www.example.com:443", aliased)).reaches, "no")
    })
  )

  it.effect(
    "ends such an alias at the resource, whatever else the file says of the name, and asks for no further one",
    () =>
      Effect.gen(function* () {
        const wildcard = Result.getOrThrow(
          parseConfig(
            `endpoint: vpn.corp.internal:51820
clients: { alice: { public_key: "${key(2)}", tunnel_ipv4: 100.64.0.2 } }
resources: { all: { name: "*.corp.internal", allow: [alice] } }
records: { git.corp.internal: { a: 10.99.0.9 } }
`,
            "/etc/s.yaml"
          )
        )
        for (const end of ["git.corp.internal", "vpn.corp.internal"]) {
          let asked = 0
          const { reaches, text } = yield* explain("alice", "www.example.net", {
            policy: wildcard,
            running: running({
              aliasOf: (_, isMeant) => Effect.sync(() => (++asked < 9 && isMeant(end) ? end : null)),
              lookUp: () => Effect.succeed(["10.20.0.5"])
            })
          })
          assert.strictEqual(reaches, "yes", text)
          assert.include(text, `✔ www.example.net is an alias of ${end}, by the servers of system\n`)
          assert.include(text, `✔ ${end} is of all (/etc/s.yaml:3); alice may use it\n`)
          assert.strictEqual(asked, 1)
        }
      })
  )

  it.effect("without a gateway says what the file says, and that the rest is not known", () =>
    Effect.gen(function* () {
      const notRunning = { running: { notRunning: "no gateway is running (nothing at /run/s)" } }
      const open = yield* explain("alice", "gitlab.corp.internal:443", notRunning)
      assert.strictEqual(open.reaches, "unknown")
      assert.match(open.text, /^\? no gateway is running \(nothing at \/run\/s\): this is what the file says/m)
      assert.strictEqual((yield* explain("bob", "gitlab.corp.internal", notRunning)).reaches, "no")
    })
  )

  it.effect("at a portal knows what was authorized so far, and does not speak for the portal", () =>
    Effect.gen(function* () {
      const [alice] = policy.clients
      const grants = policy.grants.filter(({ resource }) => resource.id === "gitlab").flatMap(authorizationsOf)
      const portal = {
        kind: "portal",
        policy: { ...authorizedPolicy(grants), clients: [alice!], resolvers: new Map() }
      } as const
      const system = report.mappings.map((row) => ({ ...row, resolver: "corp" }))
      const known = yield* explain("alice", "gitlab.corp.internal:443", {
        ...portal,
        running: running({}, { mappings: system })
      })
      assert.strictEqual(known.reaches, "yes")
      const unknown = yield* explain("alice", "wiki.corp.internal", portal)
      assert.match(
        unknown.text,
        /^✘ the portal has not authorized alice for wiki\.corp\.internal at this gateway so far\n {2}→ it does when the client asks/m
      )
      assert.notInclude(unknown.text, "reload")
      for (const address of ["0.0.0.0", "::"]) {
        assert.include(
          (yield* explain("alice", address, portal)).text,
          `✘ the portal has not authorized alice for ${address} `
        )
      }
      assert.match((yield* explain("eve", "x.corp", portal)).text, /^✘ no client is called "eve" here so far$/m)
    })
  )

  it.effect("shows nothing of the network that a terminal would obey, and fits a narrow one", () =>
    Effect.gen(function* () {
      const evil = yield* explain("\u001b[2J", "gitlab.corp.internal")
      assert.notInclude(evil.text, "\u001b")
      const { text: _, ...explanation } = yield* explain("alice", "gitlab.corp.internal:443")
      const narrow = renderExplanation(explanation, { columns: 40, rows: 24, color: true })
      const plain = renderExplanation(explanation, { columns: 40, rows: 24, color: false })
      assert.isTrue(plain.split("\n").every((line) => line.length <= 40))
      assert.include(narrow, "\u001b[32m✔ alice is a client (/etc/s.yaml:4)\u001b[0m")
    })
  )
})
