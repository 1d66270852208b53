/** Tells of clients whose tunnel addresses are in a part of the ranges that the host uses, once each. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Clients } from "../../src/access/Clients.ts"
import { ForeignNetworks } from "../../src/host/ForeignNetworks.ts"
import { strandedClients } from "../../src/host/strandedClients.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"

const lookEvery = "2 seconds"
/** Lines at a time; further clients are counted. `status` names all. */
const maxNamed = 10

export const layer: Layer.Layer<never, never, Clients | ForeignNetworks> = Layer.effectDiscard(
  Effect.gen(function* () {
    const clients = yield* Clients
    const foreign = yield* ForeignNetworks
    let told = new Set<string>()
    const look = Effect.gen(function* () {
      const networks = foreign.list()
      const stranded = networks.length === 0 ? [] : strandedClients(networks, yield* clients.list)
      const keyOf = ({ address, client }: (typeof stranded)[number]): string => `${client} ${address}`
      const fresh = stranded.filter((one) => !told.has(keyOf(one)))
      told = new Set(stranded.map(keyOf))
      for (const { address, client, network } of fresh.slice(0, maxNamed)) {
        const who = networks.find((one) => one.network === network)?.who ?? "the host"
        yield* Effect.logWarning(
          `the client ${client} gets no replies at ${address}: ${who} takes them; give the client another address, or the gateway a host of its own`
        )
      }
      if (fresh.length > maxNamed) yield* Effect.logWarning(`so do ${fresh.length - maxNamed} more clients`)
    })
    yield* Effect.forkScoped(superviseForever("ForeignNetworks.clients", Effect.andThen(look, Effect.sleep(lookEvery))))
  })
)
