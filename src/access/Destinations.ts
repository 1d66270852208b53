import * as Context from "effect/Context"
import type { DestinationPolicy } from "../nat/destinationPolicy.ts"

/** Where addresses may lead, as the services judge it that meet them first; the packet path judges each session again. */
export class Destinations extends Context.Service<Destinations, DestinationPolicy>()("sallyport/access/Destinations") {}
