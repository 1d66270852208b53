import * as Context from "effect/Context"
import type { DestinationOptIn } from "../model/Resource.ts"

/**
 * The addresses of an answer that policy refuses for a resource with these opt-ins. The data plane refuses them per
 * session; this only decides when a mapping has nothing left (`DestinationRefused`). Refuses nothing unless the
 * composition root provides the real one.
 */
export const AnswerPolicy = Context.Reference<
  (addresses: ReadonlyArray<string>, allow: ReadonlyArray<DestinationOptIn>) => ReadonlyArray<string>
>("sallyport/resolution/AnswerPolicy", { defaultValue: () => () => [] })
