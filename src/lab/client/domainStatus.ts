/** What a gateway says about a name inside the tunnel (docs/portal-protocol.md, "Control messages in the tunnel"). */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaParser from "effect/SchemaParser"

export interface DomainStatus {
  readonly active: boolean
  readonly resource: string
  readonly domain: string
}

/** `undefined` for what is none. An unknown status means inactive. */
export const readDomainStatus = (payload: Uint8Array): DomainStatus | undefined => {
  if (payload.length > 1_280) return undefined
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload))
  } catch {
    return undefined
  }
  const decoded = decode(parsed)
  if (Result.isFailure(decoded)) return undefined
  const { domain, resource, status } = decoded.success
  return { active: status === "Active", resource, domain }
}

const decode = SchemaParser.decodeUnknownResult(
  Schema.Struct({ status: Schema.String, resource: Schema.String, domain: Schema.String })
)
