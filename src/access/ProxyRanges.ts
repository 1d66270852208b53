import * as Context from "effect/Context"
import type { Words } from "../packet/address.ts"

/** Whether an address may be a proxy IP. */
export class ProxyRanges extends Context.Service<ProxyRanges, (address: Readonly<Words>) => boolean>()(
  "sallyport/access/ProxyRanges"
) {}
