/** A client in the words of generation C at the development portal's v2 endpoint. */
import { assert, describe, it } from "@effect/vitest"
import type { Command } from "../../../src/dataplane/commands.ts"
import type { Action } from "../../../src/lab/client/actions.ts"
import { ClientSession } from "../../../src/lab/client/ClientSession.ts"
import { decodeClientMessage } from "../../../src/lab/client/portalMessages.ts"
import { uuidOf } from "../../../src/lab/devPortal/identity.ts"
import { ClientId } from "../../../src/model/Client.ts"
import { portalWorld } from "../../support/portalWorld.ts"

const net = uuidOf("resource", "net")
const candidate = "candidate:1 1 udp 2130706431 198.51.100.1 52625 typ host"

/** A client that has joined and asked for its network, and a gateway that has authorized it. */
const connected = () => {
  const world = portalWorld()
  const gateway = world.connect("gateway", { endpoint: 2 })
  const peer = world.connect("client", { endpoint: 2, userAgent: "Debian/12 headless-client/1.6.0 (x86_64; 6.1.0)" })
  const session = new ClientSession({ generation: "C" })
  const said: Array<string> = []
  const commands: Array<Command> = []
  const perform = (actions: ReadonlyArray<Action>): void => {
    for (const action of actions) {
      if (action._tag === "Command") commands.push(action.command)
      if (action._tag !== "Send") continue
      said.push(action.message.event)
      peer.send(action.message.event, action.message.payload)
    }
    listen()
  }
  const listen = (): void => {
    for (const { event, payload } of peer.inbox.splice(0)) {
      const decoded = decodeClientMessage(event, payload)
      if (decoded._tag === "Message") perform(session.handle(decoded.message, world.now()))
      else assert.strictEqual(event, "phx_reply", JSON.stringify(decoded))
    }
  }
  perform(session.joined())
  const { ref } = gateway.take("create_authorization")
  gateway.send("authorization_created", { ref })
  listen()
  return { world, gateway, peer, session, said, commands, perform, listen, id: ClientId.make(gateway.id) }
}

describe("a client of generation C", () => {
  it("says what it can do, and asks for an authorization", () => {
    const { commands, id, said, world } = connected()

    assert.deepStrictEqual(said, ["set_snownet_capabilities", "request_authorization"])
    assert.isTrue(commands.some((command) => command._tag === "UpsertClient" && command.client === id))
    assert.isTrue(commands.some((command) => command._tag === "SetResource" && command.resource === net))
    assert.notInclude(world.logs.join("\n"), "unknown or malformed")
  })

  it("tells its candidates to one gateway, and takes them back, in the newer words", () => {
    const { gateway, id, perform, session, world } = connected()

    perform(session.notice({ _tag: "CandidateFound", epoch: 1, client: id, candidate }, world.now()))
    perform(session.notice({ _tag: "CandidateLost", epoch: 1, client: id, candidate }, world.now()))

    assert.deepStrictEqual(gateway.take("ice_candidates").candidates, [candidate])
    assert.deepStrictEqual(gateway.take("invalidate_ice_candidates").candidates, [candidate])
  })

  it.each([
    ["ice_candidates", "invalidate_ice_candidates"],
    ["gateway_ice_candidates", "invalidate_gateway_ice_candidates"],
    ["new_gateway_ice_candidates", "invalidate_gateway_ice_candidates"]
  ])("understands a gateway's candidates by the names of every portal: %s, %s", (found, lost) => {
    const { commands, id, perform, session, world } = connected()
    for (const event of [found, lost]) {
      const decoded = decodeClientMessage(event, { gateway_id: id, candidates: [candidate] })
      if (decoded._tag === "Message") perform(session.handle(decoded.message, world.now()))
    }
    assert.deepStrictEqual(commands.slice(-2), [
      { _tag: "AddCandidate", client: id, candidate },
      { _tag: "RemoveCandidate", client: id, candidate }
    ])
  })
})
