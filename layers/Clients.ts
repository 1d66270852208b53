import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type ClientRestore, Clients } from "../src/access/Clients.ts"
import { DataPlane } from "../src/dataplane/DataPlane.ts"
import type { Client, ClientId } from "../src/model/Client.ts"

export const layer: Layer.Layer<Clients, never, DataPlane> = Layer.effect(
  Clients,
  Effect.gen(function* () {
    const dataPlane = yield* DataPlane
    const told = new Map<ClientId, Client>()

    return Clients.of({
      upsert: Effect.fnUntraced(function* (client, restore) {
        const before = told.get(client.id)
        if (restore === undefined && before !== undefined && same(before, client)) return
        told.set(client.id, client)
        const { endpoint, lastTai64n, keepalive, initiate } = restore ?? unknown
        yield* dataPlane.send({
          _tag: "UpsertClient",
          client: client.id,
          publicKey: client.publicKey,
          presharedKey: client.presharedKey,
          tunnel4: client.tunnel4,
          tunnel6: client.tunnel6,
          endpoint,
          lastTai64n,
          keepalive,
          initiate
        })
      }),
      remove: Effect.fnUntraced(function* (client) {
        if (told.delete(client)) yield* dataPlane.send({ _tag: "RemoveClient", client })
      }),
      list: Effect.sync(() => [...told.values()])
    })
  })
)

const unknown: ClientRestore = { endpoint: null, lastTai64n: null, keepalive: 0, initiate: false }

const same = (a: Client, b: Client): boolean =>
  a.publicKey === b.publicKey && a.presharedKey === b.presharedKey && a.tunnel4 === b.tunnel4 && a.tunnel6 === b.tunnel6
