import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { decodeMessage } from "../../../src/control/firezone/messages.ts"
import { type Action, Session } from "../../../src/control/firezone/session.ts"
import type { Client } from "../../../src/model/Client.ts"
import { Mutation, mutate } from "../../support/mutate.ts"
import * as portal from "../../support/portalMessages.ts"

const handle = (session: Session, event: string, payload: unknown, now = 0): ReadonlyArray<Action> => {
  const decoded = decodeMessage(event, payload)
  assert(decoded._tag === "Message", `${event}: ${JSON.stringify(decoded)}`)
  return session.handle(decoded.message, now)
}

const started = (): Session => {
  const session = new Session()
  handle(session, "init", portal.init())
  return session
}

const tags = (actions: ReadonlyArray<Action>) => actions.map((action) => action._tag)
const ours = { username: "mine", password: "m".repeat(22) }

const replies = (actions: ReadonlyArray<Action>) =>
  actions.flatMap((action) => {
    const reply = action._tag === "Accept" ? action.reply(ours) : action._tag === "Send" ? action.message : null
    return reply === null ? [] : [reply]
  })

const accepts = (actions: ReadonlyArray<Action>) =>
  actions.flatMap((action) => (action._tag === "Accept" ? [action.request] : []))

const clientOne: Client = {
  id: portal.uuid(1) as never,
  publicKey: portal.key(1),
  presharedKey: portal.key(101),
  tunnel4: "100.64.1.1",
  tunnel6: "fd00:2021:1111::1:1"
}
const withOne = (): Session => {
  const session = started()
  session.accept(clientOne)
  return session
}

