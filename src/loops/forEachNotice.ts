import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { DataPlane } from "../dataplane/DataPlane.ts"
import type { Notice } from "../dataplane/notices.ts"
import { makeOutlive } from "./outlive.ts"

type Notices = { readonly [N in Notice as N["_tag"]]: N }

/** What is done about each kind of notice; kinds left out are ignored. */
export type NoticeHandlers = {
  readonly [Tag in keyof Notices]?: (notice: Notices[Tag]) => Effect.Effect<unknown>
}

/**
 * Handles every notice of the data plane from now on, one after the other, for as long as the scope lives; `afterwards` is
 * done after those that came together. A bug costs its notice only (`makeOutlive`).
 */
export const forEachNotice = Effect.fnUntraced(function* (
  loop: string,
  handlers: NoticeHandlers,
  afterwards: Effect.Effect<unknown> = Effect.void
): Effect.fn.Return<void, never, DataPlane | Scope.Scope> {
  const notices = yield* (yield* DataPlane).notices
  const outlive = makeOutlive(loop)
  const handle = <Tag extends keyof Notices>(tag: Tag, notice: Notices[Tag]) => {
    const handler = handlers[tag]
    return handler === undefined ? Effect.void : outlive(Effect.suspend(() => handler(notice)))
  }
  yield* Queue.takeAll(notices).pipe(
    Effect.flatMap((batch) => Effect.forEach(batch, (notice) => handle(notice._tag, notice), { discard: true })),
    Effect.andThen(outlive(afterwards)),
    Effect.forever,
    Effect.forkScoped
  )
})
