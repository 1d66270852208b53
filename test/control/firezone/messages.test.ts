import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { decodeMessage, type PortalMessage } from "../../../src/control/firezone/messages.ts"
import { Mutation, mutate } from "../../support/mutate.ts"
import * as portal from "../../support/portalMessages.ts"

const decoded = <T extends PortalMessage["_tag"]>(
  event: string,
  payload: unknown,
  tag: T
): Extract<PortalMessage, { _tag: T }> => {
  const result = decodeMessage(event, payload)
  assert(result._tag === "Message", `${event}: ${JSON.stringify(result)}`)
  assert.strictEqual(result.message._tag, tag)
  return result.message as Extract<PortalMessage, { _tag: T }>
}

const malformed = (event: string, payload: unknown): string => {
  const result = decodeMessage(event, payload)
  assert(result._tag === "Malformed", `${event} was read: ${JSON.stringify(result)}`)
  return result.problem
}

describe("the portal's messages", () => {
  it("init: addresses, relays merged by id with one address per family, no authorizations unless listed", () => {
    const init = decoded("init", portal.init(), "Init")
    assert.deepStrictEqual([init.tunnel4, init.tunnel6], ["100.64.0.1", "fd00:2021:1111::1"])
    assert.deepStrictEqual(init.relays, [
      {
        id: portal.uuid(20) as never,
        addresses: [
          { address: "192.0.2.1", port: 3478 },
          { address: "2001:db8::1", port: 3478 }
        ],
        username: "1893456000:salt",
        password: "cGFzc3dvcmQ"
      }
    ])
    assert.isNull(init.authorizations)
    assert.deepStrictEqual(decoded("init", portal.init({ authorizations: [] }), "Init").authorizations, [])
  })

  it("init without relays, with relays of an unknown kind and with STUN servers", () => {
    const { relays: _, ...bare } = portal.init()
    assert.deepStrictEqual(decoded("init", bare, "Init").relays, [])
    const odd = [
      { id: portal.uuid(22), type: "quic", addr: "x" },
      null,
      { id: portal.uuid(23), type: "stun", addr: "1.2.3.4:3478" }
    ]
    const result = decodeMessage("init", portal.init({ relays: [...odd, ...portal.relays] }))
    assert(result._tag === "Message" && result.message._tag === "Init")
    assert.strictEqual(result.message.relays.length, 1)
    assert.strictEqual(result.skipped, 2)
  })

  it("a later address of the same family and later credentials of a relay replace the earlier", () => {
    const relays = [...portal.relays, portal.turn(20, "192.0.2.9:3479", { username: "n", password: "p" })]
    const [relay] = decoded("init", portal.init({ relays }), "Init").relays
    assert.deepStrictEqual(
      relay?.addresses.map((a) => `${a.address} ${a.port}`),
      ["2001:db8::1 3478", "192.0.2.9 3479"]
    )
    assert.deepStrictEqual([relay?.username, relay?.password], ["n", "p"])
  })

  it("init with 10,000 authorizations in seconds becomes 10,000 in milliseconds", () => {
    const authorizations = Array.from({ length: 10_000 }, (_, n) => ({
      client_id: portal.uuid(n),
      resource_id: portal.uuid(n + 1),
      expires_at: n === 0 ? null : n
    }))
    const init = decoded("init", portal.init({ authorizations }), "Init")
    assert.strictEqual(init.authorizations?.length, 10_000)
    assert.isNull(init.authorizations![0]!.expiresAt)
    assert.strictEqual(init.authorizations![9_999]!.expiresAt, 9_999_000)
    malformed("init", portal.init({ authorizations: Array.from({ length: 50_001 }, () => authorizations[1]) }))
  })

  it("one bad authorization in the list spoils the list: half of it must not revoke the rest", () => {
    malformed("init", portal.init({ authorizations: [{ client_id: "?", resource_id: portal.uuid(1), expires_at: 1 }] }))
  })

  it("request_connection: client, credentials, name with proxies; a text, nothing or null instead of a name", () => {
    const request = decoded("request_connection", portal.requestConnection(), "RequestConnection")
    assert.deepStrictEqual(request.client, {
      id: portal.uuid(1) as never,
      publicKey: portal.key(1),
      presharedKey: portal.key(101),
      tunnel4: "100.64.1.1",
      tunnel6: "fd00:2021:1111::1:1"
    })
    assert.deepStrictEqual(request.remote, portal.ice("c"))
    assert.deepStrictEqual(request.name, {
      _tag: "Assigned",
      domain: "app.corp.example",
      proxyIps: ["100.96.0.1", "fd00:2021:1111:8000::1"]
    })
    assert.isNull(request.expiresAt)
    const asking = portal.withDomain(portal.requestConnection(), "app.corp.example")
    assert.deepStrictEqual(decoded("request_connection", asking, "RequestConnection").name, {
      _tag: "Question",
      domain: "app.corp.example"
    })
    const none = portal.withDomain(portal.requestConnection(), null)
    assert.isNull(decoded("request_connection", none, "RequestConnection").name)
    const absent = portal.withDomain(portal.requestConnection(), undefined)
    assert.isNull(decoded("request_connection", JSON.parse(JSON.stringify(absent)), "RequestConnection").name)
  })

  it("allow_access: with and without the addresses of the client", () => {
    const { client_ipv4: _4, client_ipv6: _6, ...old } = portal.allowAccess()
    for (const payload of [portal.allowAccess(), old]) {
      const allow = decoded("allow_access", payload, "AllowAccess")
      assert.strictEqual(allow.client, portal.uuid(1) as never)
      assert.strictEqual(allow.expiresAt, 1_893_456_000_000)
      assert.deepStrictEqual(allow.name, { _tag: "Assigned", domain: "db.corp.example", proxyIps: ["100.96.0.2"] })
    }
    assert.isNull(decoded("allow_access", portal.allowAccess(1, { payload: null }), "AllowAccess").name)
  })

  it("authorize_flow and create_authorization: the same but for their generation", () => {
    const flow = decoded("authorize_flow", portal.authorizeFlow(), "AuthorizeFlow")
    const { generation, ...rest } = decoded("create_authorization", portal.createAuthorization(), "AuthorizeFlow")
    assert.deepStrictEqual([flow.generation, generation], ["B", "C"])
    assert.deepStrictEqual({ ...rest, generation: "B" }, flow)
    assert.deepStrictEqual(flow.local, portal.ice("g"))
    assert.deepStrictEqual(flow.remote, portal.ice("c"))
    const { expires_at: _, ...forever } = portal.authorizeFlow()
    assert.isNull(decoded("authorize_flow", forever, "AuthorizeFlow").expiresAt)
  })

  it("resources: filters with missing bounds, bare addresses, host bits, trailing dots, the Internet with more keys", () => {
    const resource = (r: object) => decoded("resource_updated", r, "ResourceUpdated").resource
    const filters = [
      { protocol: "tcp" },
      { protocol: "udp", port_range_start: 53, port_range_end: null },
      { protocol: "icmp" }
    ]
    assert.deepStrictEqual(resource(portal.dnsResource(10, { filters })).filters, [
      { protocol: "tcp", from: 0, to: 65_535 },
      { protocol: "udp", from: 53, to: 65_535 },
      { protocol: "icmp" }
    ])
    assert.deepInclude(resource(portal.cidrResource(11, { address: "10.1.2.3" })), { network: "10.1.2.3/32" })
    assert.deepInclude(resource(portal.cidrResource(11, { address: "10.1.2.3/8" })), { network: "10.0.0.0/8" })
    assert.deepInclude(resource(portal.cidrResource(11, { address: "2001:DB8::1/32" })), { network: "2001:db8::/32" })
    assert.deepInclude(resource(portal.dnsResource(10, { address: "App.Corp.Example." })), {
      pattern: "app.corp.example"
    })
    const internet = resource({
      type: "internet",
      id: portal.uuid(3),
      name: "Internet",
      gateway_groups: [{}],
      ip_stack: 1
    })
    assert.deepStrictEqual(internet, { kind: "internet", id: portal.uuid(3) as never, filters: [], allow: [] })
  })

  it("a filter that cannot be read spoils its message: a resource must not open wider than the portal said", () => {
    for (const filter of [{ protocol: "gre" }, { protocol: "tcp", port_range_start: 9, port_range_end: 8 }, {}, null]) {
      malformed("resource_updated", portal.dnsResource(10, { filters: [filter] }))
      malformed("authorize_flow", portal.authorizeFlow(1, { resource: portal.dnsResource(10, { filters: [filter] }) }))
    }
  })

  it("candidates: what is no text is skipped, the rest is kept", () => {
    const candidates = [portal.candidate(1), null, 7, "line\nbreak", "x".repeat(513), portal.candidate(2)]
    const result = decodeMessage("ice_candidates", { client_id: portal.uuid(1), candidates })
    assert(result._tag === "Message" && result.message._tag === "Candidates")
    assert.deepStrictEqual(result.message.candidates, [portal.candidate(1), portal.candidate(2)])
    assert.strictEqual(result.skipped, 4)
  })

  it("ids are compared in lower case", () => {
    const reject = { client_id: "ABCDEF00-0000-4000-8000-000000000001", resource_id: portal.uuid(10).toUpperCase() }
    const { client } = decoded("reject_access", reject, "RejectAccess")
    assert.strictEqual(client, "abcdef00-0000-4000-8000-000000000001" as never)
  })

  it("unknown events are unknown, also those named like a property of every object", () => {
    for (const event of ["resource_created", "", "constructor", "__proto__", "toString"]) {
      assert.strictEqual(decodeMessage(event, {})._tag, "Unknown")
    }
  })

  it("the problem names the place and never what stood there", () => {
    const secret = "s3cr3t".repeat(9_000)
    const payload = portal.authorizeFlow(1, { gateway_ice_credentials: { username: "u", password: secret } })
    const problem = malformed("authorize_flow", payload)
    assert.include(problem, "gateway_ice_credentials.password")
    assert.notInclude(problem, "s3cr3t")
  })

  it.prop(
    "any mutation of any message is read, skipped or unknown, and no prototype changes",
    [
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: portal.everyMessage.length - 1 })),
      Schema.Array(Mutation)
    ],
    ([which, mutations]) => {
      const [event, good] = portal.everyMessage[which]!
      const payload = mutations.reduce<unknown>(mutate, good)
      const result = decodeMessage(event, payload)
      assert.include(["Message", "Malformed"], result._tag)
      if (result._tag === "Malformed") assert.isAtMost(result.problem.length, 200)
      assert.isUndefined(({} as { polluted?: unknown }).polluted)
    },
    { arbitrary: { runs: 2_000 } }
  )
})
