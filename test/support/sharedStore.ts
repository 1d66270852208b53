/** Gateways of a site, as far as its store knows them. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Context, Effect, Layer, type Scope } from "effect"
import * as Live from "../../layers/postgres/SharedStore.ts"
import type { PostgresAddress } from "../../src/config/postgresAddress.ts"
import {
  type Cursor,
  type MappingChange,
  type SharedPage,
  SharedStore,
  type SignIn
} from "../../src/shared/SharedStore.ts"
import type { SlotSpan, SlotZones } from "../../src/shared/slotZones.ts"
import type { Postgres } from "./postgres.ts"

export type Store = SharedStore["Service"]

export const tenBlocks: SlotSpan = { from: 0, to: 10 }

/** Where there is only one: its zones, and so many blocks. */
export const onlySite = (
  exact: SlotSpan,
  own: (gateway: number) => SlotSpan,
  block: (no: number) => SlotSpan,
  count: number
): SlotZones => ({
  slice: () => [{ from: 0, to: 2 ** 31 }],
  siteOf: () => 0,
  exact: () => exact,
  own,
  block,
  blocks: () => ({ from: 0, to: count })
})

/** Without TLS. */
export const addressOf = (database: string, ...servers: ReadonlyArray<Postgres>): PostgresAddress => ({
  hosts: servers.map(({ port }) => ({ host: "127.0.0.1", port })),
  user: "sallyport",
  database,
  tls: false,
  authorities: null,
  passwordFile: null
})

export const live = (address: PostgresAddress): Layer.Layer<SharedStore> =>
  Live.layer(address).pipe(Layer.provide(NodeServices.layer))

/** One gateway's, whether it is connected or not. */
export const makeStore = (layer: Layer.Layer<SharedStore>): Effect.Effect<Store, never, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(layer)), (built) => Context.get(built, SharedStore))

/** One gateway's, connected. */
export const openStore = (layer: Layer.Layer<SharedStore>): Effect.Effect<Store, never, Scope.Scope> =>
  Effect.tap(makeStore(layer), isConnected)

/** Waits until it is. */
export const isConnected = (store: Pick<Store, "status">): Effect.Effect<void> =>
  until(Effect.map(store.status, ({ _tag }) => _tag === "Connected"))

/** In real time, whatever the clock of the test does. */
export const until = Effect.fnUntraced(function* <E>(condition: Effect.Effect<boolean, E>) {
  const end = performance.now() + 20_000
  while (!(yield* condition)) {
    if (performance.now() > end) return yield* Effect.die(new Error("it has not come about within 20 s"))
    yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 20)))
  }
})

const mapping = (slot: number, domain: string, client: string) => ({ client, slot, domain })

export const put = (slot: number, domain = `n${slot}.example`, client = "alice") =>
  ({
    _tag: "Put",
    mapping: { ...mapping(slot, domain, client), resource: "gitlab", lastUsedAt: 1_700_000_000_000.25 }
  }) satisfies MappingChange

export const released = (slot: number, domain = `n${slot}.example`, client = "alice") =>
  ({ _tag: "Released", mapping: mapping(slot, domain, client) }) satisfies MappingChange

export const signIn = (id: string, more: Partial<SignIn> = {}): SignIn => ({
  id,
  gateway: null,
  blocks: [],
  directory: [],
  cursor: null,
  ...more
})

/** All pages after the cursor, as the gateway with this number reads them. */
export const readOn = Effect.fnUntraced(function* (store: Store, after: Cursor | null, gateway = 0) {
  const pages: Array<SharedPage> = []
  do pages.push(yield* store.read(gateway, pages.at(-1)?.cursor ?? after))
  while (!pages.at(-1)!.last)
  return {
    ...pages.at(-1)!,
    changes: pages.flatMap(({ changes }) => changes),
    directory: pages.flatMap(({ directory }) => directory),
    anew: pages[0]!.anew,
    pages: pages.length
  }
})
