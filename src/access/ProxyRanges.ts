import * as Context from "effect/Context"

/** Whether an address text may be a proxy IP. */
export class ProxyRanges extends Context.Service<ProxyRanges, (address: string) => boolean>()(
  "sallyport/access/ProxyRanges"
) {}
