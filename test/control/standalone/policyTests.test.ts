import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { parseConfig } from "../../../src/config/parseConfig.ts"
import { runPolicyTests } from "../../../src/control/standalone/policyTests.ts"
import { key } from "../../config/fixtures.ts"

const now = Date.UTC(2026, 10, 30)

/** As many aliases in a row as may be; whoever gets there by a search domain has followed one more. */
const aliases = Array.from({ length: 16 }, (_, i) => `hop${i}.home.arpa: { cname: hop${i + 1}.home.arpa }`).join(", ")

const file = (tests: string, more = "") => `endpoint: vpn.example.com:51820
resolvers: { corp: [udp://10.0.0.53] }
clients:
  alice: { public_key: "${key(1)}", groups: [eng] }
  bob: { public_key: "${key(2)}" }
  carol: { public_key: "${key(3)}" }
resources:
  gitlab: { name: gitlab.corp.internal, ports: [tcp/22, tcp/443], resolver: corp, allow: [eng] }
  admin: { name: "*.corp.internal", ports: [icmp], resolver: corp, allow: [alice] }
  old: { name: old.corp.internal, resolver: corp, allow: [bob], expires: 2026-11-01 }
  vault: { name: vault.corp.internal, ports: [tcp/22], resolver: corp, allow: [eng], expires: 2026-11-01 }
  lab: { cidr: 10.20.0.0/16, allow: [bob] }
  web: { internet: true, ports: [tcp/443], allow: [carol] }
records: { git.corp.internal: { cname: gitlab.corp.internal },
  nas.home.arpa: { a: 10.20.0.5 }, text.home.arpa: { txt: hello },
  ${aliases} }
tests:
${tests}
zones: { secret.example.net: { resolver: corp, allow: [bob] } }
search: [home.arpa]
${more}`

const files = {
  blocked: (domain: string) => (domain === "ads.example.com" ? domain : undefined),
  hosts: (domain: string) => (domain === "printer.example.com" ? ["192.168.7.9"] : undefined),
  hostOf: () => undefined
}

const test = (client: string, reach: string, expect: string) =>
  `  - { client: ${client}, reach: "${reach}", expect: ${expect} }`

const found = (client: string, reach: string, expect = "allowed", more = "") => {
  const config = Result.getOrThrow(parseConfig(file(test(client, reach, expect), more), "a.yaml"))
  const [outcome] = runPolicyTests(config, files, now)
  assert.isDefined(outcome)
  return outcome
}

