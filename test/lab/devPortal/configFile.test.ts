import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { parsePortalConfig } from "../../../src/lab/devPortal/configFile.ts"
import { uuidOf } from "../../../src/lab/devPortal/identity.ts"
import { portalConfig, portalFile } from "../../support/portalWorld.ts"

const problem = (file: string) => {
  const result = parsePortalConfig(file, "portal.yaml")
  assert.isTrue(Result.isFailure(result))
  return Result.isFailure(result) ? result.failure.message : ""
}

describe("the portal's file", () => {
  it("names devices' groups, resources with defaults, and relays", () => {
    const config = portalConfig()
    assert.deepStrictEqual(config.listen, { host: "127.0.0.1", port: 8081 })
    assert.deepStrictEqual(
      config.resources.map(({ name, kind, address, gateways, allow }) => [name, kind, address, gateways, allow]),
      [
        ["gitlab", "dns", "*.corp.internal", ["office"], ["alice", "bob"]],
        ["net", "cidr", "10.20.0.0/16", ["office"], ["alice", "bob"]],
        ["all", "internet", null, ["lab"], ["bob"]]
      ]
    )
    assert.deepStrictEqual(config.relays, [
      {
        id: uuidOf("relay", "one"),
        name: "one",
        addresses: [
          { address: "192.0.2.1", port: 3478 },
          { address: "2001:db8::1", port: 3478 }
        ],
        credentials: { username: "u", password: "p" }
      }
    ])
    assert.deepStrictEqual([config.expiresAfter, config.reconcile, config.upstreamDns], [3600, true, ["192.0.2.53:53"]])
  })

  it.each([
    ["  all: { internet: true", "  all: { internet: true, cidr: 10.0.0.0/8", /must have one of name, cidr/],
    ["gateways: [lab]", "gateways: [lap]", /"lap" is none of the gateways — did you mean "?lab/],
    ["token: bob-secret", "token: alice-secret", /this token is used twice/],
    ["token: bob-secret", "token: bob secret", /token: not a token/],
    ["username: u, password: p", "username: u", /needs username and password, or secret/],
    ['"[2001:db8::1]:3478"', '"192.0.2.7:3478"', /two addresses of one family/],
    ['"[2001:db8::1]:3478"', '"turn.example.com:3478"', /is not an address with a port/],
    ["expires_after: 3600", "expires_after: 0", /is not a time in seconds/],
    ["listen: 127.0.0.1:8081", "lissen: 127.0.0.1:8081", /unknown key "lissen" — did you mean "?listen/],
    ["listen: 127.0.0.1:8081", "", /listen is missing — write for example listen: 127.0.0.1:8081/]
  ])("says what is wrong with %s written %s", (right, wrong, expected) => {
    assert.include(portalFile, right)
    assert.match(problem(portalFile.replace(right, wrong)), expected)
  })

  it.prop("is read or refused with a place, whatever it says", [Schema.String], ([text]) => {
    const result = parsePortalConfig(text, "portal.yaml")
    if (Result.isFailure(result)) assert.match(result.failure.message, /^portal\.yaml:\d+:\d+: /)
  })
})
