import type { ResourceId } from "../../model/Resource.ts"
import { ProxyPool } from "./ProxyPool.ts"

const maxNames = 4_096

/** A name that an application asked for, with the proxy IPs that stand for it. */
export interface Name {
  readonly domain: string
  readonly resource: ResourceId
  readonly proxyIps: ReadonlyArray<string>
  /** The gateway has it. */
  confirmed: boolean
  askedAt: number
  /** When the gateway was told last. */
  sentAt: number
}

/** The names of a client, by domain; bounded. */
export class Names {
  private readonly pool = new ProxyPool()
  private readonly byDomain = new Map<string, Name>()

  get(domain: string): Name | undefined {
    return this.byDomain.get(domain)
  }

  values(): IterableIterator<Name> {
    return this.byDomain.values()
  }

  of(resource: ResourceId): ReadonlyArray<Name> {
    return [...this.byDomain.values()].filter((name) => name.resource === resource)
  }

  ofProxy(address: string): Name | undefined {
    return [...this.byDomain.values()].find((name) => name.proxyIps.includes(address))
  }

  /** `undefined`: there is no room. */
  add(domain: string, resource: ResourceId, now: number): Name | undefined {
    const proxyIps = this.byDomain.size < maxNames ? this.pool.take() : undefined
    if (proxyIps === undefined) return undefined
    const name = { domain, resource, proxyIps, confirmed: false, askedAt: now, sentAt: Number.NEGATIVE_INFINITY }
    this.byDomain.set(domain, name)
    return name
  }

  remove(name: Name): void {
    this.byDomain.delete(name.domain)
  }
}

/** The gateway that was told is gone, or knows nothing of it. */
export const untold = (name: Name): void => {
  name.confirmed = false
  name.sentAt = Number.NEGATIVE_INFINITY
}
