import * as Context from "effect/Context"
import { defaultRanges, proxyMembership } from "../model/ranges.ts"

/** Whether an address text may be a proxy IP. The composition root provides the configured ranges. */
export const ProxyRanges = Context.Reference<(address: string) => boolean>("sallyport/access/ProxyRanges", {
  defaultValue: () => proxyMembership([defaultRanges.proxy4, defaultRanges.proxy6])
})
