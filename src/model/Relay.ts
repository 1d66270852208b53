import * as Schema from "effect/Schema"

/** Names a TURN server; from a portal its UUID, the same for both families. */
export const RelayId = Schema.String.pipe(Schema.brand("RelayId"))
export type RelayId = typeof RelayId.Type
