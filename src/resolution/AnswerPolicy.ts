import * as Context from "effect/Context"
import type { DestinationOptIn } from "../model/Resource.ts"

/**
 * The addresses of an answer that policy refuses for a resource with these opt-ins: they never reach the mapping, and a
 * mapping that has nothing left says so (`DestinationRefused`). The data plane judges each new session again.
 */
export class AnswerPolicy extends Context.Service<
  AnswerPolicy,
  (addresses: ReadonlyArray<string>, allow: ReadonlyArray<DestinationOptIn>) => ReadonlyArray<string>
>()("sallyport/resolution/AnswerPolicy") {}
