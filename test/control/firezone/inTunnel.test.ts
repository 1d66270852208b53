import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { domainStatus, readAssignedIps } from "../../../src/control/firezone/inTunnel.ts"
import { ResourceId } from "../../../src/model/Resource.ts"
import { uuid } from "../../support/portalMessages.ts"

const bytes = (value: unknown) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value))
const good = { resource: uuid(0xabc).toUpperCase(), domain: "App.Corp.example", proxy_ips: ["100.96.0.1"] }

describe("in-tunnel control", () => {
  it("AssignedIps is read, and answered with name and resource as the client wrote them", () => {
    const read = readAssignedIps(bytes({ ...good, more: 1 }))
    assert.deepInclude(read, { resource: ResourceId.make(uuid(0xabc)), proxyIps: ["100.96.0.1"] })
    assert.deepStrictEqual(JSON.parse(new TextDecoder().decode(domainStatus("Active", read!.echo))), {
      status: "Active",
      resource: good.resource,
      domain: "App.Corp.example"
    })
  })

  it("what is none is not read", () => {
    const proxies = Array.from({ length: 65 }, () => "100.96.0.1")
    for (const value of [
      "",
      "{",
      "null",
      "[]",
      { ...good, resource: "x" },
      { ...good, proxy_ips: proxies },
      { ...good, domain: 7 }
    ]) {
      assert.isUndefined(readAssignedIps(bytes(value)))
    }
    assert.isUndefined(readAssignedIps(Uint8Array.of(0xff, 0xfe)))
    assert.isUndefined(readAssignedIps(bytes({ ...good, padding: "x".repeat(1_300) })))
  })

  it.prop("any bytes are safe", [Schema.Uint8Array], ([payload]) => {
    assert.isUndefined(readAssignedIps(payload))
  })
})
