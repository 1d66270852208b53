/** A site whose address keepalived moves, with stock clients that go on: its gateways are killed in turn. */
import { Effect, Schedule } from "effect"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { startVisitor } from "../../src/lab/demo/company.ts"
import { LabError } from "../../src/lab/demo/Lab.ts"
import { type Gateway, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { startKeepalived } from "./keepalived.ts"
import { dig, inner } from "./lab.ts"
import { type SiteClient, type SiteGateway, startPings, startSite, until, watchAddress } from "./site.ts"

export interface TakeOver {
  /** From the kill until the other gateway had the address that clients dial, in milliseconds. */
  readonly movedMs: number
  /** From the kill to the next reply, of each client. */
  readonly repliedMs: Readonly<Record<SiteClient, number>>
}

const other = { gateway: "otherGateway", otherGateway: "gateway" } as const

/** It gets the address next, and knows where all clients are. */
const isSuccessorOf =
  ({ site: before }: StatusReport) =>
  ({ clients, site }: StatusReport): boolean =>
    site?.virtualAddress?.state === "BACKUP" && clients.every(({ owner }) => owner === before?.gateway)

/** Of one of them the clock is a minute behind. */
const environment = {
  gateway: {},
  otherGateway: {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent("const now = Date.now; Date.now = () => now() - 60_000")}`
  }
}

/** Both gateways run, one has the address, and both clients (one behind a router that translates) are answered ten times a second. */
export const startTakeOvers = Effect.gen(function* () {
  const site = yield* startSite
  const name = "app.corp.internal"
  yield* site.nameServer.set({ name, a: [inner.origin.v4], ttl: 60 })
  const both = { concurrency: 2 } as const
  const start = (gateway: SiteGateway) => site.start(gateway, environment[gateway])
  const [first, second] = yield* Effect.all([start("gateway"), start("otherGateway")], both)
  const gateways: Record<SiteGateway, Gateway> = { gateway: first, otherGateway: second }
  const addressAt = {
    gateway: yield* watchAddress("gateway"),
    otherGateway: yield* watchAddress("otherGateway")
  }
  const keepalived = [yield* startKeepalived("gateway")]
  yield* addressAt.gateway(0)
  keepalived.push(yield* startKeepalived("otherGateway"))

  const connect = Effect.fnUntraced(function* (host: SiteClient) {
    yield* site.connect(host, first.publicKey)
    const proxyOf = Effect.map(dig(host, tunnelAddresses.gateway.v4, name, "A"), ([address = ""]) => address)
    const proxy = yield* proxyOf
    const replyAfter = yield* startPings(host, proxy)
    yield* replyAfter(0)
    return { host, proxy, proxyOf, replyAfter, visitor: yield* startVisitor(host) }
  })
  const [home, open] = yield* Effect.all([connect("client"), connect("openClient")], both)

  let active: SiteGateway = "gateway"
  let opened = 0
  const loses = Effect.fnUntraced(function* <R>(cause: (active: SiteGateway) => Effect.Effect<unknown, LabError, R>) {
    const [ends, follows] = [active, other[active]]
    yield* cause(ends)
    const since = Date.now()
    active = follows
    const moved = yield* addressAt[follows](since)
    const [atHome, inTheOpen] = yield* Effect.all([home.replyAfter(since), open.replyAfter(since)], both)
    return {
      movedMs: moved - since,
      repliedMs: { client: atHome - since, openClient: inTheOpen - since }
    } satisfies TakeOver
  })
  return {
    ...site,
    home,
    open,
    gateways,
    keepalived,
    /** An upload and a download of each client. Yields what tells, and ends them, which of them have not gone on. */
    connections: Effect.gen(function* () {
      const id = `${++opened}`
      const ends = [home, open]
      for (const { proxy, visitor } of ends) {
        yield* visitor.openUpload(id, proxy)
        yield* visitor.openDrip(id, proxy)
      }
      return Effect.map(
        Effect.forEach(ends, ({ host, visitor }) =>
          Effect.gen(function* () {
            const { lines } = yield* visitor.readDrip(id)
            const goesOn = visitor.readDrip(id).pipe(
              Effect.filterOrFail(
                (drip) => drip.lines > lines && drip.ended === null,
                ({ ended }) => new LabError({ message: ended ?? "silent" })
              ),
              Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 100 })
            )
            const download = yield* Effect.result(goesOn)
            yield* visitor.closeDrip(id)
            const upload = yield* Effect.result(
              Effect.filterOrFail(
                visitor.closeUpload(id),
                ({ bytes, sent, sha256 }) => bytes > 0 && sha256 === sent,
                () => new LabError({ message: "not all has arrived" })
              )
            )
            return Object.entries({ download, upload }).flatMap(([what, { _tag, ...result }]) =>
              _tag === "Success" ? [] : [`${what} at ${host}: ${JSON.stringify(result)}`]
            )
          })
        ),
        (lost) => lost.flat()
      )
    }),
    /** The gateway that has the address. */
    active: Effect.sync(() => active),
    /** What takes the address from the gateway that has it is done to it. */
    loses,
    kill: loses((host) => gateways[host].process.kill),
    /** The other one than the one that has the address follows it from now on. */
    successor: Effect.suspend(() =>
      Effect.flatMap(gateways[active].status, (report) => until(gateways[other[active]], isSuccessorOf(report)))
    ),
    /** The one that was killed is there again. */
    restart: Effect.suspend(() => {
      const again = other[active]
      return Effect.map(start(again), (gateway) => void (gateways[again] = gateway))
    })
  }
})
