import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Clients } from "../../src/access/Clients.ts"
import type { UpsertClient } from "../../src/dataplane/commands.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Client } from "../../src/model/Client.ts"

/** What is known of clients is part of the desired state; this is how to say and ask it. */
export const layer: Layer.Layer<Clients, never, DataPlane> = Layer.effect(
  Clients,
  Effect.gen(function* () {
    const { desired, send } = yield* DataPlane

    return Clients.of({
      upsert: (client, restore) => send({ ...commandOf(client), ...restore }),
      connect: ({ client, draw, local: given, remote }) =>
        Effect.suspend(() => {
          const local = given ?? desired.credentials(client, remote) ?? draw()
          return Effect.as(send({ ...commandOf(client), ice: { local, remote, role: "controlled" } }), local)
        }),
      remove: (client) => send({ _tag: "RemoveClient", client }),
      list: Effect.sync(() => desired.clients())
    })
  })
)

const commandOf = ({ id, presharedKey, publicKey, tunnel4, tunnel6 }: Client): UpsertClient => ({
  _tag: "UpsertClient",
  client: id,
  publicKey,
  presharedKey,
  tunnel4,
  tunnel6
})
