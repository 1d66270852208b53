import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { ClientId } from "../model/Client.ts"
import type { Activity } from "./Activity.ts"
import type { Command } from "./commands.ts"
import type { DataPlaneError } from "./DataPlaneError.ts"
import type { DesiredState } from "./DesiredState.ts"
import type { TwoPlaces } from "./KeyPlaces.ts"
import type { ClientState, Notice } from "./notices.ts"

/**
 * Commands in, notices out. Keeps the desired state and replays it to a new worker, so that nobody else has to think about
 * a worker's death.
 */
export class DataPlane extends Context.Service<
  DataPlane,
  {
    /**
     * Starts the packet worker and waits until it runs. Until then commands are only recorded, so that it begins with
     * the whole desired state.
     */
    readonly start: Effect.Effect<void>
    /**
     * Decided, recorded and posted; never waits for the worker. Who is told of it afterwards may use it at once: the packet
     * that the answer leads to does not come before it, but for what is sent `InBulk`.
     */
    readonly send: (command: Command) => Effect.Effect<void>
    /**
     * Waits until the worker has carried out what was sent; where it dies meanwhile, its successor has no flows. Yields
     * whether that is so: `false` after 3 s.
     */
    readonly settled: Effect.Effect<boolean>
    /** Every notice of the current worker from now on. Bounded; the oldest are dropped and counted. */
    readonly notices: Effect.Effect<Queue.Dequeue<Notice>, never, Scope.Scope>
    /** What is decided so far about clients. */
    readonly desired: Pick<DesiredState, "clients" | "credentials" | "gatewayKeys">
    /** The last state reported per client. */
    readonly clients: Effect.Effect<ReadonlyMap<ClientId, ClientState>>
    /** What clients carry, who else knocks, and which addresses do not answer. */
    readonly activity: Effect.Effect<Pick<Activity, "clients" | "strangers" | "silentAddresses">>
    /** The places that use the client's key by turns; `null`: there is one device, as far as can be seen. */
    readonly twoPlaces: (client: ClientId) => Effect.Effect<TwoPlaces | null>
    /** By name; see `counters.ts`. They survive a worker's death. */
    readonly counters: Effect.Effect<Readonly<Record<string, number>>>
    /** Waits, and fails when no worker can go on. */
    readonly failure: Effect.Effect<never, DataPlaneError>
    /**
     * Makes the TUN device again in the place of one that is gone: same name, same descriptor, same offloads. The worker
     * goes on with it, all sessions live.
     */
    readonly remakeDevice: Effect.Effect<void, DataPlaneError>
    /** How many workers have been started, the current one included. */
    readonly epoch: Effect.Effect<number>
    /** The UDP port in use, of both families. */
    readonly port: number
  }
>()("sallyport/dataplane/DataPlane") {}

/**
 * Commands of a change that makes thousands, and of which nobody is told before it is done: many of them go to the worker as
 * one message, which costs a fraction, at the end of main's turn.
 */
export const InBulk = Context.Reference<boolean>("sallyport/dataplane/InBulk", { defaultValue: () => false })
