import * as Schema from "effect/Schema"
import type { SocketAddress } from "./SocketAddress.ts"

/** Names a TURN server; from a portal its UUID, the same for both families. */
export const RelayId = Schema.String.pipe(Schema.brand("RelayId"))
export type RelayId = typeof RelayId.Type

/** A TURN server (RFC 8656). */
export interface Relay {
  readonly id: RelayId
  /** One per family at most. */
  readonly addresses: ReadonlyArray<SocketAddress>
  readonly username: string
  readonly password: string
}
