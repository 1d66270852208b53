import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { withPolicy } from "../../src/config/sitePolicy.ts"
import { example, key } from "./fixtures.ts"

const own = Result.getOrThrow(
  parseConfig(
    `endpoint: here.example.com:5000
listen: 5000
network: { tunnel_ipv4: 100.80.0.0/16, mtu: 1400 }
state_dir: /srv/sallyport
log_level: warn
clients: { mine: { public_key: "${key(5)}" } }
search: [mine.example.com]
`,
    "own.yaml"
  )
)

describe("a site's policy", () => {
  it("is the whole configuration of a gateway whose own file is the same one", () => {
    const file = `${example}other_names: refuse\nsearch: [corp.internal]\nlog_level: debug\n`
    const parsed = Result.getOrThrow(parseConfig(file, "a"))

    assert.deepStrictEqual(Result.getOrThrow(withPolicy(parsed, file, "a")), parsed)
  })

  it("takes the place of all that the file says of clients and names, and of nothing that is the gateway's own", () => {
    const policy = `endpoint: there.example.com:6000
listen: 6000
state_dir: /srv/other
log_level: debug
clients: { alice: { public_key: "${key(1)}" } }
`
    const config = Result.getOrThrow(withPolicy(own, policy, "policy 7 of the site"))

    const { endpoint, listenPort, logLevel, network, stateDir } = own
    assert.deepInclude(config, { endpoint, listenPort, logLevel, network, stateDir, search: [] })
    assert.deepStrictEqual(
      config.clients.map(({ id, tunnel4 }): ReadonlyArray<string> => [id, tunnel4.split(".").slice(0, 2).join(".")]),
      [["alice", "100.80"]]
    )
  })

  for (const [what, policy, problem] of [
    ["the gateway's network", `clients: { a: { public_key: "${key(1)}", tunnel_ipv4: 100.64.0.7 } }`, "100.80.0.0/16"],
    [
      "the gateway's endpoint",
      `resources: { lab: { name: here.example.com, allow: [a] } }\nclients: { a: { public_key: "${key(1)}" } }`,
      "is the endpoint"
    ],
    ["the version of the gateway", "later: true", "later"]
  ] as const) {
    it(`that does not fit ${what} is refused, with the place in it`, () => {
      const text = `endpoint: there.example.com:6000\nnetwork: { tunnel_ipv4: 100.64.0.0/16 }\n${policy}\n`
      const refused = withPolicy(own, text, "policy 7 of the site")

      const message = Result.isFailure(refused) ? refused.failure.message : ""
      assert.match(message, /^policy 7 of the site:3:/)
      assert.include(message, problem)
    })
  }
})
