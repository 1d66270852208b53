/**
 * Collects notices of one turn; at most one `Traffic` per (mapping, cause) and second, and so many per client
 * that one with thousands of dead names does not keep main busy.
 */
import { RateLimits, trafficLimit, unknownProxyLimit } from "../../nat/rateLimits.ts"
import { formatAddress, type Words } from "../../packet/address.ts"
import type { Notice, TrafficCause } from "../notices.ts"
import type { ClientId } from "../../model/Client.ts"
import type { MappingId } from "../../model/Mapping.ts"

const causes: ReadonlyArray<TrafficCause> = ["Unmapped", "Unanswered", "Unreachable", "Stale", "Answered"]
const intervalMs = 1_000

export class NoticeBox {
  private readonly epoch: number
  private box: Array<Notice> = []
  /** Per mapping index × cause: when the last one was put in. */
  private readonly sentAt: Array<Float64Array | undefined> = []

  /** Not put in: one of its kind was, within the last second. */
  coalesced = 0
  /** Not put in: too many of the client were. */
  limited = 0
  private readonly limits = new RateLimits(trafficLimit)
  private readonly unknownLimits = new RateLimits(unknownProxyLimit)

  constructor(epoch: number) {
    this.epoch = epoch
  }

  /** True when the notice was put in. Client and mapping by their indices, the mapping also by its name. */
  traffic(client: number, index: number, mapping: MappingId, cause: TrafficCause, now: number): boolean {
    const which = causes.indexOf(cause)
    let times = this.sentAt[index]
    if (times === undefined) {
      times = new Float64Array(causes.length).fill(Number.NEGATIVE_INFINITY)
      this.sentAt[index] = times
    }
    if (now - times[which]! < intervalMs) {
      this.coalesced++
      return false
    }
    if (!this.limits.take(client, now)) {
      this.limited++
      return false
    }
    times[which] = now
    this.box.push({ _tag: "Traffic", epoch: this.epoch, mapping, cause })
    return true
  }

  /** The index may be given to another mapping. */
  forgetMapping(mapping: number): void {
    this.sentAt[mapping] = undefined
  }

  forgetClient(client: number): void {
    this.limits.forgetClient(client)
    this.unknownLimits.forgetClient(client)
  }

  /** At most one per client and second. */
  unknownProxy(index: number, client: ClientId, proxy: Readonly<Words>, now: number): void {
    if (this.unknownLimits.take(index, now)) this.awaitedProxy(client, proxy)
  }

  /** The caller sees to it that there are few. */
  awaitedProxy(client: ClientId, proxy: Readonly<Words>): void {
    this.box.push({ _tag: "UnknownProxy", epoch: this.epoch, client, proxyIp: formatAddress(proxy) })
  }

  put(notice: Notice): void {
    this.box.push(notice)
  }

  /** Everything put in since the last call; an empty array is shared and must not be kept. */
  take(): ReadonlyArray<Notice> {
    if (this.box.length === 0) return nothing
    const taken = this.box
    this.box = []
    return taken
  }
}

const nothing: ReadonlyArray<Notice> = []
