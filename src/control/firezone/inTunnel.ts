/** What client and gateway tell each other inside the tunnel (docs/portal-protocol.md, "Names and proxy IPs"). */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaParser from "effect/SchemaParser"
import type { SendControl } from "../../dataplane/commands.ts"
import type { ClientId } from "../../model/Client.ts"
import { type ResourceId, ResourceId as ResourceIds } from "../../model/Resource.ts"
import * as wire from "./wire.ts"

export const controlEvent = { AssignedIps: 0, DomainStatus: 1, Goodbye: 2 } as const

/** A client's name with the proxy IPs it has given to it. */
export interface AssignedIps {
  readonly resource: ResourceId
  /** As the client wrote both: they go back unchanged. */
  readonly echo: { readonly resource: string; readonly domain: string }
  readonly proxyIps: ReadonlyArray<string>
}

/** An inner packet has 1280 bytes at most. */
const maxPayload = 1_280

/** Reads payloads of such JSON; `undefined` for whatever is none. */
export const payloadReader = <S extends Schema.ConstraintDecoder<unknown>>(schema: S) => {
  const decode = SchemaParser.decodeUnknownResult(Schema.fromJsonString(schema))
  return (payload: Uint8Array): S["Type"] | undefined => {
    if (payload.length > maxPayload) return undefined
    try {
      return Result.getOrUndefined(decode(utf8.decode(payload)))
    } catch {
      // Not UTF-8.
      return undefined
    }
  }
}

/** `undefined` for whatever is none. */
export const readAssignedIps = (payload: Uint8Array): AssignedIps | undefined => {
  const assigned = read(payload)
  if (assigned === undefined) return undefined
  const { domain, proxy_ips: proxyIps, resource } = assigned
  return { resource: ResourceIds.make(resource.toLowerCase()), echo: { resource, domain }, proxyIps }
}

export const domainStatus = (status: "Active" | "Inactive", echo: AssignedIps["echo"]): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ status, resource: echo.resource, domain: echo.domain }))

export const goodbye = (client: ClientId): SendControl => ({
  _tag: "SendControl",
  client,
  event: controlEvent.Goodbye,
  payload: new Uint8Array(0)
})

const utf8 = new TextDecoder("utf-8", { fatal: true })
const read = payloadReader(wire.AssignedIps)