describe("a test of the file", () => {
  it.each([
    ["alice", "gitlab.corp.internal:443"],
    ["alice", "git.corp.internal:443"],
    ["alice", "gitlab.corp.internal/icmp"],
    ["alice", "wiki.corp.internal"],
    ["bob", "10.20.3.4:53/udp"],
    ["bob", "nas.home.arpa:445"],
    ["carol", "www.example.com:443"],
    ["carol", "93.184.216.34:443"],
    ["bob", "100.64.0.1:53/udp"]
  ])("holds where %s may reach %s", (client, reach) => {
    assert.isNull(found(client, reach).fix, found(client, reach).found)
    assert.isNotNull(found(client, reach, "denied").fix)
  })

  it.each([
    ["alice", "gitlab.corp.internal:80", "tcp/80 does not pass: only tcp/22 tcp/443 (gitlab), icmp (admin)"],
    [
      "bob",
      "gitlab.corp.internal:443",
      "gitlab has gitlab.corp.internal and does not allow bob, nor does 1 other (a.yaml:8)"
    ],
    ["bob", "gitlub.corp.internal", "admin has gitlub.corp.internal and does not allow bob (a.yaml:9)"],
    ["bob", "old.corp.internal", "the right of bob to old expired 2026-11-01T00:00:00.000Z (a.yaml:10)"],
    ["alice", "10.20.3.4", "lab has 10.20.3.4 and does not allow alice (a.yaml:12)"],
    ["alice", "172.16.0.1", "no resource of alice has 172.16.0.1"],
    ["alice", "www.example.com", "no resource of alice has www.example.com; what is public it reaches past the tunnel"],
    ["carol", "www.example.com:22", "tcp/22 does not pass: only tcp/443 (web)"],
    ["carol", "10.9.9.9:443", "nothing is forwarded to 10.9.9.9: not a public address"],
    ["carol", "ads.example.com", "ads.example.com is on a block list"],
    ["carol", "x.corp.internal", "admin has x.corp.internal and does not allow carol"],
    [
      "alice",
      "db.secret.example.net",
      "db.secret.example.net is private by the file, no resource has it, and alice may not ask for names around it"
    ],
    ["bob", "text.home.arpa", "the records of text.home.arpa have no address"],
    [
      "alice",
      "printer.example.com",
      "printer.example.com is 192.168.7.9 by the gateway's hosts file, in no network of alice"
    ],
    ["bob", "hop0", "too many aliases follow each other"],
    ["alice", "100.64.0.1:22", "the gateway's own 100.64.0.1 answers DNS and ping only"],
    ["alice", "100.64.7.7", "100.64.7.7 is in the tunnel"]
  ])("says why %s does not reach %s", (client, reach, why) => {
    const outcome = found(client, reach)
    assert.include(outcome.found, `${client} does not reach ${reach}: ${why}`)
    assert.match(outcome.fix ?? "", /or write expect: denied$/)
    assert.isNull(found(client, reach, "denied").fix)
  })

  it("says so where the file refuses other names", () => {
    const { found: what } = found("alice", "www.example.com", "allowed", "other_names: refuse")
    assert.include(what, "no resource has www.example.com, and other names are refused (other_names)")
  })

  it("knows what holds no longer only because it has expired", () => {
    assert.isTrue(found("bob", "old.corp.internal").hasExpired)
    assert.isFalse(found("bob", "gitlab.corp.internal").hasExpired)
    // What is left covers the name, too, and lets less through.
    assert.isTrue(found("alice", "vault.corp.internal:22").hasExpired)
    assert.isFalse(found("alice", "vault.corp.internal:23").hasExpired)
  })

  it("says that it cannot tell, whatever is expected, where only other servers know the name", () => {
    for (const expect of ["allowed", "denied"]) {
      assert.match(found("bob", "www.example.com:443", expect).found, /hangs on addresses that only .* system know/)
      assert.isNotNull(found("bob", "www.example.com:443", expect).fix)
    }
  })

  it("tells a misspelt name by those that the client may reach, and by no others", () => {
    const twice = file(test("alice", "gitlab.corp.interna", "allowed"))
    const [outcome] = runPolicyTests(Result.getOrThrow(parseConfig(twice, "a.yaml")), files, now)
    assert.match(outcome?.fix ?? "", /^did you mean gitlab\.corp\.internal\? Else add a resource/)
    assert.notInclude(found("bob", "gitlab.corp.interna").fix ?? "", "did you mean")
  })

  it("costs no look at what other clients may reach", () => {
    /** How often it is looked at who may reach a resource, by so many tests that hold and that do not. */
    const looks = (times: number) => {
      const tests = Array.from({ length: times }, () => ["denied", "allowed"]).flat()
      const text = file(tests.map((expect) => test("alice", "www.example.com", expect)).join("\n"))
      const config = Result.getOrThrow(parseConfig(text, "a.yaml"))
      let count = 0
      const grants = config.grants.map(({ clients, ...right }) => ({
        ...right,
        get clients() {
          count++
          return clients
        }
      }))
      const outcomes = [...runPolicyTests({ ...config, grants }, files, now)]
      assert.deepStrictEqual(
        outcomes.map(({ fix }) => (fix === null ? "denied" : "allowed")),
        tests
      )
      return count
    }
    assert.isAbove(looks(1), 0)
    assert.strictEqual(looks(20), looks(1))
  })

  it.each([
    [
      test("alic", "gitlab.corp.internal", "allowed"),
      /^a\.yaml:18:15: no client is called "alic" — did you mean alice\?/
    ],
    [
      test("alice", "gitlab:99999", "allowed"),
      /^a\.yaml:18:29: reach: "gitlab:99999": ports are 1 to 65535 — write for/
    ],
    [test("alice", "*.corp.internal", "allowed"), /^a\.yaml:18:29: reach: "\*\.corp\.internal" is neither a name nor/],
    [test("alice", "10.20.0.0/16", "allowed"), /^a\.yaml:18:29: reach: "10\.20\.0\.0\/16" is neither a name nor/],
    [test("alice", "x.corp:22/icmp", "allowed"), /^a\.yaml:18:29: reach: "x\.corp:22\/icmp": icmp has no ports/],
    [test("alice", "100.96.0.9", "allowed"), /^a\.yaml:18:29: 100\.96\.0\.9 stands for a name, .* — write the name$/],
    [
      test("alice", "x.corp", "alowed"),
      /^a\.yaml:18:\d+: expect: "alowed" is not a choice here — did you mean allowed\?/
    ],
    ["  - { client: alice, expect: allowed }", /^a\.yaml:18:5: reach is missing in tests\.0 — write for example reach:/]
  ])("that makes no sense is a mistake with its place: %s", (line, message) => {
    const parsed = parseConfig(file(line), "a.yaml")
    assert.match(Result.isFailure(parsed) ? parsed.failure.message : "", message)
  })
})
