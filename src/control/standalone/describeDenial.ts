/** Why a client does not reach a destination, in an operator's words, and what would change that. Pure. */
import * as DateTime from "effect/DateTime"
import { placeOf, type Places } from "../../config/places.ts"
import { suggest } from "../../config/suggest.ts"
import { isOpen, type Right } from "../../model/Authorization.ts"
import type { ClientId } from "../../model/Client.ts"
import { isExact } from "../../model/DomainPattern.ts"
import { formatPortFilters } from "../../model/PortFilter.ts"
import type { Resource } from "../../model/Resource.ts"
import { formatPacket, type Target } from "../../model/Target.ts"
import type { Denial } from "./reach.ts"

export interface DeniedRequest {
  readonly places: Places | undefined
  /** Of the client. */
  readonly grants: ReadonlyArray<Right>
  readonly client: ClientId
  readonly target: Target
  /** The name or address that it came to. */
  readonly host: string
  /** Epoch milliseconds. */
  readonly now: number
}

export interface Reason {
  readonly what: string
  readonly fix: string
}

export const describeDenial = (why: Denial, request: DeniedRequest): Reason => {
  const { client, host, places, target } = request
  const place = ({ id }: Resource): string => placeOf(places, "resources", id)
  switch (why._tag) {
    case "Uncovered":
      return {
        what: `no resource of ${client} has ${host}${why.outside ? "; what is public it reaches past the tunnel, by its own way" : ""}`,
        fix: resourceFor(request)
      }
    case "Unauthorized": {
      const [first] = why.resources
      const more = why.resources.length - 1
      const others = more === 0 ? "" : `, nor ${more === 1 ? "does 1 other" : `do ${more} others`}`
      return {
        what: `${first!.id} has ${host} and does not allow ${client}${others}${place(first!)}`,
        fix: `add ${client}, or one of its groups, to allow: of ${first!.id}`
      }
    }
    case "Expired": {
      const { expiresAt, grant } = why
      return {
        what: `the right of ${client} to ${grant.resource.id} expired ${DateTime.formatIso(DateTime.makeUnsafe(expiresAt))}${place(grant.resource)}`,
        fix: `write a later expires: of ${grant.resource.id}, or remove it`
      }
    }
    case "Filtered": {
      const packet = formatPacket(target) ?? "any packet"
      return {
        what: `${packet} does not pass: only ${passing(why.grants)}`,
        fix: `add ${packet} to ports: of ${why.grants[0]!.resource.id}${place(why.grants[0]!.resource)}`
      }
    }
    case "Refused":
      return {
        what: `nothing is forwarded to ${why.address}: ${why.refusal}`,
        fix: optIns[why.refusal] ?? "name another address"
      }
    case "Blocked":
      return {
        what: `${host} is on a block list (${why.entry}): it is answered as a name that does not exist`,
        fix: "take it off the list, or make it a resource"
      }
    case "Private":
      return {
        what: `${host} is private by the file, no resource has it, and ${client} may not ask for names around it: there is no such name for it`,
        fix: resourceFor(request)
      }
    case "OtherNames":
      return {
        what: `no resource has ${host}, and other names are refused (other_names)`,
        fix: resourceFor(request)
      }
    case "NoAddress":
      return { what: `the records of ${host} have no address`, fix: `add a: or aaaa: to ${host} under records:` }
    case "Untold":
      return {
        what: `${host} is ${why.addresses.slice(0, 4).join(", ")} by the gateway's hosts file, in no network of ${client}`,
        fix: `add a resource with cidr: for it, and ${client} to its allow:`
      }
    case "TooManyAliases":
      return { what: "too many aliases follow each other", fix: "let an alias name the host itself" }
    case "Tunnel":
      return why.own
        ? { what: `the gateway's own ${host} answers DNS and ping only`, fix: "name the host behind the gateway" }
        : { what: `${host} is in the tunnel: clients do not reach each other`, fix: "name a host behind the gateway" }
    case "Proxy":
      return {
        what: `${host} stands for no name that ${client} uses`,
        fix: "explain the name, or look it up again at the client"
      }
  }
}

/** `tcp/22 tcp/443 (gitlab), all (admin)` */
export const passing = (grants: ReadonlyArray<Right>): string =>
  grants
    .slice(0, 4)
    .map(({ resource: { filters, id } }) => `${formatPortFilters(filters)} (${id})`)
    .join(", ")

/** A name that the client may reach and that was probably meant; names that it may not would only mislead. */
const resourceFor = ({ client, grants, host, now, target }: DeniedRequest): string => {
  const add = `add a resource for ${host}, and ${client} to its allow:`
  if (target.address !== undefined) return add
  const near = suggest(
    host,
    grants.flatMap((grant) =>
      grant.resource.kind === "dns" && isOpen(grant, now) && isExact(grant.resource.pattern)
        ? [grant.resource.pattern]
        : []
    )
  )
  return near === undefined ? add : `did you mean ${near}? Else ${add}`
}

const optIns: Readonly<Partial<Record<Extract<Denial, { readonly _tag: "Refused" }>["refusal"], string>>> = {
  "the gateway's own address": "allow_gateway_host: true in the resource, if that is meant",
  "loopback address": "allow_loopback: true in the resource, if that is meant",
  "link-local address": "allow_link_local: true in the resource, if that is meant",
  "metadata service": "allow_metadata: true in the resource, if that is meant",
  "not a public address": "add a resource with cidr: for it"
}
