/** What a gateway says about a name inside the tunnel (docs/portal-protocol.md, "Control messages in the tunnel"). */
import * as Schema from "effect/Schema"
import { payloadReader } from "../../control/firezone/inTunnel.ts"

export interface DomainStatus {
  readonly active: boolean
  readonly resource: string
  readonly domain: string
}

/** `undefined` for what is none. An unknown status means inactive. */
export const readDomainStatus = (payload: Uint8Array): DomainStatus | undefined => {
  const told = read(payload)
  return told === undefined
    ? undefined
    : { active: told.status === "Active", resource: told.resource, domain: told.domain }
}

const read = payloadReader(Schema.Struct({ status: Schema.String, resource: Schema.String, domain: Schema.String }))
