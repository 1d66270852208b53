/** A portal that hands out gateways by the versions that both announce, and what ours announces. */
import { assert, describe, it } from "@effect/vitest"
import { clientVersions, defaultVersion } from "../../../src/control/firezone/announcedVersion.ts"
import { uuidOf } from "../../../src/lab/devPortal/identity.ts"
import { portalFile, portalWorld } from "../../support/portalWorld.ts"

const net = uuidOf("resource", "net")
const gating = `${portalFile}version_gate: true\n`

/** What the client is told about a resource that the gateway with that version serves. */
const outcome = (client: string, gateway: string, file = gating): string => {
  const world = portalWorld(file)
  const serving = world.connect("gateway", { userAgent: `Debian/12 gateway/${gateway} (x86_64; 6.1.0)` })
  const asking = world.connect("client", { userAgent: `Debian/12 headless-client/${client} (x86_64; 6.1.0)` })
  asking.send("create_flow", { resource_id: net })
  const given = serving.inbox.some(({ event }) => event === "authorize_flow")
  return given ? "given" : asking.take("flow_creation_failed").reason
}

describe("a portal that gates by version", () => {
  it.each(["1.4.0", clientVersions.B, "1.5.11", clientVersions.C, "1.6.3"])(
    "gives the gateway that this one announces to be to a client %s",
    (client) => {
      assert.strictEqual(outcome(client, defaultVersion), "given")
    }
  )

  it("gives a gateway to clients of its own minor version and of the two beside it", () => {
    const table = ["1.3.7", "1.4.4", "1.5.8", "1.6.0", "1.7.0"].map((client) => [
      client,
      outcome(client, "1.4.19"),
      outcome(client, "1.5.2"),
      outcome(client, "1.6.0")
    ])
    const mismatch = "version_mismatch"
    assert.deepStrictEqual(table, [
      ["1.3.7", "given", mismatch, mismatch],
      ["1.4.4", "given", "given", mismatch],
      ["1.5.8", "given", "given", "given"],
      ["1.6.0", mismatch, "given", "given"],
      ["1.7.0", mismatch, mismatch, "given"]
    ])
  })

  it("gives none of another major version, and says offline where there is no gateway at all", () => {
    assert.strictEqual(outcome("2.5.0", "1.5.2"), "version_mismatch")
    const world = portalWorld(gating)
    const client = world.connect("client")
    client.send("create_flow", { resource_id: net })
    assert.strictEqual(client.take("flow_creation_failed").reason, "offline")
  })
})

describe("a portal that does not", () => {
  it("gives every gateway to everybody", () => {
    assert.strictEqual(outcome("1.3.7", "1.6.0", portalFile), "given")
  })
})
