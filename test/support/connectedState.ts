/** What the worker says of a client of `engineWorld` that has just connected. */
import type { ClientState } from "../../src/dataplane/notices.ts"
import { clientId, upsertClient } from "./engineWorld.ts"

export const connectedState = (n: number): ClientState => ({
  _tag: "ClientState",
  epoch: 1,
  client: clientId(n),
  publicKey: upsertClient(n).publicKey,
  connected: true,
  gatewayKey: null,
  endpoint: null,
  lastTai64n: null,
  local: null,
  sentTick: 0,
  behindMs: 0,
  handshakeAt: null
})
