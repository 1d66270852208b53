import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { ServiceNotice } from "./serviceNotice.ts"

/** Who has started the program as a service, and wants to be told how it is with it; `null`: nobody does. */
export const ServiceManager = Context.Reference<{
  /** Yields whether it was told; that it cannot be is said in the log. */
  readonly tell: (notice: ServiceNotice) => Effect.Effect<boolean>
  /** It has been told that we are ready. */
  readonly isReady: () => boolean
  /** It takes us for dead when it is not told for so long that we are `alive`; `null`: it never does. */
  readonly watchdogMs: number | null
} | null>("sallyport/host/ServiceManager", { defaultValue: () => null })

/** The same, with the manager told while it runs: to who has not heard that we are ready it is a part of the start. */
export const tellingReload = <A, E, R>(reload: Effect.Effect<A, E, R>): Effect.Effect<Effect.Effect<A, E, R>> =>
  Effect.map(ServiceManager, (manager) =>
    manager === null
      ? reload
      : Effect.suspend(() =>
          manager.isReady()
            ? Effect.acquireUseRelease(
                manager.tell({ state: "reloading" }),
                () => reload,
                () => manager.tell({ state: "ready" })
              )
            : reload
        )
  )
