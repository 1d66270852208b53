/**
 * What a client of generation A asks of gateways through the portal (docs/portal-protocol.md, "Access requests"), and
 * the connections that it waits for. It draws the preshared key and its ICE credentials itself.
 */
import * as Base64 from "effect/encoding/Base64"
import { iceCredentials, passwordLength, usernameLength } from "../../access/iceCredentials.ts"
import type { Push } from "../../control/firezone/pushes.ts"
import type { IceCredentials } from "../../model/AccessRequest.ts"
import type { ResourceId } from "../../model/Resource.ts"
import type { Name } from "./Names.ts"
import type { ConnectionAccepted, Gateway, GatewayId } from "./portalMessages.ts"

/** A gateway that has not answered by then is asked anew. */
export const answerMs = 20_000
const maxEarlyCandidates = 64

interface Asked {
  readonly resource: ResourceId
  readonly until: number
  readonly presharedKey: string
  readonly local: IceCredentials
  /** The gateway's, that came before its answer. */
  readonly candidates: Set<string>
}

export class ConnectionRequests {
  private readonly asked = new Map<GatewayId, Asked>()
  private readonly random: (length: number) => Uint8Array
  private accepted = 0

  /** `random` has to be cryptographically secure. */
  constructor(random: (length: number) => Uint8Array) {
    this.random = random
  }

  /** Asks for a connection, for a resource and the name of it that is wanted; `undefined`: that is under way. */
  request(gateway: GatewayId, resource: ResourceId, name: Name | null, now: number): Push | undefined {
    if (now < (this.asked.get(gateway)?.until ?? Number.NEGATIVE_INFINITY)) return undefined
    const presharedKey = Base64.encode(this.random(32))
    const local = iceCredentials(this.random(usernameLength + passwordLength))
    this.asked.set(gateway, { resource, until: now + answerMs, presharedKey, local, candidates: new Set() })
    return {
      event: "request_connection",
      payload: {
        gateway_id: gateway,
        resource_id: resource,
        client_preshared_key: presharedKey,
        client_payload: { ice_parameters: local, domain: domainOf(name) }
      }
    }
  }

  /** The gateway's answer makes it a gateway; `undefined`: that was not asked for. */
  accept({ gateway, publicKey, remote }: ConnectionAccepted): [Gateway, ReadonlySet<string>] | undefined {
    const asked = this.asked.get(gateway)
    if (asked === undefined) return undefined
    this.asked.delete(gateway)
    const { candidates, local, presharedKey } = asked
    // Clients of this generation are not told gateways' tunnel addresses: these only have to differ.
    const host = (this.accepted++ % 0xfffe) + 1
    const tunnel4 = `169.254.${host >> 8}.${host & 255}`
    const tunnel6 = `fe80::${host.toString(16)}`
    return [{ id: gateway, publicKey, presharedKey, tunnel4, tunnel6, local, remote }, candidates]
  }

  /** The portal refused something about the resource. */
  refused(resource: ResourceId): void {
    for (const [gateway, asked] of this.asked) if (asked.resource === resource) this.asked.delete(gateway)
  }

  /** A candidate of the gateway, to be kept if its answer is still to come. */
  addCandidate(gateway: GatewayId, candidate: string): void {
    const candidates = this.asked.get(gateway)?.candidates
    if (candidates !== undefined && candidates.size < maxEarlyCandidates) candidates.add(candidate)
  }

  removeCandidate(gateway: GatewayId, candidate: string): void {
    this.asked.get(gateway)?.candidates.delete(candidate)
  }
}

/** Asks the portal which gateway serves a resource. */
export const prepareConnection = (resource: ResourceId, connected: ReadonlyArray<GatewayId>): Push => ({
  event: "prepare_connection",
  payload: { resource_id: resource, connected_gateway_ids: connected }
})

/** One more resource, or name of one, over the connection that is there. */
export const reuseConnection = (gateway: GatewayId, resource: ResourceId, name: Name | null): Push => ({
  event: "reuse_connection",
  payload: { gateway_id: gateway, resource_id: resource, payload: domainOf(name) }
})

const domainOf = (name: Name | null) => (name === null ? null : { name: name.domain, proxy_ips: name.proxyIps })
