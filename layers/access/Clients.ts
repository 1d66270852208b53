import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type ClientRestore, Clients } from "../../src/access/Clients.ts"
import type { IceParameters } from "../../src/dataplane/commands.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { IceCredentials } from "../../src/model/AccessRequest.ts"
import type { Client, ClientId } from "../../src/model/Client.ts"

/** `ice`: the connection that the client has or had; `null` where it has a plain endpoint. */
interface Told {
  readonly client: Client
  readonly ice: IceParameters | null
  readonly lost: boolean
}

export const layer: Layer.Layer<Clients, never, DataPlane> = Layer.effect(
  Clients,
  Effect.gen(function* () {
    const dataPlane = yield* DataPlane
    const told = new Map<ClientId, Told>()

    const tell = (client: Client, ice: IceParameters | null, restore: ClientRestore) => {
      told.set(client.id, { client, ice, lost: false })
      return dataPlane.send({
        _tag: "UpsertClient",
        client: client.id,
        publicKey: client.publicKey,
        presharedKey: client.presharedKey,
        tunnel4: client.tunnel4,
        tunnel6: client.tunnel6,
        ...restore,
        ...(ice === null ? {} : { ice })
      })
    }

    return Clients.of({
      upsert: (client, restore) =>
        Effect.suspend(() => {
          const before = told.get(client.id)
          if (restore === undefined && before !== undefined && same(before.client, client)) return Effect.void
          return tell(client, null, restore ?? unknown)
        }),
      connect: ({ client, draw, local, remote }) =>
        Effect.suspend(() => {
          const before = told.get(client.id)
          const kept = before !== undefined && keeps(before, client, remote, local) ? before.ice : null
          const ice = kept ?? { local: local ?? draw(), remote, role: "controlled" as const }
          return Effect.as(tell(client, ice, unknown), ice.local)
        }),
      lost: (client) =>
        Effect.sync(() => {
          const before = told.get(client)
          if (before !== undefined) told.set(client, { ...before, lost: true })
        }),
      find: (client) => Effect.sync(() => told.get(client)?.client),
      remove: (client) =>
        Effect.suspend(() => (told.delete(client) ? dataPlane.send({ _tag: "RemoveClient", client }) : Effect.void)),
      list: Effect.sync(() => Array.from(told.values(), ({ client }) => client)),
      count: Effect.sync(() => told.size)
    })
  })
)

const unknown: ClientRestore = { endpoint: null, lastTai64n: null, keepalive: 0, initiate: false }

const same = (a: Client, b: Client): boolean =>
  a.publicKey === b.publicKey && a.presharedKey === b.presharedKey && a.tunnel4 === b.tunnel4 && a.tunnel6 === b.tunnel6

const keeps = (before: Told, client: Client, remote: IceCredentials, local: IceCredentials | null): boolean =>
  !before.lost &&
  before.ice !== null &&
  before.client.publicKey === client.publicKey &&
  sameCredentials(before.ice.remote, remote) &&
  (local === null ? before.client.presharedKey === client.presharedKey : sameCredentials(before.ice.local, local))

const sameCredentials = (a: IceCredentials, b: IceCredentials): boolean =>
  a.username === b.username && a.password === b.password