describe("a portal session", () => {
  it("init: own addresses and relays; without the key nothing is revoked, with it the list is reconciled", () => {
    assert.deepStrictEqual(tags(handle(new Session(), "init", portal.init())), ["Configure", "SetRelays"])
    const authorizations = [{ client_id: portal.uuid(1), resource_id: portal.uuid(10), expires_at: 60 }]
    const actions = handle(new Session(), "init", portal.init({ authorizations }))
    assert.deepStrictEqual(tags(actions), ["Configure", "SetRelays", "Reconcile"])
    assert.deepInclude(actions[2], {
      authorizations: [{ client: portal.uuid(1) as never, resource: portal.uuid(10) as never, expiresAt: 60_000 }]
    })
  })

  it("relays: a repeated init only adds and replaces, relays_presence removes", () => {
    const session = started()
    const relaysOf = (actions: ReadonlyArray<Action>) =>
      actions.flatMap((action) =>
        action._tag === "SetRelays" ? action.relays.map((r) => `${r.id} ${r.username}`) : []
      )
    const both = handle(session, "init", portal.init({ relays: [portal.turn(21, "192.0.2.2:3478")] }))
    assert.deepStrictEqual(relaysOf(both), [`${portal.uuid(20)} 1893456000:salt`, `${portal.uuid(21)} 1893456000:salt`])
    const presence = {
      disconnected_ids: [portal.uuid(20)],
      connected: [portal.turn(21, "192.0.2.2:3478", { username: "n" })]
    }
    assert.deepStrictEqual(relaysOf(handle(session, "relays_presence", presence)), [`${portal.uuid(21)} n`])
    assert.deepStrictEqual(tags(handle(session, "relays_presence", presence)), [])
  })

  it("request_connection: accepted with the name's proxies, answered with our credentials and no addresses", () => {
    const actions = handle(started(), "request_connection", portal.requestConnection())
    const [request] = accepts(actions)
    assert.deepStrictEqual(request?.client, clientOne)
    assert.deepStrictEqual(request?.remoteCredentials, portal.ice("c"))
    assert.isNull(request!.credentials)
    assert.deepStrictEqual(request?.name, {
      domain: "app.corp.example",
      proxyIps: ["100.96.0.1", "fd00:2021:1111:8000::1"]
    })
    assert.deepStrictEqual(replies(actions), [
      {
        event: "connection_ready",
        payload: {
          ref: "ref-1",
          gateway_payload: { ConnectionAccepted: { ice_parameters: ours, domain_response: null } }
        }
      }
    ])
  })

  it("request_connection for a network: accepted without a name", () => {
    const request = portal.withDomain(portal.requestConnection(1, { resource: portal.cidrResource() }), null)
    const actions = handle(started(), "request_connection", request)
    assert.isNull(accepts(actions)[0]!.name)
    assert.lengthOf(replies(actions), 1)
  })

  it("request_connection's relays do not replace those known: their credentials are drawn anew each time", () => {
    const session = started()
    const again = portal.requestConnection(1, { relays: [portal.turn(20, "192.0.2.1:3478", { username: "drawn" })] })
    assert.deepStrictEqual(tags(handle(session, "request_connection", again)), ["Accept"])
    const more = portal.requestConnection(2, { relays: [portal.turn(21, "192.0.2.2:3478")] })
    assert.deepStrictEqual(tags(handle(session, "request_connection", more)), ["SetRelays", "Accept"])
  })

  it("a client of 1.0 gets an empty list at once, and one warning for all of them", () => {
    const session = started()
    const asking = portal.withDomain(portal.requestConnection(), "app.corp.example")
    const first = handle(session, "request_connection", asking)
    assert.deepStrictEqual(tags(first), ["Accept", "Warn"])
    assert.isNull(accepts(first)[0]!.name)
    assert.deepInclude(replies(first)[0]!.payload as object, {
      gateway_payload: {
        ConnectionAccepted: { ice_parameters: ours, domain_response: { domain: "app.corp.example", address: [] } }
      }
    })
    const more = portal.allowAccess(1, { payload: "db.corp.example" })
    session.accept(clientOne)
    const second = handle(session, "allow_access", more)
    assert.deepStrictEqual(tags(second), ["Accept"])
    assert.deepStrictEqual(replies(second), [
      {
        event: "connection_ready",
        payload: {
          ref: "allow-1",
          gateway_payload: { ResourceAccepted: { domain_response: { domain: "db.corp.example", address: [] } } }
        }
      }
    ])
  })

  it("allow_access of a known client: accepted as that client, without a reply, its connection untouched", () => {
    const actions = handle(withOne(), "allow_access", portal.allowAccess())
    const [request] = accepts(actions)
    assert.strictEqual(request?.client, clientOne)
    assert.isUndefined(request?.remoteCredentials)
    assert.deepStrictEqual(replies(actions), [])
  })

  it("allow_access of a client that was dismissed waits for its next connection", () => {
    const session = withOne()
    session.dismiss(clientOne.id)
    assert.deepStrictEqual(handle(session, "allow_access", portal.allowAccess()), [])
    assert.lengthOf(accepts(handle(session, "request_connection", portal.requestConnection())), 2)
  })

  it("allow_access before its request_connection is granted right after it, once", () => {
    const session = started()
    assert.deepStrictEqual(handle(session, "allow_access", portal.allowAccess()), [])
    assert.deepStrictEqual(handle(session, "allow_access", portal.allowAccess()), [])
    const early = portal.allowAccess(1, { payload: "x.corp.example", ref: "q" })
    assert.deepStrictEqual(
      replies(handle(session, "allow_access", early)).map((r) => r.event),
      ["connection_ready"]
    )
    const actions = handle(session, "request_connection", portal.requestConnection())
    assert.deepStrictEqual(
      accepts(actions).map((r) => r.name?.domain),
      ["app.corp.example", "db.corp.example", undefined]
    )
    assert.lengthOf(replies(actions), 1)
    assert.deepStrictEqual(accepts(handle(session, "request_connection", portal.requestConnection())).length, 1)
  })

  it("what was allowed early follows rejects, updates, expiries and lists until it is granted", () => {
    const granted = (change: (session: Session) => void) => {
      const session = started()
      handle(session, "allow_access", portal.allowAccess())
      change(session)
      return accepts(handle(session, "request_connection", portal.requestConnection()))[1]
    }
    const pair = { client_id: portal.uuid(1), resource_id: portal.uuid(10) }
    assert.isDefined(granted(() => {}))
    assert.isUndefined(granted((s) => handle(s, "reject_access", pair)))
    assert.isUndefined(granted((s) => handle(s, "init", portal.init({ authorizations: [] }))))
    const updated = granted((s) =>
      handle(s, "resource_updated", portal.dnsResource(10, { filters: [{ protocol: "icmp" }] }))
    )
    assert.deepStrictEqual(updated?.resource.filters, [{ protocol: "icmp" }])
    const later = granted((s) => handle(s, "access_authorization_expiry_updated", { ...pair, expires_at: 7 }))
    assert.strictEqual(later?.expiresAt, 7_000)
  })

  it("early requests are bounded", () => {
    const session = started()
    for (let n = 0; n < 3_000; n++) {
      handle(session, "allow_access", portal.allowAccess(1, { payload: { name: `n${n}.corp.example`, proxy_ips: [] } }))
    }
    assert.lengthOf(accepts(handle(session, "request_connection", portal.requestConnection())), 1_025)
  })

  it("authorize_flow: both sides' credentials as given; answered with flow_authorized, the renamed one with its name", () => {
    for (const [event, payload, answer] of [
      ["authorize_flow", portal.authorizeFlow(), "flow_authorized"],
      ["create_authorization", portal.createAuthorization(), "authorization_created"]
    ] as const) {
      const actions = handle(started(), event, payload)
      assert.deepStrictEqual(tags(actions), ["Accept"])
      const [request] = accepts(actions)
      assert.deepStrictEqual(request?.credentials, portal.ice("g"))
      assert.deepStrictEqual(request?.remoteCredentials, portal.ice("c"))
      assert.isNull(request!.name)
      assert.deepStrictEqual(replies(actions), [{ event: answer, payload: { ref: "ref-1" } }])
    }
  })

  it("without relays every request is answered all the same, and relays are asked for every 10 s at most", () => {
    const session = new Session()
    const first = handle(session, "init", portal.init({ relays: [] }), 0)
    assert.deepStrictEqual(replies(first), [{ event: "no_relays", payload: {} }])
    const events = (now: number) =>
      replies(handle(session, "authorize_flow", portal.authorizeFlow(), now)).map((r) => r.event)
    assert.deepStrictEqual(events(1), ["flow_authorized"])
    assert.deepStrictEqual(events(10_000), ["flow_authorized", "no_relays"])
    assert.deepStrictEqual(events(10_001), ["flow_authorized"])
    assert.deepStrictEqual(session.relayLost(0, 20_000).length, 1)
    assert.deepStrictEqual(session.relayLost(0, 20_001), [])
    assert.deepStrictEqual(session.relayLost(1, 40_000), [])
  })

  it("candidates go to an accepted client until it is dismissed; for an unknown one they are ignored", () => {
    const payload = { client_id: portal.uuid(1), candidates: [portal.candidate(1)] }
    const session = started()
    for (const event of ["ice_candidates", "invalidate_ice_candidates"]) {
      assert.deepStrictEqual(handle(session, event, payload), [])
      const tag = event === "ice_candidates" ? "AddCandidate" : "RemoveCandidate"
      session.accept(clientOne)
      assert.deepStrictEqual(handle(session, event, payload), [
        { _tag: tag, client: clientOne.id, candidate: portal.candidate(1) }
      ])
      session.dismiss(clientOne.id)
      assert.deepStrictEqual(handle(session, event, payload), [])
    }
  })

  it("reject_access, resource_updated, expiry and disconnect become their action", () => {
    const session = started()
    const pair = { client_id: portal.uuid(1), resource_id: portal.uuid(10) }
    assert.deepStrictEqual(tags(handle(session, "reject_access", pair)), ["Revoke"])
    assert.deepStrictEqual(tags(handle(session, "resource_updated", portal.cidrResource())), ["UpdateResource"])
    assert.deepStrictEqual(handle(session, "access_authorization_expiry_updated", { ...pair, expires_at: 60 }), [
      {
        _tag: "SetExpiry",
        grant: { client: portal.uuid(1) as never, resource: portal.uuid(10) as never, expiresAt: 60_000 }
      }
    ])
    assert.deepStrictEqual(handle(session, "disconnect", { reason: "token_expired" }), [
      { _tag: "End", reason: "token_expired" }
    ])
  })

  it.prop(
    "any order of any mutated messages: every request that can be read is answered, nothing grows",
    [
      Schema.Array(
        Schema.Struct({
          which: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: portal.everyMessage.length - 1 })),
          mutations: Schema.Array(Mutation).check(Schema.isMaxLength(2))
        })
      )
    ],
    ([steps]) => {
      const session = new Session()
      for (const { mutations, which } of steps) {
        const [event, good] = portal.everyMessage[which]!
        const decoded = decodeMessage(event, mutations.reduce<unknown>(mutate, good))
        if (decoded._tag !== "Message") continue
        const actions = session.handle(decoded.message, 0)
        if (decoded.message._tag === "AuthorizeFlow" || decoded.message._tag === "RequestConnection") {
          assert.isAtLeast(replies(actions).length, 1)
        }
        for (const action of actions) if (action._tag === "SetRelays") assert.isAtMost(action.relays.length, 32)
      }
    },
    { arbitrary: { runs: 500 } }
  )
})
